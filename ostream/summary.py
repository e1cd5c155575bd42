"""Many responses in a few numbers: totals, percentiles, failures by kind."""

from __future__ import annotations

from array import array

from ostream.errors import INCOMPLETE, LENGTH, REFUSED, TRY_LATER, UNAVAILABLE, USAGE
from ostream.metrics import percentile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

KINDS = {
    REFUSED: "refused",
    USAGE: "not NDJSON, or not to be read",
    INCOMPLETE: "incomplete",
    LENGTH: "cut by a limit",
    UNAVAILABLE: "no connection",
    TRY_LATER: "try later",
}
_TOTALS = ("prompt_eval_count", "eval_count", "total_duration", "eval_duration")
_SPREADS = ("time_to_first_token", "total_duration", "eval_rate")


class Summary:
    """Adds up responses; keeps three numbers for each."""

    def __init__(self) -> None:
        self.responses = 0
        self.complete = 0
        self.failures: dict[str, int] = {}
        self._totals: dict[str, float] = {}
        self._spreads = {name: array("d") for name in _SPREADS}

    def add(self, measured: Mapping[str, Any], complete: bool) -> None:
        """Count one response with its metrics."""
        self.responses += 1
        self.complete += complete
        for name in _TOTALS:
            if measured[name] is not None:
                self._totals[name] = self._totals.get(name, 0) + measured[name]
        for name in _SPREADS:
            if measured[name] is not None:
                self._spreads[name].append(measured[name])

    def fail(self, status: int) -> None:
        """Count one failure."""
        kind = KINDS[status]
        self.failures[kind] = self.failures.get(kind, 0) + 1

    def as_dict(self) -> dict[str, Any]:
        """Counts, sums, and the 50th, 90th and 99th percentile over the responses; durations in ns."""
        known: dict[str, Any] = {"responses": self.responses, "complete": self.complete, "failures": self.failures}
        for name in _TOTALS:
            if name in self._totals:
                known[name] = self._totals[name]
        if self._totals.get("eval_duration") and "eval_count" in self._totals:
            known["eval_rate"] = self._totals["eval_count"] * 1e9 / self._totals["eval_duration"]
        for name, values in self._spreads.items():
            ordered = sorted(values)
            for percent in (50, 90, 99) if ordered else ():
                known[f"{name}_p{percent}"] = percentile(ordered, percent)
        return known
