"""Admission of requests to a server that may be busy or unreachable.

- Busy (429, 503): all wait as long as the server asks for, or a growing pause; then fewer requests run at a time. Each
  of these answers halves their number, each success adds one.
- Unreachable (refused, reset before an answer, 502, 504) after the first success: all wait until a probe is answered.
  The pauses between probes grow to 30 s.

Neither has a limit of tries. After `patience` seconds without a success, and without a request that may still become
one, the run gives up.
"""

from __future__ import annotations

import threading
import time

from ostream.errors import OstreamError
from ostream.net.retry import backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

# How long a thread sleeps before it looks whether the run has stopped.
PAUSE_S = 0.25
# Seconds between two reports of the same wait.
REPORT_S = 30.0
BUSY, UNREACHABLE = "busy", "unreachable"


class SharedBackoff:
    """Decides when a request may be sent; shared by all threads of a run.

    `jobs` is how many may run at a time, `probe` returns whether the server answers, `patience` is in seconds (0: give
    up at the first such failure). `failure` is set when the run must give up.
    """

    def __init__(self, jobs: int, patience: float, probe: Callable[[], bool]) -> None:
        self.stopped = False
        self.had_success = False
        self.successes = 0
        self.failure: OstreamError | None = None
        self.limit = jobs
        self._jobs = jobs
        self._patience = patience
        self._probe = probe
        self._condition = threading.Condition()
        self._running = 0
        self._state = ""
        self._since = 0.0  # of the state
        self._error: OstreamError | None = None  # the latest one
        self._not_before = 0.0
        self._pauses = 0
        self._probing = False
        self._reported = 0.0

    def enter(self) -> bool:
        """Wait until a request may be sent. Return False if the run has stopped; otherwise call `leave` afterwards."""
        while True:
            with self._condition:
                if self.stopped:
                    return False
                now = time.monotonic()
                left = self._not_before - now
                is_probe = self._state == UNREACHABLE and left <= 0 and not self._probing
                if is_probe:
                    self._probing = True
                elif left <= 0 and self._state != UNREACHABLE and self._running < self.limit:
                    self._running += 1
                    return True
                else:
                    self._condition.wait(min(max(left, 0.01), PAUSE_S))
            if is_probe:
                self._end_probe(self._probe())

    def _end_probe(self, is_answered: bool) -> None:
        with self._condition:
            self._probing = False
            if is_answered:
                self._state = ""
                self._pauses = 0
                self._condition.notify_all()
            else:
                self._pause(0)

    def leave(self) -> None:
        """Note that a request has ended, in whatever way."""
        with self._condition:
            self._running -= 1
            self._condition.notify()

    def succeeded(self) -> None:
        """Note that the server has answered a request."""
        with self._condition:
            self.had_success = True
            self.successes += 1
            self._state = ""
            self._pauses = 0
            self.limit = min(self.limit + 1, self._jobs)
            self._condition.notify_all()

    def busy(self, error: OstreamError, asked_s: float) -> None:
        """Note that the server has rejected a request as busy; `asked_s` is its Retry-After (0: none)."""
        with self._condition:
            self._enter_state(BUSY, error)
            self.limit = max(1, self.limit // 2)
            self._pause(asked_s)
            if asked_s > self._patience:
                until = time.strftime("%H:%M:%S", time.localtime(time.time() + asked_s))
                self._give_up(f"the server asks to wait for {asked_s:,.0f} s, until {until}")

    def unreachable(self, error: OstreamError) -> None:
        """Note that the server could not be reached."""
        with self._condition:
            if self._state != UNREACHABLE:
                self._enter_state(UNREACHABLE, error)
                self._pause(0)

    def pause(self, seconds: float) -> None:
        """Let all wait before the next request."""
        with self._condition:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    @property
    def running(self) -> int:
        """How many requests are with the server."""
        return self._running

    def stop(self) -> None:
        """Admit no more requests. Takes no lock, for signal handlers."""
        self.stopped = True

    def report(self) -> str:
        """Return what the user should know now: that requests wait, at once and every 30 s; or ""."""
        with self._condition:
            if not self._state:
                return ""
            now = time.monotonic()
            waited = now - self._since
            if not self._running and waited > self._patience:
                self._give_up(f"the server has been {self._state} for {waited:,.0f} s")
            if self._reported and now - self._reported < REPORT_S:
                return ""
            self._reported = now
            cause = f" ({self._error})" if waited < 1 else ""
            return f"server {self._state} for {waited:,.0f} s{cause}; waiting up to {self._patience:g} s (--patience)"

    def _enter_state(self, state: str, error: OstreamError) -> None:
        self._error = error
        if not self._state:
            self._since = time.monotonic()
        if state == UNREACHABLE:
            self._reported = 0.0  # a busy server is no news each time
        self._state = state

    def _pause(self, asked_s: float) -> None:
        self._pauses += 1
        pause = max(backoff(self._pauses), asked_s)
        self._not_before = max(self._not_before, time.monotonic() + pause)

    def _give_up(self, why: str) -> None:
        if self.failure is None and self._error:
            self.failure = OstreamError(f"{why}; the last answer was: {self._error}")
            self.failure.exit_status = self._error.exit_status
            self.stopped = True
