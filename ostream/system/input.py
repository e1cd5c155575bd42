"""Read blocks and complete inputs from descriptors.

One read returns what is available now, up to BLOCK bytes; nothing is buffered between reads.
"""

from __future__ import annotations

import os
import stat
import sys

from ostream.errors import InputError, reason
from ostream.system import polling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator


# A decoded block takes twenty times its size; larger ones no longer fit into the processor's caches.
BLOCK = 16 << 10

# The descriptor that holds the lock.
_locked: list[int] = []


def lock_input() -> None:
    """Lock the pipe on standard input until the process ends, as a promise to print the reports of error lines."""
    if not polling.is_pipe(0):
        return
    import fcntl

    try:
        # Opened again: a lock on descriptor 0 itself would stay with a shell that shares it after this process died.
        _locked.append(os.open("/proc/self/fd/0", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        fcntl.flock(_locked[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass  # the writer finds no lock, and reports its failures itself


def unlock_input() -> None:
    """Release the lock, for a program that runs a command in its own process."""
    while _locked:
        os.close(_locked.pop())


def read_blocks(fd: int, name: str, reader_fd: int | None = None) -> Iterator[bytes]:
    """Yield what is available, up to the end of the input.

    While waiting, `reader_fd` is watched: raises ReaderGone when its reader leaves, InputError when a read fails.
    """
    while True:
        if reader_fd is not None:
            polling.wait_ready(fd, polling.READABLE, reader_fd)
        try:
            block = os.read(fd, BLOCK)
        except BlockingIOError:
            polling.wait_ready(fd, polling.READABLE, reader_fd)
            continue
        except OSError as error:
            raise InputError(f"{name}: {reason(error)}") from None
        if not block:
            return
        yield block


def open_input(name: str, reader_fd: int | None = None) -> int:
    """Open `name` for reading; "-" is standard input. Waits for the writer of a FIFO, watching `reader_fd`.

    Raises InputError if it can't be opened.
    """
    if name == "-":
        return 0
    try:
        # On other systems, poll does not distinguish a FIFO without a writer yet from one whose writer has left.
        is_fifo = sys.platform == "linux" and stat.S_ISFIFO(os.stat(name).st_mode)
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if is_fifo else 0))
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: {reason(error)}") from None
    if is_fifo:
        polling.wait_ready(fd, polling.READABLE, reader_fd)
        os.set_blocking(fd, True)
    return fd


def read_input(name: str) -> bytes:
    """Return all bytes of a file, or of standard input for "-"."""
    reader_fd = polling.pollable_or_none(1)
    fd = open_input(name, reader_fd)
    try:
        return b"".join(read_blocks(fd, input_name(name), reader_fd))
    finally:
        if fd:
            os.close(fd)


def input_name(name: str) -> str:
    """The name of an input in messages."""
    return "standard input" if name == "-" else name
