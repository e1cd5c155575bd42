"""The output of a filter: what it extracts, to stdout or to the FILE of -w, the NDJSON that -w passes on, and messages.

Messages about failures are printed after the text before them, by the last filter of the pipeline.
"""

from __future__ import annotations

from ostream.errors import OK, OutputError, worst
from ostream.protocol.error_lines import REPORT
from ostream.protocol.ndjson import encode_line
from ostream.system.output import Output, open_output, refuse_input_as_stdout
from ostream.system.polling import is_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ostream.errors import OstreamError
    from ostream.system.diagnostics import Diagnostics
    from ostream.system.output import Spans


class FilterOutput:
    """Without `write_to`, the extraction goes to stdout and `passing` is false.

    With it, a FILE that can't be written is reported once, and the stream is still passed on, as tee does. `inputs`
    are the names of the input files, none of which may be an output.
    """

    def __init__(
        self, diagnostics: Diagnostics, inputs: list[str], write_to: str | None = None, raw_terminal: bool = False
    ) -> None:
        self.status = OK
        self.passing = write_to is not None
        self._diagnostics = diagnostics
        self._stdout = Output(1, "standard output", raw_terminal)
        self._at_line_start = True
        self._failure: OutputError | None = None
        self.extraction: Output | None = self._stdout
        if write_to is not None:
            try:
                self.extraction = open_output(write_to, inputs, raw_terminal)
            except OutputError as error:
                self.fail(error)
        refuse_input_as_stdout(inputs)

    def write_text(self, fragments: list[str]) -> None:
        """Write fragments of extracted text."""
        if fragments:
            self._write(Output.write_text, *fragments)

    def write_spans(self, spans: Spans) -> None:
        """Write spans of extracted text; dim ones are dimmed if the terminal supports it."""
        if spans:
            self._write(Output.write_spans, spans)

    def write_lines(self, lines: bytes) -> None:
        """Write extracted NDJSON."""
        self._write(Output.write_lines, lines)

    def _write(self, write: Any, *data: Any) -> None:
        if self.extraction is None:
            return
        try:
            write(self.extraction, *data)
            self._diagnostics.mid_line = self.extraction.mid_line
        except OutputError as error:
            self.fail(error)

    def fail(self, error: OutputError) -> None:
        """Handle an extraction that can't be written: raise, or with -w report it once and write no more of it."""
        if not self.passing:
            raise error
        if self._failure is None:
            self._diagnostics.error(error)
            self.status = worst(self.status, error.exit_status)
            self.extraction = None
            self._failure = error

    @property
    def styled(self) -> bool:
        """True if dim text can be shown where the extraction goes."""
        return self.extraction is not None and self.extraction.styled

    def width(self) -> int:
        """Width in columns of the terminal that the extraction goes to (80 if it is none)."""
        return self.extraction.width() if self.extraction else 80

    def pass_on(self, lines: bytes) -> None:
        """Write lines of the input, or error lines, to stdout; only with -w.

        A b"\\n" that the input lacks at its end is added when more follows.
        """
        if lines:
            self._stdout.write_lines(lines if self._at_line_start else b"\n" + lines)
            self._at_line_start = lines.endswith(b"\n")

    def close(self) -> None:
        """Check that everything was written; with -w, pass the failure of FILE on as an error line."""
        if self.passing and self.extraction is not None:
            try:
                self.extraction.close()
            except OutputError as error:
                self.fail(error)
        if self._failure is not None:
            self.pass_on(encode_line(self._failure.error_line()))


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
