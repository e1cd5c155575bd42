"""The answers of a batch in their file: which requests it has answered, and lines added so that no crash loses one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat

from ostream.batch.jobs import entry_of
from ostream.errors import NotNDJSON, OutputError, RequestError, reason
from ostream.files import locked, remove_unfinished, replace, sync_folder, write_all
from ostream.ndjson import LINE_LIMIT, decode_line, is_torn, split_lines
from ostream.output import Output, given_descriptor, is_input
from ostream.stdio import read_blocks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator

BUCKETS = 1 << 14
ENTRY = 16


class Answered:
    """Which ids have been answered, and to which body; 16 bytes for each.

    An entry is half of it a hash of the id, half of it of the body. It lies in the one of 16,384 strings that 14 more
    bits of the id's hash choose. So two of ten million ids are taken for one with a chance of 1 : 10^10, and then a run
    stops and names the id; one is taken for answered that is not only if 64 bits of the body's hash agree as well.
    """

    def __init__(self) -> None:
        self._buckets = [b""] * BUCKETS
        self.count = 0

    def add(self, key: bytes, body_sha256: str) -> bool:
        """Note an id; False if it is there already. Raises ValueError if it is there with another body."""
        digest = hashlib.sha256(key).digest()
        number = int.from_bytes(digest[:2], "big") % BUCKETS
        bucket, id, body = self._buckets[number], digest[2:10], bytes.fromhex(body_sha256[:16])
        at = bucket.find(id)
        while at % ENTRY and at >= 0:
            at = bucket.find(id, at + 1)
        if at >= 0:
            if bucket[at + 8 : at + ENTRY] != body:
                raise ValueError("the same id with another body")
            return False
        self._buckets[number] = bucket + id + body
        self.count += 1
        return True


class Lines:
    """Answers on standard output."""

    name = "standard output"
    known: Answered | None = None  # nobody asks there what has been answered
    dropped = 0

    def __init__(self, output: Output) -> None:
        self._output = output
        self._regular = stat.S_ISREG(os.fstat(output.fd).st_mode)

    def write(self, line: bytes) -> None:
        self._output.lines(line)

    def sync(self) -> None:
        if self._regular:
            _sync(self._output.fd, self.name)


class Answers:
    """Answers in a file of their own, which nobody else writes meanwhile. `known` are those that are there.

    `dropped` is how many lines were not answers: failures, to be tried again, and what a crash left.
    """

    def __init__(self, path: str, fd: int, known: Answered, dropped: int) -> None:
        self.name = path
        self.known: Answered | None = known
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
) -> Iterator[Answers]:
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
        answers = Answers(path, fd, known, dropped)
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


def _load(fd: int, path: str, each: Callable[[dict[str, Any]], None] | None) -> tuple[Answered, bytearray]:
    """What is answered, and for each line a 1 if it is to be kept; the last line is repaired if it was torn."""
    known, kept = Answered(), bytearray()
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
