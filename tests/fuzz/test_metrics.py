"""The metrics of any chunks are finite numbers that are not negative, or None, and can be shown and encoded."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostream.cli.plot import bars, histogram
from ostream.cli.transcript import footer
from ostream.protocol.metrics import FIELDS, Metrics, show_duration, timestamp
from ostream.protocol.ndjson import encode_line
from ostream.protocol.summary import Summary
from tests.fuzz.given import JSON, OBJECT, TEXT


@given(st.lists(st.lists(st.tuples(OBJECT, st.none() | st.integers()), max_size=4), max_size=3))
def test_metrics_of_any_chunks_are_finite_and_can_be_encoded(responses: list[list[tuple[dict[str, Any], Any]]]) -> None:
    total = Summary()
    for chunks in responses:
        metrics = Metrics()
        for chunk, elapsed in chunks:
            metrics.add(chunk, elapsed)
        measured = metrics.as_dict()
        assert tuple(measured) == FIELDS
        assert all(value >= 0 for value in measured.values() if isinstance(value, (int, float)))
        assert encode_line(measured)
        assert footer(measured)
        assert all(gap >= 0 for gap in metrics.gaps)
        total.add(measured, complete=True)
    assert encode_line(total.as_dict())


@given(TEXT | JSON | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"))
def test_only_text_is_a_timestamp(created_at: Any) -> None:
    assert timestamp(created_at) is None or isinstance(created_at, str)


@given(st.lists(st.integers(0, 2**63) | st.floats(0, 1e300), max_size=20), st.integers(-5, 300))
def test_durations_histograms_and_bars_of_any_numbers_can_be_shown(values: list[float], width: int) -> None:
    assert all(show_duration(value) for value in values)
    assert sum(count for _, _, count in histogram(values)) == len(values)
    assert bars([(str(value), value, str(value)) for value in values], width).count("\n") == len(values)
