"""Compute totals, percentiles and failure counts of many responses."""

from __future__ import annotations

from array import array

from ostream.errors import STATUSES
from ostream.protocol.metrics import percentile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Mapping

KINDS = {status.code: status.kind for status in STATUSES if status.claimable}
# The counted kinds of answers: those that `Metrics.lacks` names, and answers that a length limit truncated.
EMPTY, THINKING_ONLY, LENGTH_LIMITED = "empty", "thinking_only", "length_limited"
_TOTALS = ("prompt_eval_count", "eval_count", "total_duration", "eval_duration")
_SPREADS = ("time_to_first_token", "total_duration", "eval_rate", "time_per_output_token")


class Summary:
    """Adds up the metrics of responses.

    If `percentiles` is True, it stores six numbers for each response and one number for each gap between fragments.
    """

    def __init__(self, percentiles: bool = True) -> None:
        self.responses = 0
        self.complete = 0
        self.failures: dict[str, int] = {}
        self._lacking = {EMPTY: 0, THINKING_ONLY: 0, LENGTH_LIMITED: 0}
        self._totals: dict[str, float] = {}
        self._rated: float = 0  # tokens of the responses that have an `eval_rate`
        self._rated_ns: float = 0
        self._first_from: set[str] = set()
        self._gaps_from: set[str] = set()
        self._spreads = {name: array("d") for name in _SPREADS if percentiles}
        self._gaps = array("q")
        self._spans: list[tuple[int, int]] = []

    def add(
        self,
        measured: Mapping[str, Any],
        complete: bool,
        lacks: str = "",
        gaps: Iterable[int] = (),
        span: tuple[int, int] | None = None,
    ) -> None:
        """Add a response.

        Arguments:
            measured: the result of `Metrics.as_dict`.
            complete: True if the response is complete.
            lacks, gaps, span: the attributes of `Metrics` with the same names.
        """
        self.responses += 1
        self.complete += complete
        if complete and lacks:
            self._lacking[lacks] += 1
        if measured["done_reason"] == "length":
            self._lacking[LENGTH_LIMITED] += 1
        for name in _TOTALS:
            if measured[name] is not None:
                self._totals[name] = self._totals.get(name, 0) + measured[name]
        if measured["eval_rate"] is not None:
            self._rated += measured["eval_count"]
            self._rated_ns += measured["eval_duration"]
        if measured["time_to_first_token"] is not None:
            self._first_from.add(measured["time_to_first_token_from"])
        for name, values in self._spreads.items():
            if measured[name] is not None:
                values.append(measured[name])
        if self._spreads:
            self._gaps.extend(gaps)
            if measured["inter_chunk_from"] is not None:
                self._gaps_from.add(measured["inter_chunk_from"])
            if span is not None:
                self._spans.append(span)

    def fail(self, status: int) -> None:
        """Count one failure with this exit status."""
        kind = KINDS[status]
        self.failures[kind] = self.failures.get(kind, 0) + 1

    def as_dict(self) -> dict[str, Any]:
        """Return counts, totals, rates, and the 50th, 90th and 99th percentiles. Durations are in ns.

        `eval_rate` is the average rate of a single response, in tokens per second. `throughput` is the rate of all
        responses together: all tokens divided by the time during which at least one response was running.
        """
        known: dict[str, Any] = {"responses": self.responses, "complete": self.complete, "failures": self.failures}
        known.update(self._lacking)
        known.update({name: self._totals[name] for name in _TOTALS if name in self._totals})
        if self._rated:
            known["eval_rate"] = self._rated * 1e9 / self._rated_ns
        busy_ns = _covered(self._spans)
        if busy_ns:
            known["throughput"] = self._totals.get("eval_count", 0) * 1e9 / busy_ns
            known["responses_per_s"] = len(self._spans) * 1e9 / busy_ns
        if self._first_from:
            known["time_to_first_token_from"] = " and ".join(sorted(self._first_from))
        for name, values in self._spreads.items():
            ordered = sorted(values)
            for percent in (50, 90, 99) if ordered else ():
                value = percentile(ordered, percent)
                known[f"{name}_p{percent}"] = value if name == "eval_rate" else round(value)
        if self._gaps_from:
            known["inter_chunk_from"] = " and ".join(sorted(self._gaps_from))
            gaps = sorted(self._gaps)
            known.update({f"inter_chunk_p{percent}": percentile(gaps, percent) for percent in (50, 90, 99)})
        return known


def _covered(spans: list[tuple[int, int]]) -> int:
    """Return the time that is covered by at least one span, in ns. The pauses between spans are not counted."""
    covered = 0
    until: int | None = None
    for begin, end in sorted(spans):
        if until is None or begin > until:
            until = begin
        covered += max(end - until, 0)
        until = max(end, until)
    return covered
