"""Read a recording from a file, and append complete exchanges to one.

A file that is not a recording is never changed.
"""

from __future__ import annotations

import os
import stat
import tempfile

from ostream.errors import InputError, NotNDJSON, OutputError, RequestError, reason
from ostream.protocol.error_lines import CHUNK, ERROR, REQUEST, line_kind
from ostream.protocol.ndjson import decode_line, is_partial_line, split_lines
from ostream.recording.format import RecordedExchange, parse
from ostream.system.files import append, locked, replace, truncate
from ostream.system.input import BLOCK, input_name, open_input, read_blocks
from ostream.system.output import Output, given_descriptor, open_output
from ostream.system.polling import ReaderGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Callable, Iterator

    from ostream.recording.proxy import ExchangeLog

# Lines that record, send or Ollama write begin with one of these. An incomplete last line that begins otherwise is
# moved to FILE.torn instead of being deleted.
_OWN_STARTS = (b'{"request":', b'{"model":', b'{"error":')


def load(name: str) -> list[RecordedExchange]:
    """Return the exchanges of the recording `name`; "-" means standard input.

    Raises InputError if the file cannot be read, and NotNDJSON if a line is not a JSON object. The message of NotNDJSON
    contains the file name and, except for a line that is too long, the line number.
    """
    fd = open_input(name)
    try:
        batches = split_lines(read_blocks(fd, input_name(name)))
        return parse((line for lines in batches for line in lines), input_name(name))
    except NotNDJSON as error:
        # If a line is too long, split_lines() raises NotNDJSON without a line number.
        where = "" if error.lineno else f"{input_name(name)}: "
        advice = "a recording is the output of 'record' or 'send'"
        raise NotNDJSON(f"{where}{error}", error.line, error.lineno, advice=advice) from None
    finally:
        if fd:
            os.close(fd)


