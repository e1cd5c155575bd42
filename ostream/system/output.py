"""Write text and NDJSON to a descriptor. On a terminal, control characters are made visible.

sys.stdout is not used: it may be closed, and a program that imports this package may have replaced it.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from ostream.errors import OstreamError, OutputError, RequestError, reason
from ostream.system import polling
from ostream.system.input import NOTE_S, input_name, is_fifo_name
from ostream.system.polling import ReaderGone
from ostream.system.terminal import escaped, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Tuple

    # A span is a text and a bool: True if a terminal should show the text dimmed.
    Spans = List[Tuple[str, bool]]

# Seconds between two attempts to open a FIFO that no program reads. poll() can't wait for the reader of a FIFO.
_FIFO_RETRY_S = 0.05


class Output:
    """Write to an open descriptor. If it is a terminal, replace control characters with visible ones.

    Arguments:
        fd: the descriptor.
        name: the name of the output for errors.
        raw_terminal: True to write control characters to a terminal unchanged.

    All methods that write raise OutputError if a write fails, or ReaderGone if `fd` is stdout and its reader has closed
    the pipe.
    """

    def __init__(self, fd: int, name: str, raw_terminal: bool = False) -> None:
        self.fd = fd
        self.name = name
        terminal = os.isatty(fd)
        self.shown = terminal and not raw_terminal
        # True if text may be dimmed. NO_COLOR is defined at https://no-color.org; TERM=dumb has no escape sequences.
        self.styled = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
        self.mid_line = False  # the last text had no line end, so a message would appear on the same line
        self._tracks_lines = (terminal and os.isatty(2)) or _is_same(fd, 2)

    def write_text(self, *fragments: str) -> None:
        """Write the fragments of a text together, with one call to os.write if possible."""
        if self._tracks_lines:
            self._wrote("".join(fragments))
        if self.shown:
            fragments = tuple(map(visible, fragments))
        try:
            self.write_bytes("".join(fragments).encode())
        except UnicodeEncodeError:
            # Encode each fragment separately. Otherwise two lone surrogates from different chunks would form one
            # character if both chunks happened to be read together.
            self.write_bytes(b"".join(map(encode_text, fragments)))

    def write_spans(self, spans: Spans) -> None:
        """Write spans of text. Spans marked as dim are dimmed if the terminal supports it."""
        if self.styled:
            if self._tracks_lines:
                self._wrote("".join(text for text, _ in spans))
            # Switch dim on and off in one write. A signal between two writes could leave the terminal dim.
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
        """Write complete lines of NDJSON. On a terminal, control characters are written as \\uXXXX."""
        if self.shown:
            lines = escaped(lines.decode("utf-8", "replace")).encode()
        self.write_bytes(lines)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes unchanged, and wait while a non-blocking descriptor is not ready."""
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
        """Return the width in columns: that of the terminal, else the value of $COLUMNS, else 80."""
        try:
            return os.get_terminal_size(self.fd).columns or 80
        except OSError:
            columns = os.environ.get("COLUMNS", "")
            return (int(columns) if columns.isdecimal() and len(columns) < 5 else 0) or 80

    def check(self) -> None:
        """Raise OutputError if an earlier write failed. Some file systems report this only on close()."""
        try:
            os.close(os.dup(self.fd))
        except OSError as error:
            raise OutputError(f"{self.name}: {reason(error)}") from None

    def close(self) -> None:
        """Call `check`, then close the descriptor."""
        self.check()
        os.close(self.fd)


def _is_same(fd: int, other: int) -> bool:
    """True if both descriptors are open and refer to the same file, pipe or terminal."""
    try:
        return os.path.sameopenfile(fd, other)
    except OSError:
        return False


def encode_text(text: str) -> bytes:
    """Encode text as UTF-8. Replace each lone surrogate with U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def open_output(
    name: str,
    inputs: list[str],
    raw_terminal: bool = False,
    append: bool = False,
    note: Callable[[str], object] | None = None,
    reader_fd: int | None = None,
) -> Output:
    """Open the FILE of `-w FILE` and return its Output.

    A name such as /dev/fd/3 refers to an open descriptor. That descriptor is duplicated, and its file is not truncated.

    Arguments:
        name: the name of the file.
        inputs: the names of the files that the command reads; "-" is standard input.
        raw_terminal: passed to Output.
        append: True to append to the file instead of truncating it.
        note: called with a message if the file is a FIFO and no program has opened it for reading after a second.
        reader_fd: an output to watch during this wait (default: none).

    Raises RequestError if the file is also one of the inputs or standard output. Raises OutputError if it can't be
    opened, and ReaderGone.
    """
    if name == "-":
        raise RequestError(
            "-w -: text and NDJSON would be mixed on standard output",
            advice="use -w /dev/stdout to mix them on purpose",
        )
    try:
        given = given_descriptor(name)
        # Do not use O_TRUNC: the file may be one of the inputs.
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if append else 0)
        if given is not None:
            fd = os.dup(given)
        elif is_fifo_name(name):
            fd = _open_fifo(name, flags, note, reader_fd)
        else:
            fd = os.open(name, flags, 0o666)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            if is_input(fd, inputs):
                raise RequestError(f"{name}: is also an input", advice="write to another file")
            if given is None and os.path.samestat(os.fstat(fd), os.fstat(1)):
                raise RequestError(
                    f"{name}: is also standard output", advice="write to another file, or use -w /dev/stdout"
                )
            if given is None and not append:
                os.ftruncate(fd, 0)
        return Output(fd, name, raw_terminal)
    except OstreamError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(f"{name}: {reason(error)}") from None


def _open_fifo(name: str, flags: int, note: Callable[[str], object] | None, reader_fd: int | None) -> int:
    """Open a FIFO as soon as another program has opened it for reading. See `open_output` for the arguments."""
    note_at = time.monotonic() + NOTE_S
    while True:
        try:
            fd = os.open(name, flags | os.O_NONBLOCK)
            os.set_blocking(fd, True)
            return fd
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        if note and time.monotonic() > note_at:
            note(f"{name}: waiting for another program to read this FIFO")
            note = None
        next_try = time.monotonic() + _FIFO_RETRY_S
        polling.wait_ready(None, 0, reader_fd, lambda: next_try - time.monotonic())  # noqa: B023


def refuse_input_as_stdout(inputs: list[str]) -> None:
    """Raise RequestError if standard output is one of the input files. The command would read its own output."""
    if stat.S_ISREG(os.fstat(1).st_mode):
        name = find_input(1, inputs)
        if name is not None:
            raise RequestError(f"{input_name(name)}: is also standard output", advice="write to another file")


def given_descriptor(name: str) -> int | None:
    """Return the descriptor that a name such as /dev/fd/3 or /dev/stdout refers to, or None for any other name."""
    standard = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
    if name in standard:
        return standard[name]
    folder, _, number = name.rpartition("/")
    if folder not in ("/dev/fd", "/proc/self/fd") or not number.isdecimal():
        return None
    return min(int(number), 0x7FFFFFFF)  # os.dup() takes a C int, and no descriptor number is that large


def is_input(fd: int, inputs: list[str]) -> bool:
    """True if the open descriptor `fd` and one of the inputs are the same file."""
    return find_input(fd, inputs) is not None


def find_input(fd: int, inputs: list[str]) -> str | None:
    """Return the name of the first input that is the same file as the open descriptor `fd`, or None."""
    file = os.fstat(fd)
    for name in inputs:
        try:
            if os.path.samestat(file, os.fstat(0) if name == "-" else os.stat(name)):
                return name
        except OSError:
            pass  # a missing input is reported later, when the command opens it
    return None
