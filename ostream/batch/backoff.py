"""Decide when a request may be sent to a server that may be busy or unreachable.

- Busy (HTTP 429 or 503): fewer requests run at a time: each rejection halves their number, and each success adds one.
  All requests wait as long as the server asks (Retry-After). If no request is running, they also wait for a pause that
  grows with each rejection.
- Unreachable (connection refused or lost, HTTP 502, 504, or 520 and above), after the first success: all requests wait
  until the server answers a probe. The pauses between probes grow to 30 s.

The number of tries is not limited. The run gives up after `patience` seconds without a success, unless a request that
may succeed is still running.
"""

from __future__ import annotations

import threading
import time

from ostream.errors import OstreamError
from ostream.net.retry import backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

# Longest sleep of a waiting thread, in seconds, before it checks again whether the run has stopped.
PAUSE_S = 0.25
# Seconds between two reports of the same wait.
REPORT_S = 30.0
BUSY, UNREACHABLE = "busy", "unreachable"


class SharedBackoff:
    """Decides when a request may be sent. All threads of a run share it.

    Arguments:
        jobs: how many requests may run at a time.
        patience: how many seconds the server may be busy or unreachable before the run gives up.
        probe: returns True if the server answers.

    `failure` is set when the run must give up.
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
        self._since = 0.0  # when the server became busy or unreachable
        self._error: OstreamError | None = None  # the latest failure
        self._not_before = 0.0
        self._pauses = 0
        self._probing = False
        self._reported = 0.0

    def enter(self) -> bool:
        """Wait until a request may be sent, then return True. Return False if the run has stopped.

        After True, `leave` must be called when the request has ended.
        """
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
        """Record that a request has ended, successfully or not."""
        with self._condition:
            self._running -= 1
            self._condition.notify()

    def succeeded(self) -> None:
        """Record that the server has answered a request."""
        with self._condition:
            self.had_success = True
            self.successes += 1
            self._state = ""
            self._pauses = 0
            self.limit = min(self.limit + 1, self._jobs)
            self._condition.notify_all()

    def busy(self, error: OstreamError, asked_s: float) -> None:
        """Record that the server rejected a request as busy. `asked_s` is its Retry-After in seconds (0: none)."""
        with self._condition:
            self._enter_state(BUSY, error)
            self.limit = max(1, self.limit // 2)
            # `_running` counts the rejected request, too. If others are running, the next one is sent when they end.
            if asked_s or self._running <= 1:
                self._pause(asked_s)
            if asked_s > self._patience:
                self._give_up(f"the server asked for a wait of {asked_s:,.0f} s, until {_until(asked_s)}")

    def unreachable(self, error: OstreamError) -> None:
        """Record that the server could not be reached."""
        with self._condition:
            if self._state != UNREACHABLE:
                self._enter_state(UNREACHABLE, error)
                self._pause(0)

    def pause(self, seconds: float) -> None:
        """Send no request for the next `seconds` seconds."""
        with self._condition:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    @property
    def running(self) -> int:
        """The number of requests that were sent and have not ended."""
        return self._running

    def stop(self) -> None:
        """Admit no more requests. Takes no lock, so a signal handler may call it."""
        self.stopped = True

    def report(self) -> str:
        """Return a message that requests are waiting for the server, or "" if there is nothing to report now.

        The wait is reported when it begins and then every 30 s. If the patience has run out, this call makes the run
        give up.
        """
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
            self._reported = 0.0  # report this at once; not if busy, a state that changes often
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


def _until(seconds: float) -> str:
    """Return the local time in `seconds` seconds, with its date unless it is within a day."""
    form = "%H:%M:%S" if seconds < 24 * 3600 else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(time.time() + seconds))
