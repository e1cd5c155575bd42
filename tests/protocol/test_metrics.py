"""What a response cost."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostream.protocol.metrics import CLIENT, CREATED, FIELDS, SERVER, Metrics, percentile, show_duration, timestamp
from ostream.protocol.ndjson import decode_line, encode_line, split_lines
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


def measure(last: dict[str, Any], chunks: int = 1) -> dict[str, Any]:
    """The metrics of so many chunks, of which the last one says something."""
    metrics = Metrics()
    for chunk in [*[{}] * (chunks - 1), last]:
        metrics.add(chunk)
    return metrics.as_dict()


def of(*chunks: dict[str, Any]) -> Metrics:
    metrics = Metrics()
    for chunk in chunks:
        metrics.add(chunk)
    return metrics


def test_all_fields_with_rates_in_tokens_per_second() -> None:
    measured = measure(LAST, 7)
    assert tuple(measured) == FIELDS
    known = {name: value for name, value in measured.items() if value is not None}
    assert known == {
        **LAST,
        "chunks": 7,
        "fragments": 0,
        "prompt_eval_rate": 200.0,
        "eval_rate": 64.75,
        "time_per_output_token": round(4e9 / 259),
        "time_to_first_token": 131_000_000,
        "time_to_first_token_from": SERVER,
    }


def test_a_recorded_response() -> None:
    chunks = [decode_line(line) or {} for lines in split_lines([body_of("chat-stream")]) for line in lines]
    measured = of(*chunks).as_dict()
    assert (measured["model"], measured["done_reason"], measured["chunks"]) == ("plain", "stop", len(chunks))
    assert measured["total_duration"] == chunks[-1]["total_duration"]
    assert measured["fragments"] == len(chunks) - 1
    assert measured["inter_chunk_from"] == CREATED
    assert 0 < measured["inter_chunk_p50"] <= measured["inter_chunk_p90"] <= measured["longest_stall"]


def test_what_the_server_did_not_say_is_none() -> None:
    nothing = dict.fromkeys(FIELDS)
    assert Metrics().as_dict() == {**nothing, "chunks": 0, "fragments": 0}
    assert measure({"chunks": 9, "eval_rate": 9}, 2) == {**nothing, "chunks": 2, "fragments": 0}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"message": {"content": text}, "done": False, **more}


def test_the_client_clock_gives_the_first_token_the_first_content_and_the_gaps() -> None:
    thought = {"message": {"thinking": "hm", "content": ""}, "done": False, "elapsed": 100}
    measured = of(thought, said("", elapsed=150), said("a", elapsed=200), said("b", elapsed=500)).as_dict()
    assert measured["time_to_first_token"] == 100
    assert measured["time_to_first_token_from"] == CLIENT
    assert measured["time_to_first_content"] == 200
    assert (measured["inter_chunk_p50"], measured["longest_stall"]) == (100, 300)
    assert measured["inter_chunk_from"] == CLIENT
    assert measured["fragments"] == 3


def test_the_caller_may_know_the_time_that_the_chunk_does_not_say() -> None:
    metrics = Metrics()
    metrics.add(said("a"), 10)
    metrics.add(said("b"), 30)
    assert metrics.as_dict()["time_to_first_token"] == 10
    assert list(metrics.gaps) == [20]


A, B, C = (f"2026-11-21T01:42:58.{fraction}Z" for fraction in ("5", "50000001", "7"))

GAPS = [
    # chunks, gaps, from
    ([said("a", created_at=A), said("b", created_at=B), said("c", created_at=C)], [10, 199_999_990], CREATED),
    ([said("a", created_at=A), said("b", created_at=A)], [], None),  # a server whose clock stands still
    ([said("a", created_at=C), said("b", created_at=A)], [], None),  # or runs backwards
    ([said("a", elapsed=5), said("b", created_at=A), said("c", elapsed=9)], [], None),  # two clocks
    ([said("a", created_at=A), said("b", created_at="soon"), said("c", created_at=B)], [], None),
    ([said("a", elapsed=True), said("b", elapsed=-3)], [], None),
    ([said("a"), said("b")], [], None),
]


@pytest.mark.parametrize(("chunks", "gaps", "source"), GAPS)
def test_gaps_are_taken_by_one_clock(chunks: list[dict[str, Any]], gaps: list[int], source: str | None) -> None:
    metrics = of(*chunks)
    assert list(metrics.gaps) == gaps
    assert metrics.as_dict()["inter_chunk_from"] == source


TIMES = [
    ("1970-01-01T00:00:01Z", 1_000_000_000),
    ("1970-01-01T00:00:01.5Z", 1_500_000_000),
    ("1970-01-01T00:00:00.123456789Z", 123_456_789),
    ("1970-01-01T02:00:00.5+02:00", 500_000_000),
    ("0001-01-01T00:00:00Z", -62_135_596_800_000_000_000),
    ("2026-13-01T00:00:00Z", None),
    ("1970-01-01T00:00:00.1234567890Z", None),
    ("yesterday", None),
    (None, None),
    (7, None),
]


@pytest.mark.parametrize(("created_at", "ns"), TIMES)
def test_times_of_every_server_are_read(created_at: Any, ns: int | None) -> None:
    assert timestamp(created_at) == ns


@pytest.mark.parametrize(
    ("count", "warned"), [(4096, True), (2048, True), (32768.0, True), (4095, False), (1024, False), (None, False)]
)
def test_a_prompt_as_long_as_a_context_window_is_warned_of(count: Any, warned: bool) -> None:
    assert (of({"prompt_eval_count": count}).warning is not None) == warned


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 2), (51, 3), (90, 4), (99, 4), (100, 4)])
def test_a_percentile_is_one_of_the_values(percent: int, value: int) -> None:
    assert percentile([1, 2, 3, 4], percent) == value


DURATIONS = [
    (0, "0ns"),
    (999, "999ns"),
    (1000, "1µs"),
    (485_879, "485.879µs"),
    (130_079_000, "130.079ms"),
    (4_668_000_000, "4.668s"),
    (1_999_999_999, "2s"),
]


@pytest.mark.parametrize(("duration_ns", "shown"), DURATIONS)
def test_a_duration_is_shown_as_go_prints_it(duration_ns: int, shown: str) -> None:
    assert show_duration(duration_ns) == shown


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
@given(st.lists(st.dictionaries(st.sampled_from([*FIELDS, "elapsed", "created_at", "response"]), ANY), max_size=4))
def test_whatever_the_server_says_the_numbers_can_be_written_out(chunks: list[dict[str, Any]]) -> None:
    measured = of(*chunks).as_dict()
    assert decode_line(encode_line(measured)) == measured


def test_of_a_fragment_one_number_is_kept_and_not_its_text() -> None:
    metrics = Metrics()

    def feed(count: int) -> int:
        """How much memory so many fragments take for good."""
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            metrics.add({"response": "x" * 1000, "context": [number] * 100, "elapsed": number * 1000})
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        feed(100)
        assert feed(10_000) < 10_000 * 16 + 4096
    finally:
        tracemalloc.stop()
    assert len(metrics.gaps) == 99 + 9_999
