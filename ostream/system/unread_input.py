"""Detect data that was redirected to standard input but that the command did not read."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


def is_redirected() -> bool:
    """True if standard input is a pipe or a file, and differs from the standard input of the parent process.

    If both are the same (in a shell loop or function, or under ssh, cron or CI), the input is not meant for this
    command. Also returns False if this can't be determined: without /proc, or if the parent belongs to another user.
    """
    try:
        own = os.fstat(0)
        if not (stat.S_ISFIFO(own.st_mode) or stat.S_ISREG(own.st_mode)):
            return False
        return not os.path.samestat(own, os.stat(f"/proc/{os.getppid()}/fd/0"))
    except OSError:
        return False


def holds_data() -> bool:
    """True if standard input is a pipe or a regular file with unread data."""
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


def unread_input(note: Callable[[str], None]) -> Callable[[bool], None]:
    """Return a function to call at the end of the command. It calls `note` if redirected data was not read.

    The function closes standard output before the note if its argument is true, so that the note follows the text of
    the program that reads our output. Standard input is compared with that of the parent process now, not at the end.
    """

    def report(closes_output: bool) -> None:
        if not holds_data():
            return
        if closes_output:
            from ostream.system.pipe_reader import end_output

            end_output()
        note(UNREAD)

    return report if is_redirected() else lambda closes_output: None


UNREAD = "standard input was ignored; add - to the prompt to include it"
