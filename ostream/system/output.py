"""Where a command writes: a descriptor, made safe to look at if it is a terminal.

Everything goes through descriptors; sys.stdout may be closed, text, or somebody else's.
"""

from __future__ import annotations

import errno
import os
import stat

from ostream.errors import OstreamError, OutputError, RequestError, reason
from ostream.system import polling
from ostream.system.polling import ReaderGone
from ostream.system.terminal import escaped, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Tuple

    # Text and whether it is dimmed on a terminal that supports it.
    Spans = List[Tuple[str, bool]]


class Output:
    """A descriptor to write to. On a terminal, and only there, what could steer it is made visible."""

    def __init__(self, fd: int, name: str, raw_terminal: bool = False) -> None:
        self.fd = fd
        self.name = name
        terminal = os.isatty(fd)
        self.shown = terminal and not raw_terminal
        # https://no-color.org; a dumb terminal has no escape sequences.
        self.styled = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
        self._terminal = terminal
        self.mid_line = False  # text stands on the terminal, its line not ended

    def write_text(self, *fragments: str) -> None:
        """Fragments as one write."""
        if self._terminal:
            self._wrote("".join(fragments))
        if self.shown:
            fragments = tuple(map(visible, fragments))
        try:
            self.write_bytes("".join(fragments).encode())
        except UnicodeEncodeError:
            # One by one, or half a character would meet its other half by the chance of how the reads fell.
            self.write_bytes(b"".join(map(encode_text, fragments)))

    def write_spans(self, spans: Spans) -> None:
        """Text of which some is said in passing: dim, where that can be shown."""
        if self.styled:
            self._wrote("".join(text for text, _ in spans))
            # Switched on and off in one write, so that no signal leaves the terminal dim.
            self.write_bytes(b"".join(self._dim(text) if dim else self._shown(text) for text, dim in spans))
        else:
            self.write_text(*[text for text, _ in spans])

    def _wrote(self, text: str) -> None:
        self.mid_line = not text.endswith("\n") if text else self.mid_line

    def _dim(self, text: str) -> bytes:
        return b"\x1b[2m%b\x1b[22m" % self._shown(text)

    def _shown(self, text: str) -> bytes:
        return encode_text(visible(text) if self.shown else text)

    def write_lines(self, lines: bytes) -> None:
        """Whole lines of NDJSON."""
        if self.shown:
            lines = escaped(lines.decode("utf-8", "replace")).encode()
        self.write_bytes(lines)

    def write_bytes(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.fd, view) :]
            except BlockingIOError:
                polling.wait_ready(self.fd, polling.WRITABLE)
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


def encode_text(text: str) -> bytes:
    """UTF-8, with U+FFFD for a lone surrogate."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def open_output(name: str, inputs: list[str], raw_terminal: bool = False, append: bool = False) -> Output:
    """FILE of `-w FILE`, emptied unless it is to be appended to. A name of an open descriptor means that descriptor,
    never a second opening.

    Raises RequestError when FILE is also one of the inputs, OutputError when it can't be opened.
    """
    if name == "-":
        raise RequestError("-w -: two things would go to standard output; say /dev/stdout if that is meant")
    try:
        given = given_descriptor(name)
        # Not O_TRUNC: first see that it is not an input.
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if append else 0)
        fd = os.open(name, flags, 0o666) if given is None else os.dup(given)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            if is_input(fd, inputs):
                raise RequestError(f"{name}: is also an input; write to another file")
            if given is None and os.path.samestat(os.fstat(fd), os.fstat(1)):
                raise RequestError(f"{name}: is also standard output; write to another file, or say /dev/stdout")
            if given is None and not append:
                os.ftruncate(fd, 0)
        return Output(fd, name, raw_terminal)
    except OstreamError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(f"{name}: {reason(error)}") from None


def given_descriptor(name: str) -> int | None:
    """The open descriptor that this name means, if it is that kind of name."""
    standard = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
    if name in standard:
        return standard[name]
    folder, _, number = name.rpartition("/")
    if folder not in ("/dev/fd", "/proc/self/fd") or not number.isdecimal():
        return None
    return min(int(number), 0x7FFFFFFF)  # a C int; none so high is open


def is_input(fd: int, inputs: list[str]) -> bool:
    """Is this open file also one of the inputs?"""
    ours = os.fstat(fd)
    for name in inputs:
        try:
            theirs = os.fstat(0) if name == "-" else os.stat(name)
        except OSError:
            continue  # an input that isn't there is reported when its turn comes
        if os.path.samestat(ours, theirs):
            return True
    return False
