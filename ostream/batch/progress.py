"""Show the progress of a batch: one line that is rewritten on a terminal, or a line at intervals, and totals."""

from __future__ import annotations

import contextlib
import re
import threading
import time

from ostream.errors import OstreamError, OutputError
from ostream.protocol.metrics import number, rate
from ostream.system.output import Output
from ostream.system.polling import ReaderGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Mapping

    from ostream.system.diagnostics import Diagnostics


# Seconds between two lines: on a terminal that another program may write to, and without a terminal.
SHARED_S, PLAIN_S = 10.0, 60.0
# The progress of reading a file is shown if it takes longer than this many seconds.
SLOW_S = 1.0
# How many kinds of failures the totals name, and how many characters they quote from the message of each.
_NAMED, _LONGEST = 3, 80


class Progress:
    """Counts the rows that are done and shows the progress. `total` is the number of rows (None: unknown).

    Arguments:
        diagnostics: prints the lines on stderr.
        every: seconds between lines. None: rewrite one line on a terminal; elsewhere print a line a minute.
        shared: True if another program may write to the terminal. Then a line is printed every 10 s, not rewritten.
        totals: True to always print totals at the end; False to print them only after a minute or on a terminal.
    """

    def __init__(
        self, diagnostics: Diagnostics, every: float | None = None, shared: bool = False, totals: bool = True
    ) -> None:
        self.total: int | None = None
        self.running: Callable[[], int] = lambda: 0
        self.failures = 0
        self._diagnostics = diagnostics
        self._stderr = Output(2, "standard error")
        self._every = every
        self._rewrites = self._stderr.styled and every is None and not diagnostics.quiet and not shared
        if every is None and not self._rewrites and not diagnostics.quiet:
            self._every = SHARED_S if self._stderr.styled else PLAIN_S
        self._has_totals = totals or every is not None or self._stderr.styled
        self._shown = 0  # columns of the line on the terminal
        self._lock = threading.Lock()
        self._begin: float | None = None  # when the first request was sent
        self._started = self._last = time.monotonic()
        # Tokens and duration of the answers that report both, for the tokens per second of a single stream.
        self._rated_tokens = self._rated_ns = 0.0
        self._kinds: dict[str, int] = {}
        self._examples: dict[str, str] = {}
        self._skipped = 0
        self._complete = 0
        self._tokens = 0.0

    @property
    def is_shown(self) -> bool:
        """True if progress lines and totals are shown."""
        return self._rewrites or self._every is not None

    def begin(self) -> None:
        """Record that a request is sent. Rates are computed from the time of the first request."""
        if self._begin is None:
            self._begin = time.monotonic()

    def skip(self) -> None:
        """Count a row that is not sent, for example because it is blank or was answered before."""
        self._skipped += 1

    def add(self, answer: Mapping[str, Any]) -> None:
        """Count an answer and its tokens."""
        self._complete += 1
        count, duration_ns = number(answer.get("eval_count")), number(answer.get("eval_duration"))
        if count is not None:
            self._tokens += count
            if duration_ns is not None and rate(count, duration_ns) is not None:
                self._rated_tokens += count
                self._rated_ns += duration_ns

    def fail(self, error: OstreamError, text: str) -> None:
        """Count a failure, whose message is `text`."""
        self.failures += 1
        kind = without_numbers(text)
        self._examples.setdefault(kind, text)
        self._kinds[kind] = self._kinds.get(kind, 0) + 1

    def print_failure(self, error: OstreamError, prefix: str) -> None:
        """Print a failure. Only the first few failures of one kind are printed."""
        with self.cleared():
            self._diagnostics.error(OstreamError(f"{prefix}{error}", advice=error.advice), str(error))

    def note(self, text: str) -> None:
        """Print a note above the progress line."""
        if not self._diagnostics.quiet:
            with self.cleared():
                self._diagnostics.write(text)

    def trace(self, text: str) -> None:
        """Print a message above the progress line, if -v is given."""
        if self._diagnostics.verbose:
            with self.cleared():
                self._diagnostics.write(text)

    def reading(self, name: str, done: int, size: int) -> None:
        """Show how much of a file has been read, if reading takes longer than SLOW_S. `done` and `size` are bytes."""
        now = time.monotonic()
        if self._rewrites and now - self._started > SLOW_S and now - self._last > SLOW_S / 4:
            self._last = now
            with self._lock:
                self._rewrite(f"reading {name}: {100 * done // max(size, 1)}%")

    def tick(self) -> None:
        """Rewrite the progress line, or print one if the time for it has come."""
        now = time.monotonic()
        with self._lock:
            if self._rewrites:
                self._rewrite(self._line(now))
            elif self._every is not None and now - self._last >= self._every:
                self._last = now
                self._diagnostics.write(self._line(now))

    @contextlib.contextmanager
    def cleared(self) -> Iterator[None]:
        """Erase the progress line, and do not show it until the `with` block ends."""
        with self._lock:
            if self._shown:
                self._write(f"\r{'':<{self._shown}}\r")
                self._shown = 0
            yield

    def end(self) -> None:
        """Print how many failures were counted but not printed.

        If progress is shown and a request was sent, also print the totals.
        """
        with self.cleared():
            self._diagnostics.finish()
            if self._begin is None or not self.is_shown:
                return
            if self._has_totals or self._elapsed(time.monotonic()) >= PLAIN_S:
                self._diagnostics.write(self._totals())

    def _rewrite(self, text: str) -> None:
        line = text[: self._stderr.width() - 1]
        self._write(f"\r{line:<{self._shown}}")
        self._shown = len(line)

    def _write(self, text: str) -> None:
        try:
            self._stderr.write_bytes(text.encode())
        except (OutputError, ReaderGone):
            pass  # the terminal was closed

    def _elapsed(self, now: float) -> float:
        return max(now - (now if self._begin is None else self._begin), 0.001)

    def _line(self, now: float) -> str:
        elapsed = self._elapsed(now)
        sent = self._complete + self.failures
        done = self._skipped + sent
        parts = [f"{done:,}" + (f"/{self.total:,}" if self.total is not None else "")]
        if self.failures:
            parts.append(f"{self.failures:,} failed")
        parts.append(f"{self.running():,} running")
        if self._begin is not None:
            parts += [self._rates(elapsed), f"{show_time(elapsed)} elapsed"]
            if self.total is not None and sent:
                parts.append(f"{show_time(elapsed / sent * max(self.total - done, 0))} left")
        return ", ".join(parts)

    def _rates(self, elapsed: float) -> str:
        """Return the answers and tokens per second of all concurrent requests together."""
        return f"{self._complete / elapsed:.1f} answers/s, {self._tokens / elapsed:.1f} tokens/s"

    def _totals(self) -> str:
        elapsed = self._elapsed(time.monotonic())
        parts = [f"complete: {self._complete:,}", f"failures: {self._failures()}"]
        if self._skipped:
            parts.append(f"skipped: {self._skipped:,} (answered before, blank or repeated)")
        if self._complete:
            parts += [f"eval count: {self._tokens:,.0f} token(s)", f"throughput: {self._rates(elapsed)}"]
        if self._rated_ns:
            parts.append(f"average per request: {self._rated_tokens * 1e9 / self._rated_ns:.1f} tokens/s")
        return "; ".join(parts) + f"; in {show_time(elapsed)}"

    def _failures(self) -> str:
        """Return the number of failures and their messages, the most frequent ones first."""
        if not self.failures:
            return "none"
        ordered = sorted(self._kinds.items(), key=lambda item: -item[1])
        named = [f"{count:,}x {_shortened(self._examples[kind])}" for kind, count in ordered[:_NAMED]]
        others = sum(count for _, count in ordered[_NAMED:])
        return f"{self.failures:,} ({', '.join([*named, *([f'{others:,} others'] if others else [])])})"


def show_time(seconds: float) -> str:
    """Return a time in a readable form, such as 12s, 4m05s or 2h03m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def without_numbers(text: str) -> str:
    """Return a text with each number replaced by N, so that messages can be compared."""
    return re.sub(r"\d+", "N", text)
