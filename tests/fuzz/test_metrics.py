"""The metrics of any chunks are finite numbers that are not negative, or None, and can be shown and encoded."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostream.cli.transcript import footer
from ostream.protocol.metrics import FIELDS, Metrics
from ostream.protocol.ndjson import encode_line
from ostream.protocol.summary import Summary
from tests.fuzz.given import OBJECT, TEXT


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


TIME = st.sampled_from(
    ["2026-11-21T01:42:58.5Z", "2026-11-21T01:42:58.50000001Z", "2026-11-21T01:42:59Z", "soon", None]
)
CHUNK = st.fixed_dictionaries(
    {"created_at": TIME, "message": st.fixed_dictionaries({"content": st.sampled_from(["a", "a", " ", "", 7, None])})},
    optional={"elapsed": st.sampled_from([5, 9, 9, 70, -3, True, 2.5]), "thinking": TEXT, "eval_count": st.integers()},
)


@given(st.lists(st.lists(CHUNK, min_size=1), max_size=5), st.none() | st.just(7))
def test_chunks_measured_in_blocks_have_the_metrics_of_single_chunks(
    blocks: list[list[dict[str, Any]]], elapsed: int | None
) -> None:
    in_blocks, one_by_one = Metrics(), Metrics()
    for block in blocks:
        in_blocks.add_all(block, elapsed)
        for chunk in block:
            one_by_one.add(chunk, elapsed)
    assert in_blocks.as_dict() == one_by_one.as_dict()
    assert [*in_blocks.gaps] == [*one_by_one.gaps]
    assert in_blocks.lacks == one_by_one.lacks
