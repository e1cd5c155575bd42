"""What a response cost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostream.metrics import FIELDS, measure
from ostream.ndjson import decode_line, encode_line, split_lines
from tests.server import body_of

LAST: dict[str, Any] = {
    "model": "m",
    "done_reason": "stop",
    "total_duration": 5_000_000_000,
    "load_duration": 1_000_000,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 130_000_000,
    "eval_count": 259,
    "eval_duration": 4_000_000_000,
}


def test_all_fields_with_rates_in_tokens_per_second() -> None:
    measured = measure(LAST, 7)
    assert tuple(measured) == FIELDS
    assert measured == {**LAST, "chunks": 7, "prompt_eval_rate": 200.0, "eval_rate": 64.75}


def test_a_recorded_response() -> None:
    chunks = [decode_line(line) or {} for lines in split_lines([body_of("chat-stream")]) for line in lines]
    measured = measure(chunks[-1], len(chunks))
    assert (measured["model"], measured["done_reason"], measured["chunks"]) == ("plain", "stop", len(chunks))
    assert all(measured[field] > 0 for field in FIELDS if field not in ("model", "done_reason"))
    assert measured["total_duration"] == chunks[-1]["total_duration"]


def test_what_the_server_did_not_say_is_none() -> None:
    assert measure({}, 0) == {**dict.fromkeys(FIELDS), "chunks": 0}
    assert measure({"chunks": 9, "eval_rate": 9}, 2) == {**dict.fromkeys(FIELDS), "chunks": 2}


RATES = [
    # count, duration in ns, tokens/s
    (10, 1_000_000_000, 10.0),
    (10, 2_000_000_000, 5.0),
    (1, 1, 1e9),
    (10.0, 1e9, 10.0),
    (10, 0, None),
    (0, 10, None),
    (None, 10, None),
    (10, None, None),
    (10, -1, None),
    (10, 5e-324, None),
]


@pytest.mark.parametrize(("count", "duration_ns", "rate"), RATES)
@pytest.mark.parametrize("kind", ["eval", "prompt_eval"])
def test_a_rate_needs_a_count_and_a_duration(kind: str, count: Any, duration_ns: Any, rate: float | None) -> None:
    assert measure({f"{kind}_count": count, f"{kind}_duration": duration_ns}, 1)[f"{kind}_rate"] == rate


NUMBERS = [
    # as sent, as measured
    (0, 0),
    (1.5, 1.5),
    ((1 << 63) - 1, (1 << 63) - 1),
    (1 << 63, None),
    (10**400, None),
    (1.7976931348623157e308, None),
    (-1, None),
    (True, None),
    ("1", None),
    ([], None),
    (float("nan"), None),
]


@pytest.mark.parametrize(("sent", "measured"), NUMBERS)
def test_a_number_that_cannot_be_one_is_none(sent: Any, measured: Any) -> None:
    assert measure({"total_duration": sent}, 1)["total_duration"] == measured


@pytest.mark.parametrize("sent", [1, None, ["m"], {}])
def test_a_name_that_is_not_text_is_none(sent: Any) -> None:
    assert measure({"model": sent, "done_reason": sent}, 1)["model"] is None


ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), ANY))
def test_whatever_the_server_says_the_numbers_can_be_written_out(response: dict[str, Any]) -> None:
    measured = measure(response, 1)
    assert decode_line(encode_line(measured)) == measured
