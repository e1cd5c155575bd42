"""Wait for descriptors, and at the same time for the reader of our output to leave or for a `Wakeup`.

Every stage of a pipeline watches its stdout while it waits for input, so a reader that leaves stops the whole pipeline
at once, even while the server is silent.
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

    # A descriptor of ours whose reader may leave, or an event; either ends a wait with ReaderGone.
    Reader = Union[int, Wakeup]

# Windows has no poll and none of its constants; there they are only bits for _select.
READABLE: int = getattr(select, "POLLIN", 1)
WRITABLE: int = getattr(select, "POLLOUT", 4)
# XNU ignores a descriptor polled for no events. This one never happens on an output, and keeps it from being ignored.
_WATCHED: int = getattr(select, "POLLRDBAND", 0)
# poll() takes milliseconds in a C int: 24 days at most.
LONGEST_POLL_S = 86_400


class ReaderGone(Exception):
    """The reader of our output has left, or a Wakeup was set. Not an error: a command then exits as by SIGPIPE."""


def pollable_or_none(fd: int) -> int | None:
    """Return `fd` if poll() reports that its reader has left (pipes, sockets and terminals), else None."""
    mode = os.fstat(fd).st_mode
    return fd if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd) else None


def is_pipe(fd: int) -> bool:
    """True if `fd` is open and a pipe."""
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


def wait_ready(
    fd: int | None, events: int, reader: Reader | None = None, left_s: Callable[[], float | None] = lambda: None
) -> bool:
    """Wait until `fd` is ready for `events` or at its end. Return False when the time is over.

    Without `fd` this is a sleep that `reader` can end. Arguments and errors as for `wait_any`.
    """
    return bool(wait_any({} if fd is None else {fd: events}, reader, left_s))


def wait_any(
    events: dict[int, int], reader: Reader | None = None, left_s: Callable[[], float | None] = lambda: None
) -> list[int]:
    """Wait for several descriptors; return those that are ready, or an empty list when the time is over.

    `events` maps each descriptor to READABLE, WRITABLE or both. `left_s` returns the seconds left (None: no limit) or
    raises; its exception is raised only if no descriptor is ready by then: a process that was stopped for longer than
    its timeout finds the data that arrived meanwhile. Raises ReaderGone when the reader of the descriptor `reader` has
    left, or the Wakeup `reader` is set.
    """
    if not hasattr(select, "poll"):
        return _select(events, reader, left_s)
    poll = select.poll()
    for fd, wanted in events.items():
        poll.register(fd, wanted)
    if reader is not None:
        # Nothing is written to a Wakeup, so it is readable only when it is set.
        poll.register(reader, _WATCHED if isinstance(reader, int) else READABLE)
    while True:
        left, failure = _time_left(left_s)
        found = []
        for fd, seen in poll.poll(None if left is None else left * 1000):
            if fd in events:
                found.append(fd)  # also for POLLNVAL, which XNU reports for devices: then the read or write waits
            elif seen & (select.POLLERR | select.POLLHUP | READABLE):
                raise ReaderGone
            else:
                # POLLNVAL: this system cannot poll the device. (A closed stdout was replaced at the start.)
                poll.unregister(fd)
        if found:
            return found
        if failure:
            raise failure
        if left is not None and left <= 0:
            return []


def _select(events: dict[int, int], reader: Reader | None, left_s: Callable[[], float | None]) -> list[int]:
    """`wait_any` for systems without poll(), which run only the library: of readers, only a Wakeup is watched."""
    readers = [fd for fd, wanted in events.items() if wanted & READABLE]
    writers = [fd for fd, wanted in events.items() if wanted & WRITABLE]
    wakeup = [] if reader is None or isinstance(reader, int) else [reader.fileno()]
    while True:
        left, failure = _time_left(left_s)
        if readers or writers or wakeup:
            # Windows reports a failed attempt to connect only among the exceptions.
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
    """How long to wait next, at most LONGEST_POLL_S, and the exception to raise if nothing is ready then."""
    try:
        left = left_s()
    except Exception as error:
        return 0, error
    return (None if left is None else min(max(left, 0), LONGEST_POLL_S)), None
