"""What all filters share: inputs to chunks, the NDJSON passed on with `-w`, and the account that gives the status."""

from __future__ import annotations

import json
import os
import stat

from ostream.errors import OK, IncompleteStream, InputError, NotNDJSON, OstreamError, OutputError, worst
from ostream.protocol.error_lines import (
    CHUNK,
    ERROR,
    KIND_KEYS,
    MESSAGE,
    REQUEST,
    is_openai_record,
    line_kind,
    line_status,
    response_error,
    trusted_status,
)
from ostream.protocol.ndjson import decode_lines, encode_line, is_torn, split_lines
from ostream.system.diagnostics import Diagnostics
from ostream.system.input import input_name, open_input, read_blocks
from ostream.system.output import Output, open_output
from ostream.system.polling import pollable_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, Sequence, Union

    from ostream.system.output import Spans

    Item = Union[Dict[str, Any], "ErrorItem"]
    Object = Dict[str, Any]
else:
    Object = dict


class FilterOptions:
    """The options of every filter; `files` empty means standard input."""

    files: Sequence[str] = ()
    write_to: str | None = None
    raw_terminal = False


class ErrorItem:
    """Stands among the chunks where a failure came: it ends the response that was open, if one was.

    `line` is its error line, with the status it stands for.
    """

    def __init__(self, line: dict[str, Any]) -> None:
        self.line = line


class MessageItem(Object):
    """A message line among the chunks; a chunk of a server may have a `role` too."""

    __slots__ = ()


