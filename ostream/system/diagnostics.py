"""Report errors, notes and traces on stderr, one line each: `command: object: what happened; what to do`."""

from __future__ import annotations

import os

from ostream.system.output import encode_text
from ostream.system.terminal import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.errors import OstreamError

# How many messages of one kind are printed; the others are counted.
SAME_KIND = 5
# How many kinds are distinguished: a stream may have a different error on every line.
_KINDS = 1000


class Diagnostics:
    """The messages of one command. `quiet` suppresses notes, `verbose` enables traces.

    `program` is how the command was called, such as "ostream send", for usage and advice.
    """

    def __init__(self, command: str, program: str = "") -> None:
        self.command = command
        self.program = program or command
        self.quiet = False
        self.verbose = False
        self.mid_line = False  # the next message would appear after text without a line end
        self.text_downstream = False  # a filter downstream may be writing text
        self._counts: dict[str, int] = {}

    @property
    def prefix(self) -> str:
        """The prefix of command names in advice: "ostream " if the command was called that way, else ""."""
        return self.program[: -len(self.command)]

    def error(self, error: OstreamError, kind: str = "") -> None:
        """Report an error with its advice. Of errors with the same `kind`, the first SAME_KIND are printed."""
        self._report(_text(error), kind)

    def error_report(self, error: OstreamError) -> str:
        """Return the line that `error` prints, for another command to print it with `report`."""
        return f"{self.command}: {one_line(_text(error))}"

    def report(self, line: str) -> None:
        """Print the error report of another command."""
        self._write_line(one_line(line))

    def note(self, text: str, kind: str = "") -> None:
        """Report something worth knowing; `kind` as in `error`."""
        if not self.quiet:
            self._report(text, kind)

    def trace(self, text: str) -> None:
        if self.verbose:
            self.write(text)

    def finish(self) -> None:
        """Report how many messages of each kind were not printed."""
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
        """Write one line; spaces at its beginning, as in a traceback, are kept."""
        indent = " " * min(len(text) - len(text.lstrip(" ")), 40)
        self._write_line(f"{self.command}: {indent}{one_line(text)}")

    def _write_line(self, line: str) -> None:
        begin = "\n" if self.mid_line else ""
        self.mid_line = False
        try:
            os.write(2, encode_text(f"{begin}{line}\n"))
        except OSError:
            pass  # nobody reads stderr


def _text(error: OstreamError) -> str:
    return f"{error}; {error.advice}" if error.advice else str(error)
