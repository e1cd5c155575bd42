"""Report errors, notes and traces on stderr, one line each: `command: object: what happened; what to do`."""

from __future__ import annotations

import os

from ostream.system.output import encode_text
from ostream.system.terminal import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.errors import OstreamError

# Number of messages of one kind that are printed. Further messages of that kind are only counted.
SAME_KIND = 5
# Number of kinds that are counted separately. The limit is needed because a stream may have a different error on every
# line; further kinds are counted together.
_KINDS = 1000


class Diagnostics:
    """Print the messages of one command. Set `quiet` to suppress notes, and `verbose` to print traces.

    Arguments:
        command: the name of the command, printed at the start of each message.
        program: the command as the user typed it, such as "ostream send", for usage and advice (default: `command`).
    """

    def __init__(self, command: str, program: str = "") -> None:
        self.command = command
        self.program = program or command
        self.quiet = False
        self.verbose = False
        self.mid_line = False  # the terminal may show an unfinished line, so the next message begins with a line feed
        self.text_downstream = False  # a command downstream may still be writing text
        self._counts: dict[str, int] = {}

    @property
    def prefix(self) -> str:
        """Return what to write before a command name in advice: "ostream " if the user typed it, else ""."""
        return self.program[: -len(self.command)]

    def error(self, error: OstreamError, kind: str = "") -> None:
        """Print an error with its advice. If `kind` is not "", print only the first SAME_KIND of it."""
        self._report(_text(error), kind)

    def error_report(self, error: OstreamError) -> str:
        """Return the line that `error` would print. Another command can print it with `report`."""
        return f"{self.command}: {one_line(_text(error))}"

    def report(self, line: str) -> None:
        """Print a line that `error_report` of another command returned."""
        self._write_line(one_line(line))

    def note(self, text: str, kind: str = "") -> None:
        """Print a note unless `quiet` is set. `kind` has the same meaning as in `error`."""
        if not self.quiet:
            self._report(text, kind)

    def trace(self, text: str) -> None:
        """Print a trace if `verbose` is set."""
        if self.verbose:
            self.write(text)

    def finish(self) -> None:
        """Print how many messages of each kind were not printed."""
        for kind, count in self._counts.items():
            if count > SAME_KIND:
                self.write(f"{count - SAME_KIND:,} more: {kind}")
        self._counts = {}

    def _report(self, text: str, kind: str) -> None:
        if kind:
            if kind not in self._counts and len(self._counts) >= _KINDS:
                kind = "other messages"
            self._counts[kind] = self._counts.get(kind, 0) + 1
            if self._counts[kind] > SAME_KIND:
                return
        self.write(text)

    def write(self, text: str) -> None:
        """Print text on one line. Keep up to 40 spaces at its beginning, because a traceback is indented."""
        indent = " " * min(len(text) - len(text.lstrip(" ")), 40)
        self._write_line(f"{self.command}: {indent}{one_line(text)}")

    def _write_line(self, line: str) -> None:
        begin = "\n" if self.mid_line else ""
        self.mid_line = False
        try:
            os.write(2, encode_text(f"{begin}{line}\n"))
        except OSError:
            pass  # stderr cannot be written, and there is no other place for messages


def _text(error: OstreamError) -> str:
    return f"{error}; {error.advice}" if error.advice else str(error)
