"""Read the rows of a batch's input as jobs: NDJSON, recordings, lines of text, CSV, or files as prompts."""

from __future__ import annotations

import os
from itertools import chain
from shlex import quote

from ostream.batch.input_lines import GZIP_MARK, UTF16_MARKS, decoded, text_of, value_of
from ostream.batch.jobs import Job, is_request_line, set_id, set_prompt, set_request
from ostream.batch.table import Table, check_format
from ostream.batch.template import PromptTemplate, show_fields
from ostream.errors import InputError, NotNDJSON, OstreamError, RequestError
from ostream.protocol.canonical import row_sha256
from ostream.protocol.ndjson import split_lines
from ostream.protocol.request import encode_image, is_media
from ostream.system.input import input_name, open_input, read_blocks, read_input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator

    from ostream.batch.jobs import RequestDefaults

NDJSON, LINES, CSV, FILES = "ndjson", "lines", "csv", "files"
FILE_FIELDS = ("text", "name")


class InputFormat:
    """How the input is read.

    Arguments:
        kind: NDJSON, LINES, CSV or FILES.
        prompt: the prompt template, for CSV and FILES.
        id_column: the CSV column that contains the ids (default: the id of a row is its position).
        delimiter: the CSV delimiter, a character or "tab" (default: detected from the header).
        encoding: the encoding of CSV (default: utf-8).

    Raises RequestError for an option that is invalid or does not apply to this kind.
    """

    def __init__(
        self,
        kind: str = NDJSON,
        prompt: str | None = None,
        id_column: str | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
    ) -> None:
        if prompt is not None and kind not in (CSV, FILES):
            raise RequestError("--prompt: needs --csv or --files")
        for option, value in (("--id", id_column), ("--delimiter", delimiter), ("--encoding", encoding)):
            if value is not None and kind != CSV:
                raise RequestError(f"{option}: needs --csv")
        self.kind = kind
        self.prompt = prompt
        self.id_column = id_column
        self.delimiter = check_format(delimiter, encoding)
        self.encoding = encoding
        if kind == FILES:
            self.template = PromptTemplate("{text}" if prompt is None else prompt, FILE_FIELDS)

    @property
    def has_positions(self) -> bool:
        """True if the id of every row is its position in the input."""
        return self.kind == LINES or (self.kind == CSV and self.id_column is None)


