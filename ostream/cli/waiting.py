"""Show a line on stderr until the server answers: `waiting for qwen3 (12 s)`."""

from __future__ import annotations

import os
import threading
import time

from ostream.system.pipe_reader import is_read_by_filter
from ostream.system.terminal import one_line

# Seconds before the line appears. After that, it is updated every second.
DELAY_S = 2.0


class WaitingLine:
    """A line that is shown from DELAY_S seconds after its creation until `stop` is called.

    It is shown only if a person can see it and no other program uses the screen: stderr is a terminal that can erase a
    line, this process is in the foreground of that terminal, and stdout is a terminal or a pipe that one of our filters
    reads. (Another reader, such as less, might draw on the terminal.)
    """

    def __init__(self, model: object) -> None:
        self._model = one_line(str(model), 60)
        self._start = time.monotonic()
        self._stopped = threading.Event()
        self._writing = threading.Lock()
        self._is_shown = False
        if os.environ.get("TERM", "dumb") != "dumb":
            try:
                threading.Thread(target=self._run, daemon=True).start()
            except RuntimeError:
                pass  # no thread can be started: send works, but shows no line

    def _run(self) -> None:
        pause = DELAY_S
        while not self._stopped.wait(pause):
            pause = 1.0
            with self._writing:
                if not self._stopped.is_set() and _can_be_shown():
                    self._is_shown = True
                    seconds = round(time.monotonic() - self._start)
                    _write(f"\r\x1b[Kwaiting for {self._model} ({seconds} s)")

    def erase(self) -> None:
        """Erase the line before other output is written. The line appears again within a second."""
        with self._writing:
            if self._is_shown:
                self._is_shown = False
                _write("\r\x1b[K")

    def stop(self) -> None:
        """Erase the line and do not show it again."""
        self._stopped.set()
        self.erase()


def _can_be_shown() -> bool:
    try:
        return os.tcgetpgrp(2) == os.getpgrp() and (os.isatty(1) or is_read_by_filter())
    except OSError:
        return False  # stderr is not the controlling terminal


def _write(text: str) -> None:
    try:
        os.write(2, text.encode())
    except OSError:
        pass  # the terminal was closed
