"""Notice that data was redirected to standard input and nobody read it."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


def is_redirected() -> bool:
    """True if standard input is a pipe or a file that was opened for this process: its parent has another one.

    A loop, a function, ssh, cron or CI share their standard input with their commands, which must leave it alone.
    False also if that can't be determined: without /proc, or with a parent of another user.
    """
    try:
        own = os.fstat(0)
        if not (stat.S_ISFIFO(own.st_mode) or stat.S_ISREG(own.st_mode)):
            return False
        return not os.path.samestat(own, os.stat(f"/proc/{os.getppid()}/fd/0"))
    except OSError:
        return False


def holds_data() -> bool:
    """True if standard input, a pipe or a regular file, still has data that was not read."""
    import fcntl
    import sys
    import termios

    try:
        status = os.fstat(0)
        if stat.S_ISREG(status.st_mode):
            return os.lseek(0, 0, os.SEEK_CUR) < status.st_size
        unread = fcntl.ioctl(0, termios.FIONREAD, bytes(4))
        return int.from_bytes(unread, sys.byteorder) > 0
    except OSError:
        return False


def unread_input(note: Callable[[str], None]) -> Callable[[], None]:
    """Compare standard input with the parent's now; the returned function notes, at the end, data that is unread."""
    if not is_redirected():
        return lambda: None
    return lambda: note(UNREAD) if holds_data() else None


UNREAD = "standard input was ignored; add - to the prompt to include it"