class RecordingFile:
    """A file to which exchanges are appended.

    Arguments:
        name: the path of the file. "-" is refused, because standard output belongs to the recorded command.
        mode: "new" (the file must be new or empty), "append", or "refresh" (`close` replaces the content if everything
            succeeded).
        report: called with a message for each error.
        note: called with a message if the incomplete last line of the file was removed.

    `has_failed` is true if an exchange could not be recorded. After a failed write, nothing more is recorded.

    Raises RequestError or OutputError if the file cannot be used, and InputError if it is not a recording.
    """

    def __init__(self, name: str, mode: str, report: Callable[[str], object], note: Callable[[str], object]) -> None:
        self.name = name
        self.has_failed = False
        self._report = report
        self._note = note
        self._is_open = True
        self._new: IO[bytes] | None = None
        if name == "-":
            raise RequestError("-: standard output belongs to COMMAND", advice="use /dev/stdout to record there anyway")
        self._out: Output | None = open_output(name, [], append=True, note=note)
        if given_descriptor(name) is None and stat.S_ISREG(os.fstat(self._out.fd).st_mode):
            os.close(self._out.fd)
            self._out = None  # _append() opens and locks the file for each exchange: several processes can record
            self._check(mode)
            if mode == "refresh":
                self._new = tempfile.TemporaryFile()  # noqa: SIM115

    def _check(self, mode: str) -> None:
        """Raise an error if the file cannot be used in this mode. Repair its last line if its writer was killed."""
        with locked(self.name, os.O_RDWR | os.O_APPEND) as fd:
            size = os.fstat(fd).st_size
            if not size:
                return
            if mode == "new":
                # A user who types 'record' instead of 'replay' must not lose the recording.
                raise RequestError(f"{self.name}: already holds data", advice="add to it with -a, or remove it first")
            tail = _unfinished_line(fd, size)
            is_partial_tail = is_partial_line(tail)
            if not _is_recording(self.name):
                raise InputError(f"{self.name}: not a recording; it was not changed", advice="choose another FILE")
            if mode == "refresh":
                return
            if not is_partial_tail:
                if tail:
                    append(fd, b"\n")
                return
            where = "deleted"
            if not tail.startswith(_OWN_STARTS):
                where = f"moved to {self.name}.torn"
                with locked(f"{self.name}.torn", os.O_RDWR | os.O_CREAT, beside=self.name) as torn:
                    append(torn, tail + b"\n")
            truncate(fd, size - len(tail), self.name)
            self._note(
                f"{self.name}: the last line was incomplete (was the program that wrote it killed?) and was {where}"
            )

    def add(self, log: ExchangeLog) -> bool:
        """Append an exchange. Return False if it was not recorded; the reason has then been reported."""
        if not self._is_open:
            return False
        if log.omitted:
            self._report(f"{log.omitted}; this exchange is not recorded")
            self.has_failed = True
            return False
        try:
            if log.failure:
                raise OutputError(f"the temporary file of the exchange: {reason(log.failure)}")
            if self._new or self._out:
                out = self._out or Output(self._new.fileno(), "a temporary file")  # type: ignore[union-attr]
                for block in _blocks(log.spool):
                    out.write_bytes(block)
            else:
                self._append(log.spool)
        except (OSError, OutputError, InputError, ReaderGone) as error:
            self._fail(error)
            return False
        return True

    def _append(self, spool: IO[bytes]) -> None:
        """Append an exchange to a regular file while holding the lock of the file."""
        with locked(self.name, os.O_RDWR | os.O_APPEND) as fd:
            size = os.fstat(fd).st_size
            out = Output(fd, self.name)
            try:
                for block in _blocks(spool):
                    out.write_bytes(block)
                out.check()
            except OutputError:
                os.ftruncate(fd, size)  # a line appended to an incomplete line would make the file unreadable
                raise

    def close(self, succeeded: bool = True) -> None:
        """Close the file.

        In the mode "refresh", replace its content if `succeeded` is true and every exchange was recorded. If there was
        no exchange, keep the content.
        """
        if self._out and self._is_open:
            try:
                self._out.close()
            except OutputError as error:
                self._fail(error)
        if self._new:
            if not succeeded or self.has_failed:
                self._report(f"{self.name}: not replaced, because COMMAND failed or an exchange was not recorded")
            elif self._new.tell():
                replace(self.name, _blocks(self._new))
            self._new.close()

    def _fail(self, error: Exception) -> None:
        if isinstance(error, ReaderGone):
            text = "standard output: Broken pipe"
        elif isinstance(error, FileNotFoundError):
            text = f"{self.name}: the file was removed while recording"
        else:
            text = str(error)
        self._report(f"{text}; nothing more is recorded")
        self.has_failed, self._is_open = True, False


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    return iter(lambda: file.read(BLOCK), b"")


def _unfinished_line(fd: int, size: int) -> bytes:
    """Return the bytes after the last newline of a file. `size` is the size of the file."""
    blocks: list[bytes] = []  # the last block of the file comes first
    while size and not (blocks and b"\n" in blocks[-1]):
        begin = max(0, size - BLOCK)
        blocks.append(os.pread(fd, size - begin, begin))
        size = begin
    return b"".join(reversed(blocks)).rpartition(b"\n")[2]


def _is_recording(name: str) -> bool:
    """True if the first line of a file, which may be partial, is a line that record, send or a server writes."""
    fd = open_input(name)
    try:
        batches = split_lines(read_blocks(fd, name))
        first = next((line for lines in batches for line in lines if line.strip()), b"")
        if is_partial_line(first):
            return first.startswith(b'{"request":{"')
        chunk = decode_line(first) or {}
    except NotNDJSON:
        return False
    finally:
        os.close(fd)
    kind = line_kind(chunk)
    return kind in (REQUEST, ERROR) or (kind == CHUNK and not chunk.keys().isdisjoint(("message", "response", "done")))
