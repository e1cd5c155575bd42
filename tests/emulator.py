"""A terminal to look at: what reached it besides text, and whether it is still as it was."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import threading
import tty
import unicodedata
from pathlib import Path
from typing import Any, Callable, Iterator
from unittest import mock

import pyte

from ostream.__main__ import main
from ostream.system import input
from tests.process import environment

# What a program may do to a terminal that shows its text.
TEXT = {"draw", "linefeed", "tab"}
EARLIER = "what stood there before\r\n"


class _Events:
    """Passes on to the screen what the stream of bytes means, and keeps the name of it."""

    def __init__(self, screen: pyte.Screen) -> None:
        self._screen = screen
        self.seen: set[str] = set()
        self.drawn: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        method = getattr(self._screen, name)

        def event(*arguments: Any, **options: Any) -> None:
            self.seen.add(f"{name} {arguments[0]}" if name == "select_graphic_rendition" else name)
            if name == "draw":
                self.drawn += arguments
            method(*arguments, **options)

        return event


class Emulator:
    """A tall terminal with a title, a coloured pen and a line of text, so that nothing of it scrolls away unseen."""

    def __init__(self) -> None:
        self._screen = pyte.Screen(80, 2000)
        self._events = _Events(self._screen)
        self._stream = pyte.ByteStream(self._events)
        self._stream.feed(b"\x1b]2;mine\x07\x1b]1;icon\x07\x1b[31;44m" + EARLIER.encode())
        self._events.seen.clear()
        self._events.drawn.clear()
        self._before = self._state()

    def _state(self) -> dict[str, Any]:
        screen = self._screen
        names = ("title", "icon_name", "mode", "margins", "charset", "g0_charset", "g1_charset", "tabstops", "columns")
        state = {name: repr(getattr(screen, name)) for name in (*names, "savepoints", "lines")}
        pen = screen.cursor.attrs._replace(data="")
        first = "".join(screen.buffer[0][column].data for column in range(screen.columns))
        # A mark that combines belongs to the cell before it, wherever that is.
        first = "".join(character for character in first if not unicodedata.combining(character))
        return {**state, "pen": pen, "hidden": screen.cursor.hidden, "earlier": first.rstrip()}

    def shows(self, data: bytes, cuts: list[int] | None = None) -> str:
        """The characters that were drawn when this came, in reads cut there; the terminal must still be as it was."""
        row = self._screen.cursor.y
        places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or [])})
        for begin, end in zip(places, places[1:]):
            self._stream.feed(data[begin:end])
            assert self._screen.cursor.y >= row
            row = self._screen.cursor.y
        assert self._state() == self._before
        # It is not in the middle of a sequence: what comes next is text again.
        self._stream.feed(b"next")
        assert "".join(self._events.drawn).endswith("next")
        return "".join(self._events.drawn)[: -len("next")]

    def only_text(self, *more: str) -> bool:
        """Was nothing but text shown? `more` are other events that are ours."""
        return self._events.seen <= {*TEXT, *more}


# The dim text of render, and its sign of life.
STYLE = ("select_graphic_rendition 2", "select_graphic_rendition 22", "backspace")


@contextlib.contextmanager
def _descriptors(stdin: bytes, tmp: Path, shown: list[bytes]) -> Iterator[None]:
    """stdin is a file, stdout and stderr are one terminal; all that comes to it is in `shown` at the end."""
    screen, slave = pty.openpty()
    tty.setraw(slave)
    (tmp / "stdin").write_bytes(stdin)

    def read() -> None:
        with contextlib.suppress(OSError):  # EIO, when the last writer has closed it
            shown.extend(iter(lambda: os.read(screen, 1 << 16), b""))

    saved = [os.dup(fd) for fd in range(3)]
    reader = threading.Thread(target=read)
    try:
        with (tmp / "stdin").open("rb") as file:
            for fd, new in enumerate((file.fileno(), slave, slave)):
                os.dup2(new, fd)
        os.close(slave)
        reader.start()
        yield
    finally:
        for fd, old in enumerate(saved):
            os.dup2(old, fd)
            os.close(old)
        reader.join()
        os.close(screen)


def on_terminal(
    tmp: Path, command: str, *arguments: str, stdin: bytes = b"", block: int = 1 << 15, **env: str
) -> tuple[int, bytes]:
    """The status of a command, run inside this process, and what it shows on the terminal that is its stdout and its
    stderr. `block`: how much of its input it gets in one read."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    shown: list[bytes] = []
    changes = environment(**{"TERM": "xterm", **env})
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, changes, clear=True))
            stack.enter_context(mock.patch.object(input, "BLOCK", block))
            stack.enter_context(_descriptors(stdin, tmp, shown))
            status = main([command, *arguments])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return status, b"".join(shown)
