"""Leave the report of a failure to the reader of a pipe, so that it follows the text that the reader still writes.

A filter locks the pipe that it reads. A command that fails and finds its standard output so locked writes its message
into the error line, under REPORT, and the filter prints it after the text before it. Only Linux can open a pipe again
and lock it; elsewhere, and for other readers, the command waits a moment until the pipe is empty.
"""

from __future__ import annotations

import os
import time

from ostream.system.polling import ReaderGone, is_pipe, wait_ready

# Seconds between two looks at a pipe; for another program to read it and to write its text; for a filter to read it.
_PERIOD_S, _SETTLE_S, _PRINT_S, _FILTER_S = 0.005, 0.2, 0.01, 60.0


def is_read_by_filter() -> bool:
    """True if standard output is a pipe whose reader has called `input.lock_input`."""
    if not is_pipe(1):
        return False
    import fcntl

    try:
        fcntl.flock(1, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(1, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except OSError:
        pass  # a system that can't lock pipes
    return False


def reader_reports() -> bool:
    """True if that filter prints reports where this process would: they have the same standard error."""
    if not is_read_by_filter():
        return False
    try:
        return os.path.samestat(os.fstat(2), os.stat(f"/proc/{_lock_owner()}/fd/2"))
    except OSError:
        return False


def _lock_owner() -> int:
    """The process that holds the lock on standard output; 0 if it is in another container."""
    status = os.fstat(1)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with open("/proc/locks", encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if place in fields and "FLOCK" in fields:
                return int(fields[fields.index(place) - 1])
    return 0


def wait_read() -> bool:
    """Wait until the filter that reads standard output has read everything; False if it ended before."""
    return _wait(_FILTER_S, while_locked=True)


def wait_settled() -> None:
    """Give another reader of standard output a moment to read the text and to write it."""
    if _wait(_SETTLE_S, while_locked=False):
        _sleep(_PRINT_S)


def _wait(seconds: float, while_locked: bool) -> bool:
    for _ in range(round(seconds / _PERIOD_S)):
        if _unread() == 0:
            return True
        if _sleep(_PERIOD_S) or (while_locked and not is_read_by_filter()):
            return _unread() == 0
    return while_locked


def _unread() -> int:
    """The number of bytes in the pipe on standard output; 0 if it is none, or can't be asked."""
    import fcntl
    import sys
    import termios

    try:
        return int.from_bytes(fcntl.ioctl(1, termios.FIONREAD, bytes(4)), sys.byteorder) if is_pipe(1) else 0
    except OSError:
        return 0


def _sleep(seconds: float) -> bool:
    """Sleep; return True at once if nobody reads standard output any more."""
    end = time.monotonic() + seconds
    try:
        wait_ready(None, 0, 1, lambda: end - time.monotonic())
    except ReaderGone:
        return True
    return False
