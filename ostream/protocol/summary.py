"""Many responses in a few numbers: totals, percentiles, failures by kind."""

from __future__ import annotations

from array import array

from ostream.errors import STATUSES
from ostream.protocol.metrics import percentile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

_KINDS = {status.code: status.kind for status in STATUSES}
_TOTALS = ("prompt_eval_count", "eval_count", "total_duration", "eval_duration")
_SPREADS = ("time_to_first_token", "total_duration", "eval_rate")


class Summary:
    """Adds up responses; keeps three numbers for each, for the percentiles."""

    def __init__(self, percentiles: bool = True) -> None:
        self.responses = 0
        self.complete = 0
        self.failures: dict[str, int] = {}
        self._totals: dict[str, float] = {}
        self._rated: float = 0  # tokens of the responses that have a rate, and what they took
        self._rated_ns: float = 0
        self._first_from: set[str] = set()
        self._spreads = {name: array("d") for name in _SPREADS if percentiles}

    def add(self, measured: Mapping[str, Any], complete: bool) -> None:
        """Count one response with its metrics."""
        self.responses += 1
        self.complete += complete
        for name in _TOTALS:
            if measured[name] is not None:
                self._totals[name] = self._totals.get(name, 0) + measured[name]
        if measured["eval_rate"] is not None:
            # Of a single token the server gives no duration.
            self._rated += measured["eval_count"]
            self._rated_ns += measured["eval_duration"]
        if measured["time_to_first_token"] is not None:
            self._first_from.add(measured["time_to_first_token_from"])
        for name, values in self._spreads.items():
            if measured[name] is not None:
                values.append(measured[name])

    def fail(self, status: int) -> None:
        """Count one failure."""
        kind = _KINDS[status]
        self.failures[kind] = self.failures.get(kind, 0) + 1

    def as_dict(self) -> dict[str, Any]:
        """Counts, sums, and the 50th, 90th and 99th percentile over the responses; durations in ns."""
        known: dict[str, Any] = {"responses": self.responses, "complete": self.complete, "failures": self.failures}
        for name in _TOTALS:
            if name in self._totals:
                known[name] = self._totals[name]
        if self._rated:
            known["eval_rate"] = self._rated * 1e9 / self._rated_ns
        if self._first_from:
            known["time_to_first_token_from"] = " and ".join(sorted(self._first_from))
        for name, values in self._spreads.items():
            ordered = sorted(values)
            for percent in (50, 90, 99) if ordered else ():
                value = percentile(ordered, percent)
                known[f"{name}_p{percent}"] = value if name == "eval_rate" else round(value)
        return known
