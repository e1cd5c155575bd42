"""The four timeouts of a request.

One of three runs at a time: *connect* (name lookup, every address, TCP, proxy, TLS), *first-byte* (from connected to
the first byte of the body: a model may take minutes to load) and *idle* (the longest silence after it). *max-time*
runs over all of it, retries included. A timeout of the socket itself could be none of these: every byte restarts it.
"""

from __future__ import annotations

import time

from ostream.errors import StreamTimeout
from ostream.system.polling import wait_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.system.polling import Reader

# The status of an error answer says enough; its text must come within this many seconds.
REFUSAL_S = 5.0


class Timeouts:
    """The four timeouts of one request, retries included. A limit of None never runs out."""

    def __init__(
        self,
        connect: float | None = None,
        first_byte: float | None = None,
        idle: float | None = None,
        max_time: float | None = None,
    ) -> None:
        self._limits = {"connect": connect, "first-byte": first_byte, "idle": idle, "max-time": max_time}
        self._limits.update({"pause": None, "refusal": REFUSAL_S})
        self._end = None if max_time is None else time.monotonic() + max_time
        self.received = 0  # bytes of the body
        self.sent_ns = 0  # when the request was sent, by the monotonic clock
        self.start("connect")

    def start(self, clock: str) -> None:
        """Stop the clock that runs, and start this one anew."""
        self.clock = clock
        limit = self._limits[clock]
        self._deadline = None if limit is None else time.monotonic() + limit
        if clock == "first-byte":
            self.sent_ns = time.monotonic_ns()

    def elapsed_ns(self) -> int:
        """Time since the request was sent."""
        return time.monotonic_ns() - self.sent_ns

    def expire_in(self, seconds: float) -> None:
        """The answer is complete: what still comes must come soon."""
        end = time.monotonic() + seconds
        if self._end is None or end < self._end:
            self._end, self._limits["max-time"] = end, seconds

    def pause(self, seconds: float, reader: Reader | None = None) -> None:
        """Let time go by, but no more than max-time allows."""
        self.start("pause")
        end = time.monotonic() + seconds

        def left_s() -> float:
            left = self.left()
            pause = end - time.monotonic()
            return pause if left is None else min(left, pause)

        wait_ready(None, 0, reader, left_s)

    def left(self) -> float | None:
        """Seconds until the next clock runs out. Raises StreamTimeout when one has."""
        if self._deadline is None and self._end is None:
            return None
        now = time.monotonic()
        lefts = [(end - now, clock) for end, clock in ((self._deadline, self.clock), (self._end, "max-time")) if end]
        left, clock = min(lefts)
        if left > 0:
            return left
        so_far = {
            "connect": "no connection yet",
            "first-byte": "connected, but no answer yet",
            "idle": f"{self.received:,} bytes of the answer had come",
            "pause": "waiting to try again",
            "refusal": "the status had come",
        }[self.clock]
        raise StreamTimeout(
            f"{clock} clock ran out after {self._limits[clock]:g} s: {so_far}",
            clock,
            advice=f"allow more with --{clock if clock == 'max-time' else clock + '-timeout'}",
        )