class FilterInput:
    """One filter at work. `with_messages`: it wants to know of message lines; `messages_suffice`: they are enough
    for a success.

    `chunks()` gives a list for each block that was read: chunk lines as dicts, and a ErrorItem for each failure. Write
    what comes of a list with one `text()` or `lines()`. `runs()` gives the same list in pieces, which end where
    something ends: only the last item of a run may be done, a ErrorItem or a message line. At the end, `status` is what
    to exit with.
    """

    def __init__(
        self,
        diagnostics: Diagnostics,
        options: FilterOptions,
        with_messages: bool = False,
        messages_suffice: bool = False,
    ) -> None:
        self.diagnostics = diagnostics
        self.files = [*options.files] or ["-"]
        self.status = OK
        self.complete = 0
        self._with_messages = with_messages
        self._messages_suffice = messages_suffice
        self._open = False  # a response has begun and not ended
        self._suffices = False  # there was something else that is worth a success
        self._stdout = Output(1, "standard output", options.raw_terminal)
        self._passing = options.write_to is not None
        self._at_line_start = True
        self._pending_messages: list[
            OstreamError
        ] = []  # failures whose messages wait for the text before them to be written
        self.extraction: Output | None = self._stdout
        self._extraction_failed: OutputError | None = None
        if options.write_to is not None:
            try:
                self.extraction = open_output(options.write_to, self.files, options.raw_terminal)
            except OutputError as error:
                self.give_up(error)

    def write_text(self, fragments: list[str]) -> None:
        """Write text that was extracted."""
        if fragments:
            self._extract(Output.write_text, *fragments)

    def write_spans(self, spans: Spans) -> None:
        """Write text of which some is said in passing."""
        if spans:
            self._extract(Output.write_spans, spans)

    def write_lines(self, lines: bytes) -> None:
        """Write NDJSON that was extracted."""
        self._extract(Output.write_lines, lines)

    def _extract(self, write: Any, *data: Any) -> None:
        if self.extraction is None:
            return
        try:
            write(self.extraction, *data)
            self.diagnostics.mid_line = self.extraction.mid_line
        except OutputError as error:
            self.give_up(error)

    def give_up(self, error: OutputError) -> None:
        """What was extracted can't be written. With -w: say so, and go on passing the stream, as tee does."""
        if not self._passing:
            raise error
        if self._extraction_failed is not None:
            return
        self.diagnostics.error(error)
        self.status = worst(self.status, error.exit_status)
        self.extraction = None
        self._extraction_failed = error

    @property
    def styled(self) -> bool:
        """Can dim text be shown where the extraction goes?"""
        return self.extraction is not None and self.extraction.styled

    def width(self) -> int:
        """Columns there are for the extraction."""
        return self.extraction.width() if self.extraction else 80

    def finish(self) -> int:
        """Check that everything was written, and give the exit status."""
        if self._passing and self.extraction is not None:
            try:
                self.extraction.close()
            except OutputError as error:
                self.give_up(error)
        if self._extraction_failed is not None:
            self._pass(encode_line(self._extraction_failed.error_line()))
        self.diagnostics.trace(f"{self.complete:,} complete responses, status {self.status}")
        return self.status

    def _pass(self, lines: bytes) -> None:
        """Pass lines on; where the input lacked its last newline, only what follows makes one necessary."""
        if not lines:
            return
        self._stdout.write_lines(lines if self._at_line_start else b"\n" + lines)
        self._at_line_start = lines.endswith(b"\n")

    def chunks(self) -> Iterator[list[Item]]:
        for runs in self.runs():
            yield [item for run in runs for item in run]

    def runs(self) -> Iterator[list[list[Item]]]:
        for runs in self._inputs():
            yield runs
            while self._pending_messages:
                self.diagnostics.error(self._pending_messages.pop(0))

    def _inputs(self) -> Iterator[list[list[Item]]]:
        for name in self.files:
            try:
                yield from self._read(name)
            except (InputError, NotNDJSON) as error:
                yield [[self._fail(error)]]
        if not self.complete and self.status == OK and not self._suffices:
            where = ", ".join(map(input_name, self.files))
            yield [[self._fail(IncompleteStream(f"{where}: no response", advice="did the command before it fail?"))]]

    def _read(self, name: str) -> Iterator[list[list[Item]]]:
        where = input_name(name)
        self.diagnostics.trace(f"reading {where}")
        if name == "-" and os.isatty(0):
            send = f"{self.diagnostics.prefix}send ... |"
            self.diagnostics.note(f"reading NDJSON from the terminal; end it with Ctrl-D, or put '{send}' in front")
        reader_fd = pollable_or_none(1)
        fd = open_input(name, reader_fd)
        elsewhere = False  # the recorded lines that come are no responses
        lineno = 0
        try:
            # A regular file never makes us wait.
            is_file = stat.S_ISREG(os.fstat(fd).st_mode)
            for lines in split_lines(read_blocks(fd, where, None if is_file else reader_fd)):
                runs: list[list[Item]] = [[]]
                passed: list[bytes] = []
                chunks, damage = decode_lines(lines)
                for line, chunk in zip(lines, chunks):
                    lineno += 1
                    if chunk is None or (elsewhere and "elapsed" in chunk):
                        passed.append(line)
                        continue
                    kind = CHUNK if chunk.keys().isdisjoint(KIND_KEYS) else line_kind(chunk)
                    if kind == ERROR:
                        failed, line = self._error_line(chunk, line, f"{where}:{lineno}", is_file)
                        _end(runs, failed)
                    elif kind == REQUEST:
                        if self._open:
                            cut = f'{where}:{lineno}: the response before this line ended early (no "done": true)'
                            _end(runs, self._fail(IncompleteStream(cut), passed))
                        elsewhere = _is_elsewhere(chunk["request"])
                    elif kind == MESSAGE:
                        if self._with_messages:
                            _end(runs, MessageItem(chunk))
                        self._suffices = self._messages_suffice
                    else:
                        if "custom_id" in chunk and is_openai_record(chunk):
                            chunk = _of_openai(chunk)
                        if chunk.get("done") is True:
                            self._open = False
                            self.complete += 1
                            _end(runs, chunk)
                        else:
                            self._open = True
                            runs[-1].append(chunk)
                    passed.append(line)
                if self._passing:
                    self._pass(b"".join(passed))
                runs = [run for run in runs if run]
                if runs:
                    yield runs
                if damage:
                    yield [[self._fail(_damage(damage, where, lineno + 1))]]
                    return
            if self._open:
                advice = "the partial answer was written"
                yield [
                    [self._fail(IncompleteStream(f'{where}: the stream ended early (no "done": true)', advice=advice))]
                ]
        except NotNDJSON as error:
            raise NotNDJSON(f"{where}:{lineno + 1}: {error}", error.line, lineno + 1) from None
        finally:
            if fd:
                os.close(fd)

    def _error_line(self, chunk: dict[str, Any], line: bytes, where: str, saved: bool) -> tuple[ErrorItem, bytes]:
        """Account for an error line; gives the failure, and the line to pass on.

        Who prints a failure marks it, so that it is printed once in a pipe, whoever sent it. One saved in a file was
        printed when it came, and nobody in this pipe did.
        """
        self._open = False
        status = line_status(chunk)
        self.status = worst(self.status, status)
        if saved or trusted_status(chunk) is None:
            id = chunk.get("custom_id", chunk.get("id"))  # of a request of batch
            of = f"id {json.dumps(id)[:100]}: " if type(id) in (str, int) else ""
            self._pending_messages.append(OstreamError(f"{where}: {of}{response_error(chunk)}"))
        if trusted_status(chunk) is None:
            chunk["exit_status"] = status
            line = encode_line(chunk)
        return ErrorItem(chunk), line

    def _fail(self, error: OstreamError, passed: list[bytes] | None = None) -> ErrorItem:
        """Account for a failure found here: message, status, and an error line for the stages to come."""
        self._open = False
        self._pending_messages.append(error)
        self.status = worst(self.status, error.exit_status)
        failed = ErrorItem(error.error_line())
        if passed is not None:
            passed.append(encode_line(failed.line))
        elif self._passing:
            self._pass(encode_line(failed.line))
        return failed


def _end(runs: list[list[Item]], item: Item) -> None:
    """The last of a run; what comes next begins another."""
    runs[-1].append(item)
    runs.append([])


def _of_openai(record: dict[str, Any]) -> dict[str, Any]:
    """An answer that batch wrote in another format."""
    from ostream.protocol.openai import chunk_of

    return chunk_of(record)


def _is_elsewhere(request: Any) -> bool:
    """Did this request of a recording, such as GET /api/tags, ask for something else than a response?

    Only lines that the recorder stamped are then left out: an error line that `send` wrote counts wherever it stands.
    """
    path = request.get("path") if isinstance(request, dict) else None
    return isinstance(path, str) and path not in ("/api/chat", "/api/generate")


def _damage(error: NotNDJSON, where: str, lineno: int) -> OstreamError:
    """A line that is not an object: a stream cut inside a line, or something that was never NDJSON."""
    if is_torn(error.line):
        return IncompleteStream(f"{where}:{lineno}: the stream ended inside this line", error.line)
    return NotNDJSON(f"{where}:{lineno}: {error}", error.line, lineno)
