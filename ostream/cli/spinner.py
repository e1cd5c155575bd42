"""A sign of life on a terminal, until the first fragment."""

from __future__ import annotations

import threading

from ostream.errors import OutputError
from ostream.system.polling import ReaderGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.system.output import Output

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
# Who is answered at once need not see it; slower than this it would not look alive.
DELAY, PERIOD = 0.4, 0.1


class Spinner:
    """Turns until `stop`. The cursor always stands in front of it, so that whatever is written next covers it."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._turn, daemon=True)
        self._turned = False
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had: no sign of life
            self._stopped.set()

    def _turn(self) -> None:
        pause = DELAY
        while not self._stopped.wait(pause):
            for frame in _FRAMES:
                self._turned = True
                self._write(f"{frame}\b".encode())
                if self._stopped.wait(PERIOD):
                    return
            pause = 0

    def stop(self) -> None:
        """Leave no trace."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._thread.join()
            if self._turned:
                self._write(b" \b")

    def _write(self, data: bytes) -> None:
        try:
            self._output.write_bytes(data)
        except (OutputError, ReaderGone):
            self._stopped.set()  # who writes next finds it out, and says so
