"""Waiting for a descriptor without losing sight of the reader of our output.

Every stage watches both ends while it waits: the one it reads from, and its stdout, so that a reader who leaves
stops the whole pipe at once even while the server is silent.
"""

from __future__ import annotations

import os
import select
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

READABLE = select.POLLIN
WRITABLE = select.POLLOUT
# A poll counts milliseconds in a C int, 24 days at most.
LONGEST_POLL_S = 86_400


class ReaderGone(Exception):
    """Nobody reads our output any more. Not an error: the process ends as SIGPIPE would end it."""


def pollable_or_none(fd: int) -> int | None:
    """The descriptor, if a poll can tell that its reader left: a pipe, a socket or a terminal."""
    mode = os.fstat(fd).st_mode
    return fd if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd) else None


def is_pipe(fd: int) -> bool:
    """Is this an open pipe?"""
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


def wait_ready(
    fd: int | None, events: int, reader_fd: int | None = None, left_s: Callable[[], float | None] = lambda: None
) -> bool:
    """True when `fd` is ready, or at its end; False when the time is over. With no `fd`, a sleep.

    `left_s` gives the seconds left (None: for ever) and may raise. Raises ReaderGone when the reader of `watch` left.
    """
    return bool(wait_any({} if fd is None else {fd: events}, reader_fd, left_s))


def wait_any(
    events: dict[int, int], reader_fd: int | None = None, left_s: Callable[[], float | None] = lambda: None
) -> list[int]:
    """Those of several descriptors that are ready; none when the time is over. Otherwise as `wait`."""
    poll = select.poll()
    for fd, wanted in events.items():
        poll.register(fd, wanted)
    if reader_fd is not None:
        poll.register(reader_fd, 0)
    while True:
        left = left_s()
        found = []
        for fd, seen in poll.poll(None if left is None else min(max(left, 0), LONGEST_POLL_S) * 1000):
            if fd != reader_fd:
                found.append(fd)
            elif seen & (select.POLLERR | select.POLLHUP):
                raise ReaderGone
            else:
                # Invalid: some systems can't poll a device. (A closed descriptor was filled at the start.)
                poll.unregister(fd)
        if found or (left is not None and left <= 0):
            return found
