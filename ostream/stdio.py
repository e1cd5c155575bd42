"""The rim of a command: blocks in, bytes out, messages on stderr, and how a process ends.

- One read, one write: a read gives what is there now, and what came of it is written at once. There is no buffer of
  ours between, so nothing needs flushing and nothing is lost when a signal comes.
- Everything goes through descriptors; sys.stdout may be closed, text, or somebody else's.
"""

from __future__ import annotations

import errno
import os
import signal
import stat

from ostream import wait
from ostream.errors import BUG, OK, InputError, OstreamError, OutputError, RequestError, reason
from ostream.ndjson import encode_line
from ostream.terminal import escaped, one_line, visible
from ostream.wait import ReaderGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, NoReturn

    from ostream.page import Parts

# 1 MiB reads gain nothing, and a pipe holds 64 KiB.
BLOCK = 32 << 10


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


def open_input(name: str) -> int:
    """A descriptor to read `name` from; "-" is standard input."""
    if name == "-":
        return 0
    try:
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: {reason(error)}") from None


def read_input(name: str) -> bytes:
    """The whole of a file, or of standard input."""
    fd = open_input(name)
    try:
        return b"".join(read_blocks(fd, input_name(name), wait.watchable(1)))
    finally:
        if fd:
            os.close(fd)


def input_name(name: str) -> str:
    return "standard input" if name == "-" else name


class Output:
    """A descriptor to write to. On a terminal, and only there, what could steer it is made visible."""

    def __init__(self, fd: int, name: str, raw_terminal: bool = False) -> None:
        self.fd = fd
        self.name = name
        terminal = os.isatty(fd)
        self.shown = terminal and not raw_terminal
        # https://no-color.org; a dumb terminal has no escape sequences.
        self.styled = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"

    def text(self, *fragments: str) -> None:
        """Fragments as one write."""
        if self.shown:
            fragments = tuple(map(visible, fragments))
        try:
            self.bytes("".join(fragments).encode())
        except UnicodeEncodeError:
            # One by one, or half a character would meet its other half by the chance of how the reads fell.
            self.bytes(b"".join(map(_encode, fragments)))

    def parts(self, parts: Parts) -> None:
        """Text of which some is said in passing: dim, where that can be shown."""
        if self.styled:
            # Switched on and off in one write, so that no signal leaves the terminal dim.
            self.bytes(b"".join(self._dim(text) if aside else self._shown(text) for text, aside in parts))
        else:
            self.text(*[text for text, _ in parts])

    def _dim(self, text: str) -> bytes:
        return b"\x1b[2m%b\x1b[22m" % self._shown(text)

    def _shown(self, text: str) -> bytes:
        return _encode(visible(text) if self.shown else text)

    def lines(self, lines: bytes) -> None:
        """Whole lines of NDJSON."""
        if self.shown:
            lines = escaped(lines.decode("utf-8", "replace")).encode()
        self.bytes(lines)

    def bytes(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.fd, view) :]
            except BlockingIOError:
                wait.wait(self.fd, wait.WRITABLE)
            except OSError as error:
                if error.errno == errno.EPIPE and os.path.sameopenfile(self.fd, 1):
                    raise ReaderGone from None
                raise OutputError(f"{self.name}: {reason(error)}") from None

    def width(self) -> int:
        """Columns: the terminal's, else those of COLUMNS, else 80."""
        try:
            return os.get_terminal_size(self.fd).columns or 80
        except OSError:
            columns = os.environ.get("COLUMNS", "")
            return (int(columns) if columns.isdecimal() and len(columns) < 5 else 0) or 80

    def check(self) -> None:
        """Ask the file system whether what was written is there: some say so only at a close."""
        try:
            os.close(os.dup(self.fd))
        except OSError as error:
            raise OutputError(f"{self.name}: {reason(error)}") from None

    def close(self) -> None:
        self.check()
        os.close(self.fd)


def _encode(text: str) -> bytes:
    """UTF-8, with U+FFFD for a lone surrogate."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def open_output(name: str, inputs: list[str], raw_terminal: bool = False) -> Output:
    """FILE of `-w FILE`, emptied; a name of an open descriptor means that descriptor, never a second opening.

    Raises RequestError when FILE is also one of the inputs, OutputError when it can't be opened.
    """
    if name == "-":
        raise RequestError("-w -: two things would go to standard output; say /dev/stdout if that is meant")
    try:
        given = _descriptor(name)
        # Not O_TRUNC: first see that it is not an input.
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(name, flags, 0o666) if given is None else os.dup(given)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            if _is_input(fd, inputs):
                raise RequestError(f"{name}: is also an input; write to another file")
            if given is None:
                os.ftruncate(fd, 0)
        return Output(fd, name, raw_terminal)
    except OstreamError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(f"{name}: {reason(error)}") from None


def _descriptor(name: str) -> int | None:
    standard = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
    if name in standard:
        return standard[name]
    folder, _, number = name.rpartition("/")
    if folder not in ("/dev/fd", "/proc/self/fd") or not number.isdecimal():
        return None
    return min(int(number), 0x7FFFFFFF)  # a C int; none so high is open


def _is_input(fd: int, inputs: list[str]) -> bool:
    ours = os.fstat(fd)
    for name in inputs:
        try:
            theirs = os.fstat(0) if name == "-" else os.stat(name)
        except OSError:
            continue  # an input that isn't there is reported when its turn comes
        if os.path.samestat(ours, theirs):
            return True
    return False


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
            os.write(2, _encode(f"{begin}{self.command}: {one_line(text)}\n"))
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
