"""Read the NDJSON input of a filter, pass the lines on with -w, and determine the exit status."""

from __future__ import annotations

import os
import stat
from _operator import itemgetter  # importing `operator` takes 4 % of a filter's start-up instructions

from ostream.cli.filter_output import FilterOutput, Reports
from ostream.errors import OK, IncompleteStream, InputError, NotNDJSON, OstreamError, worst
from ostream.protocol.error_lines import (
    CHUNK,
    ERROR,
    KIND_KEYS,
    REPORT,
    REQUEST,
    classify,
    line_status,
    response_error,
    trusted_status,
)
from ostream.protocol.ndjson import decode_lines, encode_line, split_lines
from ostream.system.input import input_name, lock_input, open_input, read_blocks
from ostream.system.polling import pollable_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Sequence, Union

    from ostream.system.diagnostics import Diagnostics

    Item = Union[Dict[str, Any], "ErrorItem"]
    Run = List[Item]
    Object = Dict[str, Any]
else:
    Object = dict

# Returns True for an ordinary chunk: an object without any of these keys.
_is_plain = KIND_KEYS.isdisjoint
_done = itemgetter("done")


class FilterOptions:
    """Option values that every filter has. If `files` is empty, the filter reads standard input."""

    files: Sequence[str] = ()
    write_to: str | None = None
    raw_terminal = False


class ErrorItem:
    """A failure between chunks. It ends the current response, if one has begun.

    `line` is the error line of the failure, which contains an exit status.
    """

    def __init__(self, line: dict[str, Any]) -> None:
        self.line = line


class MessageItem(Object):
    """A message line between chunks. It has its own class because a chunk may also have the key `role`."""

    __slots__ = ()


class RequestItem(Object):
    """A request line between chunks. It has its own class because a chunk may also have the key `request`."""

    __slots__ = ()


