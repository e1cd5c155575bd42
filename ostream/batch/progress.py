"""How far a batch has come: one line that is written over on a terminal, or a line now and then; and its sum."""

from __future__ import annotations

import contextlib
import threading
import time

from ostream.errors import OutputError
from ostream.protocol.metrics import Metrics
from ostream.protocol.summary import Summary
from ostream.system.output import Output
from ostream.system.polling import ReaderGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Mapping

    from ostream.errors import OstreamError
    from ostream.system.diagnostics import Diagnostics


# Seconds between plain lines on a terminal.
EVERY_S = 10.0


class Progress:
    """What has been done of `total` (None: nobody knows). `every`: seconds between plain lines, None for the one line
    of a terminal. `shared`: another program may write to that terminal, so no line there can be written over."""

    def __init__(
        self, diagnostics: Diagnostics, total: int | None = None, every: float | None = None, shared: bool = False
    ) -> None:
        self.total = total
        self.summary = Summary(percentiles=False)
        self._diagnostics = diagnostics
        self._every = every
        self._stderr = Output(2, "standard error")
        self._terminal = self._stderr.styled and every is None and not diagnostics.quiet
        if self._terminal and shared:
            self._terminal, self._every = False, EVERY_S
        self._shown = 0  # columns
        self._lock = threading.Lock()
        self._begin = self._last = time.monotonic()
        # Two counts, for two threads may count at once.
        self._skipped = 0
        self._asked = 0  # answered or failed in this run
        self._tokens: float = 0  # of this run

    @property
    def is_shown(self) -> bool:
        return self._terminal or self._every is not None

    @property
    def failures(self) -> int:
        return sum(self.summary.failures.values())

    @property
    def done(self) -> int:
        """Lines of the input that are answered, now or before, or have failed, or ask nothing."""
        return self._skipped + self._asked

    def known(self, answer: Mapping[str, Any]) -> None:
        """An answer that was there before."""
        self.summary.add(_measured(answer), complete=True)

    def skip(self) -> None:
        """A request that has been answered before, or a blank line."""
        self._skipped += 1

    def add(self, answer: Mapping[str, Any]) -> None:
        self._asked += 1
        if self.is_shown:
            measured = _measured(answer)
            self.summary.add(measured, complete=True)
            self._tokens += measured["eval_count"] or 0

    def fail(self, error: OstreamError, where: str = "") -> None:
        """A failure, which is also said; `where` stands in front of it."""
        self.summary.fail(error.exit_status)
        self._asked += 1
        advice = f"; {error.advice}" if error.advice else ""
        self._say(f"{where}{error}{advice}")

    def note(self, text: str) -> None:
        if not self._diagnostics.quiet:
            self._say(text)

    def trace(self, text: str) -> None:
        if self._diagnostics.verbose:
            self._say(text)

    def _say(self, text: str) -> None:
        with self.cleared():
            self._diagnostics.write(text)

    def tick(self) -> None:
        now = time.monotonic()
        with self._lock:
            if self._terminal:
                line = self._line(now)[: self._stderr.width() - 1]
                self._write(f"\r{line:<{self._shown}}")
                self._shown = len(line)
            elif self._every is not None and now - self._last >= self._every:
                self._last = now
                self._diagnostics.write(self._line(now))

    @contextlib.contextmanager
    def cleared(self) -> Iterator[None]:
        """The line is off the terminal, and stays off meanwhile."""
        with self._lock:
            self._clear()
            yield

    def end(self) -> None:
        """Say the sum, where progress was shown."""
        if self.is_shown:
            self._diagnostics.write(self._sum())

    def _clear(self) -> None:
        if self._shown:
            self._write(f"\r{'':<{self._shown}}\r")
            self._shown = 0

    def _write(self, text: str) -> None:
        try:
            self._stderr.write_bytes(text.encode())
        except (OutputError, ReaderGone):
            pass  # there is nobody left to tell

    def _line(self, now: float) -> str:
        seconds = max(now - self._begin, 1e-9)
        parts = [f"{self.done:,}" + (f"/{self.total:,}" if self.total is not None else "")]
        parts.append(f"{self.failures:,} failed")
        parts.append(f"{self._tokens / seconds:.1f} tokens/s")
        if self.total is not None and self._asked:
            parts.append(f"{show_time(seconds / self._asked * max(self.total - self.done, 0))} left")
        return ", ".join(parts)

    def _sum(self) -> str:
        known = self.summary.as_dict()
        failures = ", ".join(f"{count:,} {kind}" for kind, count in known["failures"].items()) or "none"
        rate = f"; eval rate: {known['eval_rate']:.2f} tokens/s" if "eval_rate" in known else ""
        return (
            f"complete: {known['complete']:,}; failures: {failures}; eval count: {known.get('eval_count', 0):,} "
            f"token(s){rate}; in {show_time(time.monotonic() - self._begin)}"
        )


def _measured(answer: Mapping[str, Any]) -> dict[str, Any]:
    metrics = Metrics()
    metrics.add(answer)
    return metrics.as_dict()


def show_time(seconds: float) -> str:
    """A time for a person: 12s, 4m05s, 2h03m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"
