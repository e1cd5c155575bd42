"""Read the file of answers, and copy lines to another file before they are removed from the file of answers."""

from __future__ import annotations

import contextlib
import os
import stat

from ostream.errors import InputError, NotNDJSON, OutputError, reason
from ostream.protocol.ndjson import LINE_LIMIT, split_lines
from ostream.system.files import BLOCK, append, locked, sync_directory
from ostream.system.input import read_blocks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, Iterator


def read_lines(fd: int, path: str, on_read: Callable[[int], None] = lambda done: None) -> Iterator[bytes]:
    """Yield all lines of an open file. `on_read` is called with the number of bytes read so far."""
    os.lseek(fd, 0, os.SEEK_SET)
    done = 0
    # More than LINE_LIMIT: an answer may have that size before batch adds its keys.
    try:
        for lines in split_lines(read_blocks(fd, path), 2 * LINE_LIMIT):
            done += sum(map(len, lines))
            on_read(done)
            yield from lines
    except NotNDJSON as error:
        raise InputError(f"{path}: {error}") from None


def set_aside(path: str, lines: Iterable[bytes]) -> None:
    """Append lines to FILE.torn or FILE.replaced at `path`, durably. Lines that it already has are not appended again.

    Each line is appended completely or not at all. If the last line of the file has no newline, it is ended first.
    Raises OutputError, or InputError if the file can't be used.
    """
    try:
        with locked(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, beside=path.rpartition(".")[0]) as fd:
            existing = set()
            line = b"\n"
            for line in read_lines(fd, path):
                existing.add(hash(line.rstrip(b"\n")))
            block = [] if line.endswith(b"\n") else [b"\n"]
            size = 0
            for line in lines:
                line = line.rstrip(b"\n")
                if hash(line) in existing:
                    continue
                block.append(line + b"\n")
                size += len(line)
                if size > BLOCK:
                    append(fd, b"".join(block))
                    block = []
                    size = 0
            append(fd, b"".join(block))
        sync_directory(path)
    except OSError as error:
        raise OutputError(f"{path}: {reason(error)}") from None


def open_to_read(path: str, real: str) -> int:
    """Open the file of answers for a dry run, or /dev/null if there is none. Raises InputError."""
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for its other end.
        fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{path}: {reason(error)}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise InputError(f"{path}: not a regular file")
    return fd


def remove_if_empty(fd: int, path: str) -> None:
    """Remove a file of answers that nothing was written to, while it is locked."""
    if not os.fstat(fd).st_size:
        with contextlib.suppress(OSError):
            os.unlink(path)