class RequestReader:
    """Reads the input files in order and makes a job of each row.

    `skipped` counts the lines of recordings that are not requests. `reader_fd` is an output that is watched while
    waiting for input, or None. Raises ReaderGone when the program that reads this output closes the pipe.
    """

    def __init__(
        self,
        files: list[str],
        form: InputFormat,
        defaults: RequestDefaults,
        note: Callable[[str], None],
        reader_fd: int | None = None,
    ) -> None:
        self.skipped = 0
        self.starts: list[tuple[int, str]] = []  # for each file, the position of its first row, and its name
        self.files = files
        self._form = form
        self._defaults = defaults
        self._note = note
        self._reader_fd = reader_fd
        self._number = 0

    def jobs(self) -> Iterator[Job | None]:
        """Yield a job for each row, and None for each line that is not a request.

        If an input can't be read, a job with a `failure` and without an id is yielded.
        """
        read = {NDJSON: self._ndjson, LINES: self._text_lines, CSV: self._csv, FILES: self._file}[self._form.kind]
        for name in self.files:
            self.starts.append((self._number, name))
            try:
                yield from read(name)
            except (InputError, NotNDJSON) as error:
                if isinstance(error, NotNDJSON):  # a line is too long
                    error = NotNDJSON(f"{input_name(name)}: {error}", error.line)
                if name != "-" and not os.path.exists(name) and (" " in name or not {".", "/"} & {*name}):
                    error.advice = "batch reads files of requests; to send one prompt, use send"
                job = Job()
                job.failure = error
                yield job

    @property
    def rows(self) -> int:
        """The number of rows that have been read so far."""
        return self._number

    def where(self, name: str, row: int) -> str:
        """Return the location of a row, for messages: its line, or in CSV its row number. `row` counts from 0."""
        if self._form.kind == CSV:
            return f"{input_name(name)}, row {row + 1}"
        return input_name(name) if self._form.kind == FILES else f"{input_name(name)}:{row + 1}"

    def _next(self, name: str, lineno: int) -> Job:
        job = Job(self._number, name, lineno)
        self._number += 1
        return job

    def _blocks(self, name: str) -> Iterator[bytes]:
        fd = open_input(name, self._reader_fd)
        try:
            first = True
            for block in read_blocks(fd, input_name(name), self._reader_fd):
                if first and block.startswith(UTF16_MARKS) and self._form.kind != CSV:
                    advice = f"iconv -f UTF-16 -t UTF-8 {quote(name)} | batch ..."
                    raise InputError(
                        f"{input_name(name)}: is UTF-16 (it begins with its byte order mark)", advice=advice
                    )
                if first and block.startswith(GZIP_MARK):
                    raise InputError(f"{input_name(name)}: is gzip data", advice=f"gzip -dc {quote(name)} | batch ...")
                first = False
                yield block
        finally:
            if fd:
                os.close(fd)

    def _lines(self, name: str) -> Iterator[tuple[int, bytes]]:
        return enumerate(chain.from_iterable(split_lines(self._blocks(name))), 1)

    def _text_lines(self, name: str) -> Iterator[Job | None]:
        shown = input_name(name)
        for lineno, line in self._lines(name):
            if line.isspace():
                self._number += 1
                yield None
                continue
            job = self._next(shown, lineno)
            if job.number == 0 and line.lstrip().startswith(b'{"'):
                self._note(
                    f"{job.where}: this line is JSON and is sent as text; to send it as a request, leave out --lines"
                )
            try:
                set_prompt(job, text_of(line), (), self._defaults)
            except OstreamError as error:
                _fail(job, error)
            yield job

    def _ndjson(self, name: str) -> Iterator[Job | None]:
        shown = input_name(name)
        is_recording: bool | None = None
        for lineno, line in self._lines(name):
            if line.isspace():
                self._number += 1
                yield None
                continue
            job = self._next(shown, lineno)
            try:
                request = value_of(line, name)
            except OstreamError as error:
                if is_recording:
                    self.skipped += 1
                    yield None
                else:
                    _fail(job, error)
                    yield job
                continue
            if is_recording is None:
                is_recording = type(request) is dict and isinstance(request.get("request"), dict)
            if is_recording and not is_request_line(request):
                self.skipped += 1
                yield None
                continue
            try:
                set_request(job, request, self._defaults)
            except OstreamError as error:
                _fail(job, error)
            yield job

    def _file(self, name: str) -> Iterator[Job]:
        job = self._next(input_name(name), 0)
        set_id(job, name)
        try:
            self._set_file(job, name)
        except OstreamError as error:
            _fail(job, error)
        yield job

    def _set_file(self, job: Job, name: str) -> None:
        data = read_input(name)
        uses_text = "text" in self._form.template.fields
        if is_media(data) and b"\0" in data:  # a text may begin like an image, but has no NUL
            if uses_text:
                raise RequestError("is an image or sound, so it has no {text}", advice="leave {text} out of --prompt")
            set_prompt(job, self._form.template.render({"name": name}), [encode_image(data)], self._defaults)
            return
        if not uses_text:
            raise RequestError("is text, which the prompt leaves out", advice="add {text} to --prompt")
        text = decoded(data)
        set_prompt(job, self._form.template.render({"text": text, "name": name}), (), self._defaults)

    def _csv(self, name: str) -> Iterator[Job]:
        form = self._form
        table = Table(self._blocks(name), input_name(name), form.delimiter, form.encoding, self._note)
        template = self._template(name, table.columns)
        used = template.fields
        shown = input_name(name)
        for lineno, cells in table.rows():
            job = self._next(shown, lineno)
            try:
                self._set_row(job, table.row(cells), template, used)
            except OstreamError as error:
                _fail(job, error)
            yield job

    def _set_row(self, job: Job, row: dict[str, str], template: PromptTemplate, used: list[str]) -> None:
        if self._form.id_column is not None:
            id = row[self._form.id_column]
            if not id:
                raise RequestError(f"the id column, {self._form.id_column}, is empty")
            set_id(job, id)
        job.row_sha256, job.row_columns = row_sha256(row, used), used
        set_prompt(job, template.render(row), (), self._defaults)

    def _template(self, name: str, columns: list[str]) -> PromptTemplate:
        """Return the prompt template for a table. Raises RequestError if it does not match the columns."""
        where = input_name(name)
        known = show_fields(columns)
        if self._form.prompt is None:
            raise RequestError(
                "--csv: needs a prompt", advice=f"for example --prompt 'Summarise: {{{columns[0]}}}'; columns: {known}"
            )
        template = PromptTemplate(self._form.prompt, columns, f"the first row of {where}")
        if not template.fields:
            raise RequestError("--prompt: uses no column", advice=f"columns: {known}")
        id_column = self._form.id_column
        if id_column is not None and id_column not in columns:
            raise RequestError(f"--id {id_column}: no such column in {where}", advice=f"columns: {', '.join(columns)}")
        for column in [*template.fields, *([] if id_column is None else [id_column])]:
            if columns.count(column) > 1:
                raise RequestError(f"{where}: has several columns {column}", advice="rename them")
        return template


def _fail(job: Job, error: OstreamError) -> None:
    """Make `error` the failure of the job, with the location of its row."""
    text = str(error)
    prefix = "" if text.startswith(f"{job.where}: ") else f"{job.where}: "
    job.failure = RequestError(f"{prefix}{text}", advice=error.advice)
