"""Prepare the process, run a command, and turn every error into a message, an error line and an exit status."""

from __future__ import annotations

import os

from ostream.errors import BUG, OK, OstreamError, OutputError
from ostream.protocol.error_lines import REPORT
from ostream.protocol.ndjson import encode_line
from ostream.system.output import Output
from ostream.system.polling import ReaderGone, is_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Callable, NoReturn

    from ostream.system.diagnostics import Diagnostics
else:
    import _signal as signal  # signal without its enums: 6.5 % of a filter's start-up instructions


def prepare_process() -> bool:
    """Set up descriptors 0 to 2 and signals; return False if stdout was closed.

    Closed descriptors get /dev/null, so that new files do not take their numbers; opened in the wrong direction, so
    that using one still fails. Signals keep their default action: nothing is buffered, so nothing has to be cleaned
    up. An ignored signal (nohup, &) stays ignored.
    """
    stdout_open = True
    for fd, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)
            stdout_open = stdout_open and fd != 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            # For process 1 the kernel ignores signals with the default action.
            signal.signal(number, exit_by_signal if os.getpid() == 1 else signal.SIG_DFL)
    # The parent may have set SIGCHLD to SIG_IGN; then wait() could not report child statuses.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return stdout_open


def exit_by_signal(number: int, _frame: object = None) -> NoReturn:
    """End by this signal, so that the parent sees the same status as from a C program."""
    if number != signal.SIGKILL:  # it has no handler
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # process 1, or the signal is blocked


class EarlyExit(Exception):
    """The command has printed --help or --version and ends with success."""


def run_process(diagnostics: Diagnostics, run: Callable[[], int], errors_on_stdout: bool = False) -> int:
    """Run a command and return its exit status; print the message of an error that it raises.

    With `errors_on_stdout`, stdout is NDJSON and gets an error line too, so that the last filter of the pipeline exits
    with the same status.
    """
    stdout_open = prepare_process()
    stdout = Output(1, "standard output")

    def failed(error: OstreamError) -> int:
        with_line = errors_on_stdout and not isinstance(error, OutputError)
        if not (with_line and is_pipe(1) and _left_to_reader(diagnostics, stdout, error)):
            diagnostics.error(error)
            if with_line:
                stdout.write_lines(encode_line(error.error_line()))
        return error.exit_status

    try:
        try:
            try:
                if not stdout_open:
                    raise OutputError("standard output: closed")
                status = run()
            except EarlyExit:
                status = OK
            stdout.check()
            return status
        except OstreamError as error:
            return failed(error)
        except ReaderGone:
            raise
        except MemoryError:
            return failed(OstreamError("out of memory"))
        except Exception as error:
            import traceback

            for line in traceback.format_exc().splitlines():
                diagnostics.write(line)
            failed(OstreamError(f"a bug in ostream: {type(error).__name__}: {error}", advice="please report it"))
            return BUG
    except ReaderGone:
        exit_by_signal(signal.SIGPIPE)
    except OutputError as error:
        return failed(error)


def _left_to_reader(diagnostics: Diagnostics, stdout: Output, error: OstreamError) -> bool:
    """True if the filter that reads stdout prints the message; then the error line has been written."""
    try:
        import fcntl  # noqa: F401

        from ostream.system import pipe_reader
    except (ImportError, OSError):
        return False  # no descriptor left to load them with: that may be the error

    if not pipe_reader.reader_reports():
        if diagnostics.text_downstream:
            pipe_reader.wait_settled()
        return False
    message = diagnostics.error_report(error)
    try:
        stdout.write_lines(encode_line({**error.error_line(), REPORT: message}))
        is_read = pipe_reader.wait_read()
    except ReaderGone:
        is_read = False
    if not is_read:
        diagnostics.error(error)
    return True
