"""Report errors, notes and traces on stderr, one line each: `command: object: what happened; what to do`."""

from __future__ import annotations

import os

from ostream.system.output import encode_text
from ostream.system.terminal import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.errors import OstreamError


class Diagnostics:
    """One line on stderr each: `command: object: reason; what to do`."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.quiet = False
        self.verbose = False
        self.mid_line = False  # text of ours may stand on the terminal, its line not ended

    def error(self, error: OstreamError) -> None:
        self.write(f"{error}; {error.advice}" if error.advice else str(error))

    def note(self, text: str) -> None:
        if not self.quiet:
            self.write(text)

    def trace(self, text: str) -> None:
        if self.verbose:
            self.write(text)

    def write(self, text: str) -> None:
        begin = "\n" if self.mid_line and os.isatty(2) else ""
        self.mid_line = False
        try:
            os.write(2, encode_text(f"{begin}{self.command}: {one_line(text)}\n"))
        except OSError:
            pass  # there is nobody left to tell
