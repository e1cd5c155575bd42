"""Wait for descriptors. Stop waiting if the program that reads our output closes the pipe, or if a `Wakeup` is set.

Every stage of a pipeline watches its stdout while it waits for input. If a program downstream exits, the complete
pipeline stops at once, even while the server sends nothing.
"""

from __future__ import annotations

import os
import select
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Union

    from ostream.system.wakeup import Wakeup

    # An output descriptor, whose reader may close the pipe, or an event. Both end a wait with ReaderGone.
    Reader = Union[int, Wakeup]

# Windows has no poll() and no constants for it. There, the numbers are only used by _select.
READABLE: int = getattr(select, "POLLIN", 1)
WRITABLE: int = getattr(select, "POLLOUT", 4)
# macOS ignores a descriptor that is polled for no events. POLLRDBAND never occurs on an output, so polling for it only
# reports that the reader has closed the pipe.
_WATCHED: int = getattr(select, "POLLRDBAND", 0)
# poll() takes milliseconds as a C int, so it can wait at most 24 days.
LONGEST_POLL_S = 86_400


class ReaderGone(Exception):
    """The program that reads our output has closed the pipe, or a Wakeup was set.

    This is not an error. A command then exits as if killed by SIGPIPE.
    """


def pollable_or_none(fd: int) -> int | None:
    """Return `fd` if poll() can report that its reader has gone (for a pipe, socket or terminal), else None."""
    mode = os.fstat(fd).st_mode
    return fd if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd) else None


def is_pipe(fd: int) -> bool:
    """True if `fd` is an open descriptor of a pipe."""
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


def wait_ready(
    fd: int | None, events: int, reader: Reader | None = None, left_s: Callable[[], float | None] = lambda: None
) -> bool:
    """Wait until `fd` is ready for `events` or at its end. Return False if the time ends first.

    If `fd` is None, sleep until the time is over. See `Waiter` for the arguments and the errors.
    """
    return bool(wait_any({} if fd is None else {fd: events}, reader, left_s))


def wait_any(
    events: dict[int, int], reader: Reader | None = None, left_s: Callable[[], float | None] = lambda: None
) -> list[int]:
    """Wait for several descriptors. Return those that are ready, or an empty list if the time ends first.

    See `Waiter` for the arguments and the errors.
    """
    return Waiter(events, reader).wait(left_s)


class Waiter:
    """Waits for the same descriptors any number of times. Creating a Waiter takes longer than a wait that has data.

    Arguments:
        events: maps each descriptor to READABLE, WRITABLE, or both combined with |.
        reader: an output descriptor or a Wakeup that can end the wait (default: none).
    """

    def __init__(self, events: dict[int, int], reader: Reader | None = None) -> None:
        self._events = events
        self._reader = reader
        if not hasattr(select, "poll"):
            return
        self._poll = select.poll()
        for fd, wanted in events.items():
            self._poll.register(fd, wanted)
        if reader is not None:
            # A Wakeup becomes readable (end of file) only when it is set: no data is ever written to it.
            self._poll.register(reader, _WATCHED if isinstance(reader, int) else READABLE)

    def wait(self, left_s: Callable[[], float | None] = lambda: None) -> list[int]:
        """Wait, and return the descriptors that are ready, or an empty list if the time ends first.

        `left_s` returns the seconds left, or None for no limit. It may raise an exception when the time is over. That
        exception is raised only if no descriptor is ready: a process that was suspended for longer than its timeout can
        still read the data that arrived in the meantime.

        Raises ReaderGone if the program that reads the descriptor `reader` has closed it, or if the Wakeup `reader` is
        set.
        """
        if not hasattr(select, "poll"):
            return _select(self._events, self._reader, left_s)
        while True:
            left, failure = _time_left(left_s)
            found = []
            for fd, seen in self._poll.poll(None if left is None else left * 1000):
                if fd in self._events:
                    # POLLNVAL also counts as ready. macOS reports it for devices; the read or write itself then waits.
                    found.append(fd)
                elif seen & (select.POLLERR | select.POLLHUP | READABLE):
                    raise ReaderGone
                else:
                    # POLLNVAL: this system cannot poll the device, so stop watching it. It does not mean that stdout is
                    # closed, because a closed stdout was replaced with /dev/null when the process started.
                    self._poll.unregister(fd)
            if found:
                return found
            if failure:
                raise failure
            if left is not None and left <= 0:
                return []


def _select(events: dict[int, int], reader: Reader | None, left_s: Callable[[], float | None]) -> list[int]:
    """Do what `Waiter.wait` does, on systems without poll().

    Only the library runs there, not the commands, so a `reader` that is a descriptor is not watched.
    """
    readers = [fd for fd, wanted in events.items() if wanted & READABLE]
    writers = [fd for fd, wanted in events.items() if wanted & WRITABLE]
    wakeup = [] if reader is None or isinstance(reader, int) else [reader.fileno()]
    while True:
        left, failure = _time_left(left_s)
        if readers or writers or wakeup:
            # Windows reports a failed connect() only in the third list, so it contains the writers too.
            ready = set().union(*select.select(readers + wakeup, writers, writers, left))
        else:
            time.sleep(LONGEST_POLL_S if left is None else left)
            ready = set()
        if ready.intersection(wakeup):
            raise ReaderGone
        if ready:
            return [fd for fd in events if fd in ready]
        if failure:
            raise failure
        if left is not None and left <= 0:
            return []


def _time_left(left_s: Callable[[], float | None]) -> tuple[float | None, Exception | None]:
    """Call `left_s`. Return the seconds to wait, at most LONGEST_POLL_S, and the exception that it raised, or None."""
    try:
        left = left_s()
    except Exception as error:
        return 0, error
    return (None if left is None else min(max(left, 0), LONGEST_POLL_S)), None
