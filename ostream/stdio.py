"""The rim of a command: blocks in, bytes out, messages on stderr, and how a process ends.

- One read, one write: a read gives what is there now, and what came of it is written at once. There is no buffer of
  ours between, so nothing needs flushing and nothing is lost when a signal comes.
"""

from __future__ import annotations

import os
import stat
import sys

from ostream import wait
from ostream.errors import BUG, OK, InputError, OstreamError, OutputError, reason
from ostream.ndjson import encode_line
from ostream.output import Output, encode_text
from ostream.terminal import one_line
from ostream.wait import ReaderGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Callable, Iterator, NoReturn
else:
    import _signal as signal  # the same without its enums, which take a twentieth of a filter's start


# What one block decodes to is twenty times its size: larger ones fall out of the processor's caches.
BLOCK = 16 << 10


def read_blocks(fd: int, name: str, watch: int | None = None) -> Iterator[bytes]:
    """What is there, as it comes, to the end of the input; meanwhile `watch` is watched."""
    while True:
        if watch is not None:
            wait.wait(fd, wait.READABLE, watch)
        try:
            block = os.read(fd, BLOCK)
        except BlockingIOError:
            wait.wait(fd, wait.READABLE, watch)
            continue
        except OSError as error:
            raise InputError(f"{name}: {reason(error)}") from None
        if not block:
            return
        yield block


def open_input(name: str, watch: int | None = None) -> int:
    """A descriptor to read `name` from; "-" is standard input. Who opens a FIFO waits for its writer, and meanwhile
    `watch` is watched."""
    if name == "-":
        return 0
    try:
        # Elsewhere a poll takes a FIFO that had no writer yet for one that has none any more.
        is_fifo = sys.platform == "linux" and stat.S_ISFIFO(os.stat(name).st_mode)
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if is_fifo else 0))
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: {reason(error)}") from None
    if is_fifo:
        wait.wait(fd, wait.READABLE, watch)
        os.set_blocking(fd, True)
    return fd


def read_input(name: str) -> bytes:
    """The whole of a file, or of standard input."""
    watch = wait.watchable(1)
    fd = open_input(name, watch)
    try:
        return b"".join(read_blocks(fd, input_name(name), watch))
    finally:
        if fd:
            os.close(fd)


def input_name(name: str) -> str:
    return "standard input" if name == "-" else name


class Messages:
    """One line on stderr each: `command: object: reason; what to do`."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.quiet = False
        self.verbose = False
        self.mid_line = False  # text of ours may stand on the terminal, its line not ended

    def error(self, error: OstreamError) -> None:
        self.say(f"{error}; {error.advice}" if error.advice else str(error))

    def note(self, text: str) -> None:
        if not self.quiet:
            self.say(text)

    def trace(self, text: str) -> None:
        if self.verbose:
            self.say(text)

    def say(self, text: str) -> None:
        begin = "\n" if self.mid_line and os.isatty(2) else ""
        self.mid_line = False
        try:
            os.write(2, encode_text(f"{begin}{self.command}: {one_line(text)}\n"))
        except OSError:
            pass  # there is nobody left to tell


def prepare() -> bool:
    """Make the process fit to run a command. False when stdout was closed.

    Closed descriptors 0 to 2 are filled, or the next file or socket would land there; the wrong way round, so that
    using one still fails. Signals end the process by themselves: nothing is buffered, so there is nothing to tidy up.
    An ignored signal (nohup, &) stays ignored.
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
            # The kernel does not let a default action end process 1.
            signal.signal(number, die if os.getpid() == 1 else signal.SIG_DFL)
    # Whoever started us may ignore this one; then nobody could tell how a command or a tool of ours has ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return stdout_open


def die(number: int, _frame: object = None) -> NoReturn:
    """End by this signal, so that a parent sees what a C program would show."""
    if number != signal.SIGKILL:  # which cannot be set
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # process 1, or the signal is blocked


class Done(Exception):
    """--help or --version has been answered; there is nothing else to do."""


def guard(messages: Messages, run: Callable[[], int], errors_on_stdout: bool = False) -> int:
    """Run a command: the one place where an error becomes a message, an error line and an exit status.

    `errors_on_stdout`: the command's stdout is NDJSON and its failures belong there too, so that the last filter of
    the pipe can exit with them.
    """
    stdout_open = prepare()
    stdout = Output(1, "standard output")

    def failed(error: OstreamError) -> int:
        messages.error(error)
        if errors_on_stdout and not isinstance(error, OutputError):
            stdout.lines(encode_line(error.error_line()))
        return error.exit_status

    try:
        try:
            try:
                if not stdout_open:
                    raise OutputError("standard output: closed")
                status = run()
            except Done:
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
                messages.say(line)
            failed(OstreamError(f"a bug in this program: {type(error).__name__}: {error}", advice="please report it"))
            return BUG
    except ReaderGone:
        die(signal.SIGPIPE)
    except OutputError as error:
        return failed(error)