class FilterInput:
    """Reads the input files of a filter and yields items: chunks, and an ErrorItem for each failure.

    With `with_messages` and `with_requests`, message lines and request lines are items too. With `messages_suffice`, an
    input that contains only messages is a success; otherwise it is a failure. The attribute `output` is the output of
    the filter, `status` is the exit status so far, and `complete` is the number of complete responses.
    """

    def __init__(
        self,
        diagnostics: Diagnostics,
        options: FilterOptions,
        with_messages: bool = False,
        with_requests: bool = False,
        messages_suffice: bool = False,
    ) -> None:
        self.diagnostics = diagnostics
        self.status = OK
        self.complete = 0
        self._files = [*options.files] or ["-"]
        if "-" in self._files:
            lock_input()
        self.output = FilterOutput(diagnostics, self._files, options.write_to, options.raw_terminal)
        self._with_messages = with_messages
        self._with_requests = with_requests
        self._messages_suffice = messages_suffice
        self._has_messages = self._has_requests = False
        self._last_chunk: dict[str, Any] = {}
        self._open = False  # a response has begun and has not ended
        self._reports = Reports(diagnostics, self.output)
        self._at_end: list[OstreamError] = []
        # State of the current input file:
        self._name = ""
        self._lineno = 0
        self._is_regular = False
        self._skipping = False  # True while lines are skipped that answer a request such as GET /api/tags

    def chunks(self) -> Iterator[Run]:
        """Yield one list of items for each block of input, so that the filter can write its output with one write."""
        for runs in self.runs():
            yield [item for run in runs for item in run]

    def runs(self) -> Iterator[list[Run]]:
        """Yield the items of each block as runs. A run ends at "done": true, a non-chunk item or the end of a block."""
        for runs in self._read_all():
            yield runs
            self._reports.print()

    def fail_at_end(self, error: OstreamError) -> None:
        """Report a failure of a complete response, but only after all input.

        An error line between the lines of another response would end that response.
        """
        self._at_end.append(error)

    def finish(self) -> int:
        """Report the remaining failures, check that everything was written, and return the exit status."""
        for error in self._at_end:
            self.status = worst(self.status, error.exit_status)
            self._pass_on([self._reports.error_line(error)])
        self._reports.print()
        self.output.close()
        self.status = worst(self.status, self.output.status)
        self.diagnostics.finish()
        self.diagnostics.trace(f"{self.complete:,} complete responses, status {self.status}")
        return self.status

    def _read_all(self) -> Iterator[list[Run]]:
        for name in self._files:
            try:
                yield from self._read(name)
            except (InputError, NotNDJSON) as error:
                yield [[self._fail(error)]]
        suffices = self._has_messages and self._messages_suffice
        if not self.complete and self.status == OK and not suffices:
            from ostream.cli.incomplete import no_response

            has_requests = self._has_requests and not self._skipping
            names = ", ".join(map(input_name, self._files))
            yield [[self._fail(no_response(names, self._has_messages, has_requests, self.diagnostics.prefix))]]

    def _read(self, name: str) -> Iterator[list[Run]]:
        self._name = input_name(name)
        self._lineno, self._skipping = 0, False
        self.diagnostics.trace(f"reading {self._name}")
        if name == "-" and os.isatty(0):
            send = f"{self.diagnostics.prefix}send ... |"
            self.diagnostics.note(f"reading NDJSON from the terminal; end it with Ctrl-D, or put '{send}' before it")
        reader_fd = pollable_or_none(1)
        fd = open_input(name, reader_fd)
        try:
            # Reading a regular file never waits, so the reader of stdout need not be watched.
            self._is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
            for lines in split_lines(read_blocks(fd, self._name, None if self._is_regular else reader_fd)):
                chunks, damage = decode_lines(lines)
                runs = self._runs_of(lines, chunks)
                if runs:
                    yield runs
                if damage:
                    from ostream.cli.incomplete import damage_error

                    yield [[self._fail(damage_error(damage, self._name, self._lineno + 1, self.diagnostics.prefix))]]
                    return
            if self._open:
                from ostream.cli.incomplete import early_end

                yield [[self._fail(early_end(self._name, self._last_chunk, self.diagnostics.prefix))]]
        except NotNDJSON as error:
            where = f"{self._name}:{self._lineno + 1}"
            raise NotNDJSON(f"{where}: {error}", error.line, self._lineno + 1) from None
        finally:
            if fd:
                os.close(fd)

    def _runs_of(self, lines: list[bytes], chunks: list[dict[str, Any] | None]) -> list[Run]:
        """Return the items of the decoded lines as runs, and with -w pass the lines on."""
        if _are_ordinary(chunks) and not self._skipping:
            self._lineno += len(chunks)
            self._open = True
            self._last_chunk = chunks[-1]  # type: ignore[assignment]
            self._pass_on(lines[: len(chunks)])
            return [chunks]  # type: ignore[list-item]
        runs: list[Run] = [[]]
        passed: list[bytes] = []
        for line, chunk in zip(lines, chunks):
            self._lineno += 1
            if chunk is None or (self._skipping and "elapsed" in chunk):
                passed.append(line)
                continue
            kind, record = CHUNK, chunk
            if not _is_plain(chunk):
                kind, chunk = classify(chunk)
            if kind == CHUNK:
                self._last_chunk = record
                runs[-1].append(chunk)
                self._open = chunk.get("done") is not True
                if not self._open:
                    self.complete += 1
                    runs.append([])
            elif kind == ERROR:
                self._pass_on(passed)
                failed, line = self._error_item(chunk, record, line)
                _end(runs, failed)
            elif kind == REQUEST:
                if self._open:
                    where = f"{self._name}:{self._lineno}"
                    error = IncompleteStream(f'{where}: the response before this line ended early (no "done": true)')
                    self._pass_on(passed)
                    _end(runs, self._fail(error))
                self._has_requests = True
                self._skipping = _is_other_endpoint(chunk["request"])
                if self._with_requests:
                    _end(runs, RequestItem(chunk))
            else:  # MESSAGE
                self._has_messages = True
                if self._with_messages:
                    _end(runs, MessageItem(chunk))
            passed.append(line)
        self._pass_on(passed)
        return [run for run in runs if run]

    def _pass_on(self, lines: list[bytes]) -> None:
        """With -w, write `lines` to stdout, and clear the list.

        Called before a failure is reported, because the program that reads the lines may have to print the message.
        """
        if self.output.passing:
            self.output.pass_on(b"".join(lines))
        lines.clear()

    def _error_item(self, chunk: dict[str, Any], record: dict[str, Any], line: bytes) -> tuple[ErrorItem, bytes]:
        """Report an error line and update the status. Return the item, and the line to pass on.

        `record` is the object on `line`; `chunk` is the same object or its conversion from an OpenAI batch record. The
        first command that reports an error adds `exit_status` to the line, so that later stages do not report the same
        error again. An error in a regular file is always reported, because nothing in this pipeline has reported it.
        """
        self._open = False
        status = line_status(chunk)
        self.status = worst(self.status, status)
        is_reported = trusted_status(record) is not None
        if self._is_regular or not is_reported:
            id = record.get("custom_id", record.get("id"))
            of = f"id {shown_id(id)}: " if type(id) in (str, int) else ""
            text = str(response_error(chunk))
            self._reports.add(OstreamError(f"{self._name}:{self._lineno}: {of}{text}"), text[:200])
        passed = self._reports.take(record, self._is_regular) if is_reported else {**record, "exit_status": status}
        if passed is not record:
            line = encode_line(passed)
        item = {key: value for key, value in chunk.items() if key != REPORT}
        return ErrorItem({**item, "exit_status": status}), line

    def _fail(self, error: OstreamError) -> ErrorItem:
        """Report a failure that this filter found, update the status, and with -w pass its error line on."""
        self._open = False
        self.status = worst(self.status, error.exit_status)
        line = self._reports.error_line(error)
        self._pass_on([line])
        return ErrorItem(error.error_line())


def _are_ordinary(chunks: Sequence[dict[str, Any] | None]) -> bool:
    """Return True if all are chunks of an unfinished response. This runs for each block, so it has no Python loop."""
    try:
        return bool(chunks) and all(map(_is_plain, chunks)) and True not in map(_done, chunks)  # type: ignore[arg-type]
    except (KeyError, TypeError):  # a chunk without "done", or None, which is a blank line
        return False


def shown_id(id: Any) -> str:
    """Return an id as JSON, for a message."""
    import json

    return json.dumps(id)[:100]


def _end(runs: list[Run], item: Item) -> None:
    """Append `item` to the last run and begin a new run."""
    runs[-1].append(item)
    runs.append([])


def _is_other_endpoint(request: Any) -> bool:
    """Return True if a recorded request, such as GET /api/tags, does not ask a model for an answer.

    If so, the caller skips the response lines that contain `elapsed`, which the recorder adds. It does not skip an
    error line that `send` wrote, because that line has no `elapsed`.
    """
    path = request.get("path") if isinstance(request, dict) else None
    return isinstance(path, str) and path not in ("/api/chat", "/api/generate")
