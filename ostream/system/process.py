"""Prepare the process, run a command, and convert every error to a message, an error line and an exit status."""

from __future__ import annotations

import errno
import os

from ostream.errors import BUG, OK, OstreamError, OutputError, reason
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
    import _signal as signal  # `signal` also creates enums: 6.5 % of a filter's start-up instructions


def prepare_process() -> bool:
    """Set up descriptors 0 to 2 and signals. Return False if stdout was closed.

    Opens /dev/null on each closed descriptor, so that no new file gets its number. stdin is opened for writing, and
    stdout and stderr for reading, so that using them still fails.

    SIGINT, SIGTERM and SIGHUP get their default action and end the process at once, which loses nothing because nothing
    is buffered. If the parent has set one of them to be ignored (nohup, &), it stays ignored.
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
            # For process 1, the kernel ignores signals with the default action, so a handler is needed.
            signal.signal(number, exit_by_signal if os.getpid() == 1 else signal.SIG_DFL)
    # The parent may have set SIGCHLD to SIG_IGN. With that setting, wait() can't report the statuses of children.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return stdout_open


def exit_by_signal(number: int, _frame: object = None) -> NoReturn:
    """End the process by the signal `number`, so that the parent gets the same status as from a C program.

    Can be used as a signal handler.
    """
    if number != signal.SIGKILL:  # its action can't be set
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # only reached in process 1, or if the signal is blocked


class EarlyExit(Exception):
    """The command has printed --help or --version, and its exit status is 0."""


def check_stdout() -> None:
    """Raise OutputError if stdout was closed when the process started."""
    try:
        os.write(1, b"")  # fails if prepare_process() has opened /dev/null for reading
    except OSError as error:
        if error.errno == errno.EBADF:
            raise OutputError("standard output: closed") from None


def run_process(
    diagnostics: Diagnostics, run: Callable[[], int], errors_on_stdout: bool = False, needs_stdout: bool = True
) -> int:
    """Run a command and return its exit status. If the command raises an error, print its message.

    Arguments:
        diagnostics: prints the messages.
        run: the command. Returns its exit status.
        errors_on_stdout: True if stdout is NDJSON. An error line is then also written to stdout, so that the last
            filter of the pipeline exits with the same status.
        needs_stdout: False if the command itself calls `check_stdout` before it writes to stdout.
    """
    stdout_open = prepare_process()
    stdout = Output(1, "standard output")

    def failed(error: OstreamError) -> int:
        with_line = errors_on_stdout and stdout_open and not isinstance(error, OutputError)
        if not (with_line and is_pipe(1) and _left_to_reader(diagnostics, stdout, error)):
            diagnostics.error(error)
            if with_line:
                stdout.write_lines(encode_line(error.error_line()))
        return error.exit_status

    try:
        try:
            try:
                if needs_stdout and not stdout_open:
                    check_stdout()
                status = run()
            except EarlyExit:
                status = OK
            stdout.check()
            return status
        except OstreamError as error:
            return failed(error)
        except ReaderGone:
            raise
        except Exception as error:
            lack = _resource_error(error)
            if lack:
                return failed(lack)
            import traceback

            for line in traceback.format_exc().splitlines():
                diagnostics.write(line)
            failed(OstreamError(f"a bug in ostream: {type(error).__name__}: {error}", advice="please report it"))
            return BUG
    except ReaderGone:
        exit_by_signal(signal.SIGPIPE)
    except OutputError as error:
        return failed(error)


def _resource_error(error: Exception) -> OstreamError | None:
    """Return the failure to report if a limit of memory or descriptors caused `error`, or None if it is a bug."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOMEM or isinstance(error, MemoryError):
        return OstreamError("out of memory")
    if code in (errno.EMFILE, errno.ENFILE):
        return OstreamError(reason(error), advice="raise the limit with 'ulimit -n'")
    return None


def _left_to_reader(diagnostics: Diagnostics, stdout: Output, error: OstreamError) -> bool:
    """Let the filter that reads stdout print the message of `error`. Return False if the filter can't do this.

    Writes an error line with the message. If the filter ends before it has read the line, prints the message here.
    """
    try:
        import fcntl  # noqa: F401

        from ostream.system import pipe_reader
    except (ImportError, MemoryError, OSError):  # pragma: no cover - saving coverage data needs a descriptor, too
        return False  # importing needs memory and a free descriptor, and the error may be that none is left

    pipe_reader.wait_started()
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
