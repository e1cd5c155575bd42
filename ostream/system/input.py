"""Read blocks and complete inputs from descriptors.

Each read returns the data that is available now, up to BLOCK bytes. Nothing is buffered between reads.
"""

from __future__ import annotations

import os
import stat
import sys
import time

from ostream.errors import InputError, reason
from ostream.system import polling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator


# Bytes per read. A decoded block takes twenty times its size in memory, and larger blocks do not fit into the caches of
# the processor.
BLOCK = 16 << 10

# Seconds until a wait for another program is reported.
NOTE_S = 1.0

# The descriptor that holds the lock of `lock_input`, if there is one.
_locked: list[int] = []


def lock_input() -> None:
    """Lock the pipe on standard input until the process ends.

    A command that writes to the pipe and fails finds the lock, and lets this process print its error message.
    """
    if not polling.is_pipe(0):
        return
    import fcntl

    try:
        # Open the pipe again. If descriptor 0 were locked itself, a shell that shares it would keep the lock after this
        # process has ended.
        _locked.append(os.open("/proc/self/fd/0", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        fcntl.flock(_locked[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass  # without a lock, the command that writes to the pipe reports its failures itself


def unlock_input() -> None:
    """Release the lock. Needed by a program that runs a command in its own process and continues after it."""
    while _locked:
        os.close(_locked.pop())


def read_blocks(fd: int, name: str, reader_fd: int | None = None) -> Iterator[bytes]:
    """Yield the data of an input, as it becomes available, until the input ends.

    Arguments:
        fd: the descriptor to read.
        name: the name of the input for errors.
        reader_fd: an output to watch while waiting (default: none).

    Raises InputError if a read fails, and ReaderGone if the program that reads `reader_fd` closes it.
    """
    waiter = polling.Waiter({fd: polling.READABLE}, reader_fd)
    try:
        if reader_fd is not None:
            os.read(fd, 0)  # fails for a pipe that is not open for reading; poll() would wait forever for data in it
    except OSError as error:
        raise InputError(f"{name}: {reason(error)}") from None
    while True:
        if reader_fd is not None:
            waiter.wait()
        try:
            block = os.read(fd, BLOCK)
        except BlockingIOError:
            waiter.wait()
            continue
        except OSError as error:
            raise InputError(f"{name}: {reason(error)}") from None
        if not block:
            return
        yield block


def open_input(name: str, reader_fd: int | None = None, note: Callable[[str], None] | None = None) -> int:
    """Open the file `name` for reading and return its descriptor; "-" means standard input.

    If the file is a FIFO, wait for its writer. During this wait, `reader_fd` is watched, as in `read_blocks`, and
    `note` is called with a message if the wait takes longer than a second.

    Raises InputError if the file can't be opened, and ReaderGone.
    """
    if name == "-":
        return 0

    def wait(fd: int) -> None:
        end = time.monotonic() + NOTE_S
        if note and not polling.wait_ready(fd, polling.READABLE, reader_fd, lambda: end - time.monotonic()):
            note(f"{name}: waiting for another program to write to this FIFO")
        polling.wait_ready(fd, polling.READABLE, reader_fd)

    try:
        if not stat.S_ISFIFO(os.stat(name).st_mode):
            return os.open(name, os.O_RDONLY)
        if sys.platform != "linux":
            return _open_in_thread(name, wait)
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
        wait(fd)
        os.set_blocking(fd, True)
        return fd
    except (OSError, ValueError) as error:
        raise InputError(f"{name or 'empty file name'}: {reason(error)}") from None


def _open_in_thread(name: str, wait: Callable[[int], None]) -> int:
    """Open a FIFO in a thread, which waits in open() for the writer. Call `wait` with a descriptor that ends this wait.

    For systems other than Linux: there, poll() reports the same for a FIFO that no writer has opened yet and for a FIFO
    whose writer has closed it.
    """
    import contextlib
    import signal
    import threading

    reader, writer = os.pipe()
    opened: list[int] = []

    def open_fifo() -> None:
        with contextlib.suppress(OSError):
            opened.append(os.open(name, os.O_RDONLY))
        os.close(writer)

    # The thread inherits this mask, so every signal interrupts the main thread.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    threading.Thread(target=open_fifo, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    wait(reader)
    os.close(reader)
    return opened[0] if opened else os.open(name, os.O_RDONLY)  # after a failure, this raises the same error


def is_fifo_name(name: str) -> bool:
    """Return True if `name` is the name of a FIFO."""
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except (OSError, ValueError):
        return False


def read_input(name: str, note: Callable[[str], None] | None = None) -> bytes:
    """Return all bytes of a file, or of standard input for "-". `note` has the same meaning as in `open_input`.

    Raises InputError if it can't be read, and ReaderGone if the program that reads stdout closes it.
    """
    reader_fd = polling.pollable_or_none(1)
    fd = open_input(name, reader_fd, note)
    try:
        return b"".join(read_blocks(fd, input_name(name), reader_fd))
    finally:
        if fd:
            os.close(fd)


def input_name(name: str) -> str:
    """Return the name of an input for messages."""
    return "standard input" if name == "-" else name
