"""The messages of a filter about failures, printed after the text before them, by the last filter of the pipeline."""

from __future__ import annotations

from ostream.protocol.error_lines import REPORT
from ostream.protocol.ndjson import encode_line
from ostream.system.polling import is_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ostream.cli.filter_output import FilterOutput
    from ostream.errors import OstreamError
    from ostream.system.diagnostics import Diagnostics


class Reports:
    """Collects messages while a block is processed; `print` prints them once its text has been written.

    A message is left to the filter that reads the NDJSON of -w, if there is one: its text comes before the message.
    """

    def __init__(self, diagnostics: Diagnostics, output: FilterOutput) -> None:
        self._diagnostics = diagnostics
        self._output = output
        self._pending: list[tuple[OstreamError | str, str]] = []

    def add(self, error: OstreamError, kind: str = "") -> None:
        """Add the message of an error; `kind` as for Diagnostics.error."""
        self._pending.append((error, kind))

    def error_line(self, error: OstreamError) -> bytes:
        """Add the message of an error found here, and return the error line to pass on."""
        line = error.error_line()
        if self._is_left_downstream():
            return encode_line({**line, REPORT: self._diagnostics.error_report(error)})
        self.add(error)
        return encode_line(line)

    def take(self, line: dict[str, Any], is_regular: bool) -> dict[str, Any]:
        """Add the message that a command left in an error line, and return the line to pass on.

        In a regular file the message is out of place: nobody left it to this process.
        """
        if REPORT not in line:
            return line
        if not is_regular and isinstance(line[REPORT], str):
            if self._is_left_downstream():
                return line
            self._pending.append((line[REPORT], ""))
        return {key: value for key, value in line.items() if key != REPORT}

    def _is_left_downstream(self) -> bool:
        if not self._output.passing or not is_pipe(1):
            return False
        from ostream.system.pipe_reader import reader_reports

        return reader_reports()

    def print(self) -> None:
        """Print what was added."""
        while self._pending:
            error, kind = self._pending.pop(0)
            if isinstance(error, str):
                self._diagnostics.report(error)
                continue
            if self._output.passing and is_pipe(1):
                from ostream.system.pipe_reader import wait_settled

                wait_settled()  # another reader may be writing text
            self._diagnostics.error(error, kind)
