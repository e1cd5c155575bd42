"""Write the output of a filter: the text or NDJSON that it extracts, the input lines that -w passes on, and messages.

The extraction goes to stdout or, with -w, to FILE. The last filter of a pipeline prints the messages about failures,
each after the text that precedes the failure.
"""

from __future__ import annotations

from ostream.errors import OK, OutputError, worst
from ostream.protocol.error_lines import REPORT
from ostream.protocol.ndjson import encode_line
from ostream.system.output import Output, open_output, refuse_input_as_stdout
from ostream.system.polling import is_pipe, pollable_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ostream.errors import OstreamError
    from ostream.system.diagnostics import Diagnostics
    from ostream.system.output import Spans


class FilterOutput:
    """Writes what a filter extracts and, with -w, passes the input lines on to stdout.

    `write_to` is the FILE of -w. If it is None, the extraction goes to stdout and `passing` is False. If FILE can't be
    written, the error is reported once and the lines are still passed on, as tee does. `raw_terminal` turns off the
    escaping of control characters on a terminal. Raises RequestError if an output is also one of the files `inputs`.
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
                self.extraction = open_output(
                    write_to, inputs, raw_terminal, note=diagnostics.note, reader_fd=pollable_or_none(1)
                )
            except OutputError as error:
                self.fail(error)
        refuse_input_as_stdout(inputs)

    def write_text(self, fragments: list[str]) -> None:
        """Write fragments of extracted text."""
        if fragments:
            self._write(Output.write_text, *fragments)

    def write_spans(self, spans: Spans) -> None:
        """Write spans of extracted text. Spans marked as dim are dimmed if the terminal supports it."""
        if spans:
            self._write(Output.write_spans, spans)

    def write_lines(self, lines: bytes) -> None:
        """Write extracted NDJSON lines."""
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
        """Handle an extraction that can't be written.

        Without -w, raise `error`. With -w, report the first error and stop writing to FILE.
        """
        if not self.passing:
            raise error
        if self._failure is None:
            self._diagnostics.error(error)
            self.status = worst(self.status, error.exit_status)
            self.extraction = None
            self._failure = error

    @property
    def styled(self) -> bool:
        """True if the extraction goes to a terminal that can show dim text."""
        return self.extraction is not None and self.extraction.styled

    def width(self) -> int:
        """Return the width for the extraction in columns: the terminal's width, or else $COLUMNS, or else 80."""
        return self.extraction.width() if self.extraction else 80

    def pass_on(self, lines: bytes) -> None:
        """Write input lines or error lines to stdout; called only with -w.

        If the last line of an input file has no b"\\n" at its end, the b"\\n" is added when another line follows.
        """
        if lines:
            self._stdout.write_lines(lines if self._at_line_start else b"\n" + lines)
            self._at_line_start = lines.endswith(b"\n")

    def close(self) -> None:
        """With -w, close FILE. If FILE could not be written, pass this failure on as an error line."""
        if self.passing and self.extraction is not None:
            try:
                self.extraction.close()
            except OutputError as error:
                self.fail(error)
        if self._failure is not None:
            self.pass_on(encode_line(self._failure.error_line()))


class Reports:
    """Collects messages while a block is processed. `print` prints them after the text of the block was written.

    With -w, another filter may read the NDJSON that is passed on. Then that filter prints the message, because its text
    must precede the message.
    """

    def __init__(self, diagnostics: Diagnostics, output: FilterOutput) -> None:
        self._diagnostics = diagnostics
        self._output = output
        self._pending: list[tuple[OstreamError | str, str]] = []
        self._waited = False  # until the program that reads stdout has started

    def add(self, error: OstreamError, kind: str = "") -> None:
        """Add the message of an error. `kind` is passed to Diagnostics.error."""
        self._pending.append((error, kind))

    def error_line(self, error: OstreamError) -> bytes:
        """Return the error line to pass on for an error that this filter found.

        Its message is added here or, if another filter prints it, stored in the line under REPORT.
        """
        line = error.error_line()
        if self._is_left_downstream():
            return encode_line({**line, REPORT: self._diagnostics.error_report(error)})
        self.add(error)
        return encode_line(line)

    def take(self, line: dict[str, Any], is_regular: bool) -> dict[str, Any]:
        """Take the message that an earlier command stored in an error line, and return the line to pass on.

        The message is added here, or stays in the line if another filter prints it. If the line was read from a regular
        file (`is_regular`), the message is removed and not added, because the caller reports the error itself.
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
        from ostream.system.pipe_reader import reader_reports, wait_started

        if not self._waited:
            wait_started()
            self._waited = True
        return reader_reports()

    def print(self) -> None:
        """Print the messages that were added."""
        while self._pending:
            error, kind = self._pending.pop(0)
            if isinstance(error, str):
                self._diagnostics.report(error)
                continue
            if self._output.passing and is_pipe(1):
                from ostream.system.pipe_reader import wait_settled

                wait_settled()  # the program that reads the pipe may still be writing text to the terminal
            self._diagnostics.error(error, kind)
