"""The four timeouts of a request.

One of three runs at a time: *connect* (name lookup, all addresses, TCP, proxy and TLS handshake), *first-byte* (from
connected to the first byte of the body; loading a model can take minutes) and *idle* (the longest gap between bytes
after that). *max-time* runs over everything, retries included. The socket's own timeout could be none of these, because
every byte restarts it.
"""

from __future__ import annotations

import math
import time

from ostream.errors import StreamTimeout
from ostream.system.polling import wait_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.system.polling import Reader

# The status of an error response is enough; wait only so many seconds for its text.
ERROR_BODY_S = 5.0

# How far the request had got, by the timeout that was running.
_PROGRESS = {
    "connect": "not connected yet",
    "first-byte": "connected, but no response yet",
    "idle": "{:,} bytes of the response received",
    "retry": "waiting to retry",
    "decode": "decoding the response",
    "error-body": "only the status of the response received",
}


class Timeouts:
    """The timeouts of one request, retries included. Limits are seconds; None means no limit."""

    def __init__(
        self,
        connect: float | None = None,
        first_byte: float | None = None,
        idle: float | None = None,
        max_time: float | None = None,
    ) -> None:
        limits = {"connect": connect, "first-byte": first_byte, "idle": idle, "max-time": max_time}
        self._limits = {name: None if limit is None else _seconds(limit) for name, limit in limits.items()}
        self._limits.update({"retry": None, "decode": None, "error-body": ERROR_BODY_S})
        total = self._limits["max-time"]
        self._end = None if total is None else time.monotonic() + total
        self.received = 0  # bytes of the body
        self.sent_ns = 0  # when the request was sent, by the monotonic clock
        self.start("connect")

    def start(self, name: str) -> None:
        """Start this timeout and stop the one that is running."""
        self.running = name
        limit = self._limits[name]
        self._deadline = None if limit is None else time.monotonic() + limit
        if name == "first-byte":
            self.sent_ns = time.monotonic_ns()

    def elapsed_ns(self) -> int:
        """Nanoseconds since the request was sent."""
        return time.monotonic_ns() - self.sent_ns

    def expire_in(self, seconds: float) -> None:
        """Shorten max-time so that it ends in `seconds`: the answer is complete, the rest must arrive soon."""
        end = time.monotonic() + seconds
        if self._end is None or end < self._end:
            self._end, self._limits["max-time"] = end, seconds

    def pause(self, seconds: float, reader: Reader | None = None) -> None:
        """Sleep for `seconds`. Raises StreamTimeout when max-time ends first, ReaderGone when `reader` leaves."""
        self.start("retry")
        end = time.monotonic() + seconds

        def left_s() -> float:
            left = self.left()
            pause = end - time.monotonic()
            return pause if left is None else min(left, pause)

        wait_ready(None, 0, reader, left_s)

    def left(self) -> float | None:
        """Return the seconds until the next timeout, None if there is none. Raises StreamTimeout if one has expired."""
        if self._deadline is None:
            return self.total_left()
        left = self._deadline - time.monotonic()
        total_left = self.total_left()
        if total_left is not None and total_left < left:
            return total_left
        if left > 0:
            return left
        raise self._expired(self.running)

    def total_left(self) -> float | None:
        """As `left`, but for max-time alone."""
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left > 0:
            return left
        raise self._expired("max-time")

    def _expired(self, name: str) -> StreamTimeout:
        progress = _PROGRESS[self.running].format(self.received)
        error = StreamTimeout(
            f"{name} timeout after {self._limits[name]:g} s: {progress}",
            name,
            advice=f"allow more with --{name if name == 'max-time' else name + '-timeout'}",
        )
        # Nothing of the answer has arrived, and a server stops working for a client that has left.
        error.retryable = name in ("connect", "first-byte")
        return error


def _seconds(limit: float) -> float:
    try:
        return float(limit)
    except OverflowError:  # an int beyond the range of float
        return math.inf
