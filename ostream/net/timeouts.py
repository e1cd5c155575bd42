"""The four timeouts of a request.

- *connect*: name lookup, connecting to any of the addresses, proxy and TLS handshake.
- *first-byte*: from the connection to the first byte of the body. Loading a model can take minutes.
- *idle*: the longest gap between bytes after the first byte.
- *max-time*: the complete request, including its retries.

Only one of the first three runs at a time; max-time always runs. The timeout of a Python socket can't replace them,
because every byte restarts it.
"""

from __future__ import annotations

import math
import time

from ostream.errors import StreamTimeout
from ostream.system.polling import wait_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.system.polling import Reader

# Seconds to wait for the body of an error response. The wait is short, because the status alone is enough.
ERROR_BODY_S = 5.0

# Seconds to wait for the end of the response after `"done":true`. The wait is short, because the answer is complete.
LINGER_S = 1.0

# The progress of the request that a message reports, by the name of the timeout that was running.
_PROGRESS = {
    "connect": "not connected yet",
    "first-byte": "connected, but no response yet",
    "idle": "{:,} bytes of the response received",
    "retry": "waiting to retry",
    "decode": "decoding the response",
    "error-body": "only the response status was received",
    "linger": "the response did not end after the answer",
}


class Timeouts:
    """The timeouts of one request, including its retries. All limits are in seconds; None means no limit."""

    def __init__(
        self,
        connect: float | None = None,
        first_byte: float | None = None,
        idle: float | None = None,
        max_time: float | None = None,
    ) -> None:
        limits = {"connect": connect, "first-byte": first_byte, "idle": idle, "max-time": max_time}
        self._limits = {name: None if limit is None else _seconds(limit) for name, limit in limits.items()}
        self._limits.update({"retry": None, "decode": None, "error-body": ERROR_BODY_S, "linger": LINGER_S})
        total = self._limits["max-time"]
        self._end = None if total is None else time.monotonic() + total
        self.received = 0  # bytes of the body that have arrived
        self.sent_ns = 0  # time.monotonic_ns() when the request was sent
        self.start("connect")

    def start(self, name: str) -> None:
        """Stop the running timeout and start the one with this name."""
        self.running = name
        limit = self._limits[name]
        self._deadline = None if limit is None else time.monotonic() + limit
        if name == "first-byte":
            self.sent_ns = time.monotonic_ns()

    def elapsed_ns(self) -> int:
        """Return the nanoseconds since the request was sent."""
        return time.monotonic_ns() - self.sent_ns

    def pause(self, seconds: float, reader: Reader | None = None) -> None:
        """Sleep for `seconds` before a retry.

        Raises StreamTimeout if max-time ends first, and ReaderGone if `reader` ends the wait (see `polling.Waiter`).
        """
        self.start("retry")
        end = time.monotonic() + seconds

        def left_s() -> float:
            left = self.left()
            pause = end - time.monotonic()
            return pause if left is None else min(left, pause)

        wait_ready(None, 0, reader, left_s)

    def left(self) -> float | None:
        """Return the seconds until the next timeout, or None if there is no limit.

        Raises StreamTimeout if a timeout has expired.
        """
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
        """Do what `left` does, for max-time only."""
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
        # A retry is safe: no part of the answer has arrived, and the server stops work when its client disconnects.
        error.retryable = name in ("connect", "first-byte")
        return error


def _seconds(limit: float) -> float:
    try:
        return float(limit)
    except OverflowError:  # an int beyond the range of float
        return math.inf
