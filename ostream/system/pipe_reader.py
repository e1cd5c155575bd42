"""Let the filter that reads our output print an error message, so that the message follows the text before it.

A filter locks the pipe that it reads (see `input.lock_input`). If a command fails and finds this lock on its standard
output, it puts its message into the error line, under the key REPORT. The filter prints the message after the text that
precedes the error line.

Only Linux can open a pipe again and lock it. On other systems, or if the reader is another program, the command waits
a moment until the pipe is empty and then prints the message itself.
"""

from __future__ import annotations

import os
import time

from ostream.system.polling import ReaderGone, is_pipe, wait_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

_PERIOD_S = 0.005  # pause between two checks of the pipe
_START_S = 2.0  # longest wait until the program that reads the pipe has started
_SETTLE_S = 0.2  # longest wait until another program has read the pipe
_PRINT_S = 0.01  # after that, time for this program to write its text
_FILTER_S = 60.0  # longest wait until a filter has read the pipe


def is_read_by_filter() -> bool:
    """True if standard output is a pipe, and its reader has locked it with `input.lock_input`."""
    return is_pipe(1) and _is_locked(1)


def _is_locked(pipe: int) -> bool:
    import fcntl

    try:
        fcntl.flock(pipe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(pipe, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except OSError:
        pass  # this system can't lock pipes
    return False


def wait_started() -> None:
    """Wait at most 2 s until the program that reads standard output has started, so that `reader_reports` is right.

    A filter locks the pipe before it reads. While the pipe has unread data and no lock, its reader may still be
    starting.
    """
    _wait(_START_S, is_read_by_filter)


def reader_reports() -> bool:
    """True if a filter reads our standard output and prints messages to the same standard error as this process."""
    if not is_read_by_filter():
        return False
    try:
        return os.path.samestat(os.fstat(2), os.stat(f"/proc/{_lock_owner()}/fd/2"))
    except OSError:
        return False


def _lock_owner() -> int:
    """Return the pid of the process that holds the lock on standard output, or 0 if it is not visible here.

    A process in another container is not visible. Raises OSError if /proc/locks can't be read.
    """
    status = os.fstat(1)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with open("/proc/locks", encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if place in fields and "FLOCK" in fields:
                return int(fields[fields.index(place) - 1])
    return 0


def wait_read() -> bool:
    """Wait at most 60 s until the filter has read everything from the pipe on standard output.

    Return False if the filter ended before it had read everything.
    """
    return _wait(_FILTER_S, lambda: not is_read_by_filter()) is not False


def wait_settled() -> None:
    """Wait a moment, so that another program can read the text on standard output and write its own text."""
    if _wait(_SETTLE_S, lambda: False):
        _sleep(_PRINT_S)


def end_output() -> None:
    """Close standard output, and wait until the filter that reads it has ended, at most 60 s.

    A note that is printed then is on a line of its own, after the text of the filter. If another program reads the
    pipe, or if the system can't open a pipe again, wait a moment until the pipe is empty.
    """
    if not is_pipe(1):
        return
    try:
        pipe = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        wait_settled()
        return
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)
    end = time.monotonic() + _START_S
    while _unread(pipe) and not _is_locked(pipe) and time.monotonic() < end:
        time.sleep(_PERIOD_S)
    end = time.monotonic() + _FILTER_S
    while _is_locked(pipe) and time.monotonic() < end:
        time.sleep(_PERIOD_S)
    time.sleep(_PRINT_S)
    os.close(null)
    os.close(pipe)


def _wait(seconds: float, ends: Callable[[], bool]) -> bool | None:
    """Wait until everything on standard output was read, `ends()` is True or the reader closes the pipe.

    Return True if everything was read, False if not, and None after `seconds`.
    """
    for _ in range(round(seconds / _PERIOD_S)):
        if _unread() == 0:
            return True
        if ends() or _sleep(_PERIOD_S):
            return _unread() == 0
    return None


def _unread(pipe: int = 1) -> int:
    """Return how many bytes in a pipe, by default standard output, are unread; 0 if it is not a pipe or this fails."""
    import fcntl
    import sys
    import termios

    try:
        return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder) if is_pipe(pipe) else 0
    except OSError:
        return 0


def _sleep(seconds: float) -> bool:
    """Sleep for `seconds`. Return True at once if the reader of standard output closes it, else False."""
    end = time.monotonic() + seconds
    try:
        wait_ready(None, 0, 1, lambda: end - time.monotonic())
    except ReaderGone:
        return True
    return False
