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


# What one block decodes to is twenty times its size: larger ones fall out of the processor's caches.
BLOCK = 16 << 10


def read_blocks(fd: int, name: str, reader_fd: int | None = None) -> Iterator[bytes]:
    """What is there, as it comes, to the end of the input; meanwhile `watch` is watched."""
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
    """A descriptor to read `name` from; "-" is standard input. Who opens a FIFO waits for its writer, and meanwhile
    `watch` is watched."""
    if name == "-":
        return 0
    try:
        # Elsewhere a poll takes a FIFO that had no writer yet for one that has none any more.
        is_fifo = sys.platform == "linux" and stat.S_ISFIFO(os.stat(name).st_mode)
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if is_fifo else 0))
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: {reason(error)}") from None
    if is_fifo:
        polling.wait_ready(fd, polling.READABLE, reader_fd)
        os.set_blocking(fd, True)
    return fd


def read_input(name: str) -> bytes:
    """The whole of a file, or of standard input."""
    reader_fd = polling.pollable_or_none(1)
    fd = open_input(name, reader_fd)
    try:
        return b"".join(read_blocks(fd, input_name(name), reader_fd))
    finally:
        if fd:
            os.close(fd)


def input_name(name: str) -> str:
    return "standard input" if name == "-" else name
