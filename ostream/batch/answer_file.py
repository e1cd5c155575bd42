"""The answers of a batch in their file: which requests it has answered, and lines added so that no crash loses one."""

from __future__ import annotations

import contextlib
import os
import stat

from ostream.batch.jobs import entry_of
from ostream.batch.resume_index import ResumeIndex
from ostream.errors import NotNDJSON, OutputError, RequestError, reason
from ostream.protocol.ndjson import LINE_LIMIT, decode_line, is_torn, split_lines
from ostream.system.files import locked, remove_unfinished, replace, sync_folder, write_all
from ostream.system.input import read_blocks
from ostream.system.output import Output, given_descriptor, is_input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator


class StdoutSink:
    """AnswerFile on standard output."""

    name = "standard output"
    known: ResumeIndex | None = None  # nobody asks there what has been answered
    dropped = 0

    def __init__(self, output: Output) -> None:
        self._output = output
        self._regular = stat.S_ISREG(os.fstat(output.fd).st_mode)

    def write(self, line: bytes) -> None:
        self._output.write_lines(line)

    def sync(self) -> None:
        if self._regular:
            _sync(self._output.fd, self.name)


class AnswerFile:
    """AnswerFile in a file of their own, which nobody else writes meanwhile. `known` are those that are there.

    `dropped` is how many lines were not answers: failures, to be tried again, and what a crash left.
    """

    def __init__(self, path: str, fd: int, known: ResumeIndex, dropped: int) -> None:
        self.name = path
        self.known: ResumeIndex | None = known
        self.dropped = dropped
        self._fd = fd
        self._end = os.lseek(fd, 0, os.SEEK_END)
        self._dirty = False

    def write(self, line: bytes) -> None:
        """Add a line, whole or not at all."""
        try:
            write_all(self._fd, line)
        except OSError as error:
            os.ftruncate(self._fd, self._end)
            raise OutputError(f"{self.name}: {reason(error)}", advice="--resume goes on") from None
        self._end += len(line)
        self._dirty = True

    def sync(self) -> None:
        """Make durable what was added. (Not necessary to outlive a kill, but a crash of the machine.)"""
        if self._dirty:
            self._dirty = False
            _sync(self._fd, self.name)


def _sync(fd: int, name: str) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        raise OutputError(f"{name}: {reason(error)}") from None


@contextlib.contextmanager
def open_answers(
    path: str, resume: bool, inputs: list[str], each: Callable[[dict[str, Any]], None] | None = None
) -> Iterator[AnswerFile]:
    """The file of `-o FILE`, made if it isn't there, repaired and freed of failures; `each` is given its answers.

    Raises RequestError when another run has it, when it is no file of ours, or holds something without `resume`.
    """
    if path == "-" or given_descriptor(path) is not None:
        raise _not_a_file(path)
    real = os.path.realpath(path)
    lock = f"{real}.lock"
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(locked(lock, os.O_RDWR | os.O_CREAT, wait=False))
        except BlockingIOError:
            raise RequestError(f"{path}: another run is writing it", advice="one file, one run") from None
        except FileNotFoundError as error:
            raise OutputError(f"{path}: {reason(error)}") from None
        if os.fstat(held).st_size:
            raise RequestError(f"{lock}: is no lock of ours; it holds something", advice="write to another file")
        # Whoever waited for the lock sees that the file has gone, and makes it anew.
        stack.callback(_unlink, lock)
        fd = _open(real, path)
        stack.callback(os.close, fd)
        if is_input(fd, inputs):
            raise RequestError(f"{path}: is also an input; write to another file")
        if os.fstat(fd).st_size and not resume:
            raise RequestError(f"{path}: is there already, and not empty", advice="--resume goes on with it")
        remove_unfinished(real)
        known, kept = _load(fd, path, each)
        dropped = kept.count(0)
        if dropped:
            replace(real, _kept_lines(fd, kept))
            new = os.open(real, _FLAGS)
            os.dup2(new, fd, inheritable=False)
            os.close(new)
        answers = AnswerFile(path, fd, known, dropped)
        yield answers
        answers.sync()


_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK


def _open(real: str, path: str) -> int:
    try:
        fd = os.open(real, _FLAGS, 0o666)
    except OSError as error:
        raise OutputError(f"{path}: {reason(error)}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _not_a_file(path)
    sync_folder(real)
    return fd


def _not_a_file(path: str) -> RequestError:
    return RequestError(f"{path}: not a regular file", advice="without -o, the answers go to standard output")


def _unlink(lock: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # somebody took it for a leftover
        os.unlink(lock)


def _lines(fd: int, path: str) -> Iterator[bytes]:
    os.lseek(fd, 0, os.SEEK_SET)
    for lines in split_lines(read_blocks(fd, path), 2 * LINE_LIMIT):
        yield from lines


def _load(fd: int, path: str, each: Callable[[dict[str, Any]], None] | None) -> tuple[ResumeIndex, bytearray]:
    """What is answered, and for each line a 1 if it is to be kept; the last line is repaired if it was torn."""
    known, kept = ResumeIndex(), bytearray()
    position = 0
    for lineno, line in enumerate(_lines(fd, path), 1):
        try:
            answer = _decode(line)
            entry = entry_of(answer) if answer else None
            new = entry is not None and known.add(*entry)
        except NotNDJSON as error:
            if not is_torn(line):
                raise RequestError(f"{path}:{lineno}: {error}", advice="name the file that batch wrote") from None
            os.ftruncate(fd, position)
            break
        except ValueError as error:
            raise RequestError(f"{path}:{lineno}: {error}", advice="name the file that batch wrote") from None
        kept.append(new)
        if new and answer and each:
            each(answer)
        position += len(line)
        if not line.endswith(b"\n"):
            _end_line(fd, path)
    return known, kept


def _decode(line: bytes) -> dict[str, Any] | None:
    """The answer on a line. A machine that crashed may leave a hole, which reads as NULs: that is none."""
    try:
        return decode_line(line)
    except NotNDJSON:
        if b"\0" in line:
            return None
        raise


def _end_line(fd: int, path: str) -> None:
    try:
        write_all(fd, b"\n")
    except OSError as error:
        raise OutputError(f"{path}: {reason(error)}") from None


def _kept_lines(fd: int, kept: bytearray) -> Iterator[bytes]:
    for keep, line in zip(kept, _lines(fd, "")):
        if keep:
            yield line
