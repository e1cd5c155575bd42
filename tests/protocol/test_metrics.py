"""Metrics of one response: counts, durations, rates, and the times between fragments."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from ostream.protocol.metrics import (
    CLIENT,
    CREATED,
    FIELDS,
    SERVER,
    Metrics,
    is_prompt_truncated,
    percentile,
    show_duration,
)

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


def of(*chunks: dict[str, Any]) -> Metrics:
    metrics = Metrics()
    metrics.add_all(chunks)
    return metrics


def measure(last: dict[str, Any]) -> dict[str, Any]:
    return of(last).as_dict()


def test_all_fields_with_rates_in_tokens_per_second() -> None:
    measured = of(*[{}] * 6, LAST).as_dict()
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


def test_values_not_reported_are_none() -> None:
    nothing = dict.fromkeys(FIELDS)
    assert Metrics().as_dict() == {**nothing, "chunks": 0, "fragments": 0}
    assert measure({"chunks": 9, "eval_rate": 9}) == {**nothing, "chunks": 1, "fragments": 0}


def fragment(text: str, **more: Any) -> dict[str, Any]:
    return {"message": {"content": text}, "done": False, **more}


def test_elapsed_gives_first_token_first_content_and_gaps() -> None:
    thought = {"message": {"thinking": "hm", "content": ""}, "done": False, "elapsed": 100}
    measured = of(thought, fragment("", elapsed=150), fragment("a", elapsed=200), fragment("b", elapsed=500)).as_dict()
    assert measured["time_to_first_token"] == 100
    assert measured["time_to_first_token_from"] == CLIENT
    assert measured["time_to_first_content"] == 200
    assert (measured["inter_chunk_p50"], measured["longest_stall"]) == (100, 300)
    assert measured["inter_chunk_from"] == CLIENT
    assert measured["fragments"] == 3


def test_elapsed_of_the_caller_wins_over_that_of_the_chunk() -> None:
    metrics = Metrics()
    metrics.add(fragment("a"), 10)
    metrics.add(fragment("b", elapsed=7), 30)
    assert metrics.as_dict()["time_to_first_token"] == 10
    assert list(metrics.gaps) == [20]


A, B, C = (f"2026-11-21T01:42:58.{fraction}Z" for fraction in ("5", "50000001", "7"))

GAPS = [
    # chunks, gaps, from
    (
        [fragment("a", created_at=A), fragment("b", created_at=B), fragment("c", created_at=C)],
        [10, 199_999_990],
        CREATED,
    ),
    ([fragment("a", created_at=A), fragment("b", created_at=A)], [], None),  # a constant created_at
    ([fragment("a", created_at=C), fragment("b", created_at=A)], [], None),  # a clock that was set back
    ([fragment("a", elapsed=5), fragment("b", created_at=A), fragment("c", elapsed=9)], [], None),  # two clocks
    ([fragment("a", created_at=A), fragment("b", created_at="soon"), fragment("c", created_at=B)], [], None),
    ([fragment("a", elapsed=True), fragment("b", elapsed=-3)], [], None),
    ([fragment("a"), fragment("b")], [], None),
]


@pytest.mark.parametrize(("chunks", "gaps", "source"), GAPS)
def test_gaps_are_measured_by_one_clock(chunks: list[dict[str, Any]], gaps: list[int], source: str | None) -> None:
    metrics, in_blocks = of(*chunks), of(*chunks[:1])
    in_blocks.add_all(chunks[1:])
    assert list(metrics.gaps) == list(in_blocks.gaps) == gaps
    assert metrics.as_dict() == in_blocks.as_dict()
    assert metrics.as_dict()["inter_chunk_from"] == source


TRUNCATED = [
    # prompt_eval_count, num_ctx and truncate of the request, truncated
    (4096, None, None, True),  # servers up to 0.30.9: num_ctx
    (32768.0, None, None, True),
    (2050, None, None, True),  # newer ones: num_ctx / 2 + 2 or + 3
    (1027, None, None, True),
    (4095, None, None, None),
    (None, None, None, None),
    (34, 64, None, True),
    (2050, 8192, None, False),
    (2050, "8192", None, True),
    (2050, 4096, False, False),
]


@pytest.mark.parametrize(("count", "num_ctx", "truncate", "truncated"), TRUNCATED)
def test_a_prompt_cut_to_the_context_window_is_recognised(
    count: Any, num_ctx: Any, truncate: Any, truncated: bool | None
) -> None:
    assert is_prompt_truncated(count, num_ctx, truncate) is truncated
    metrics = Metrics(num_ctx, truncate)
    metrics.add({"prompt_eval_count": count})
    assert metrics.as_dict()["prompt_truncated"] is truncated


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 2), (51, 3), (90, 4), (99, 4), (100, 4)])
def test_a_percentile_is_one_of_the_values(percent: int, value: int) -> None:
    assert percentile([1, 2, 3, 4], percent) == value


DURATIONS = [
    (0, "0ns"),
    (999, "999ns"),
    (1000, "1µs"),
    (130_079_000, "130.079ms"),
    (1_999_999_999, "2s"),
    (2**63 - 1, "9223372036.855s"),
]


@pytest.mark.parametrize(("duration_ns", "shown"), DURATIONS)
def test_a_duration_is_shown_as_go_prints_it(duration_ns: int, shown: str) -> None:
    assert show_duration(duration_ns) == shown


RATES = [
    # count, duration in ns, tokens/s
    (10, 1_000_000_000, 10.0),
    (10.0, 1e9, 10.0),
    (2, 20_000, 100_000.0),
    (2, 19_999, None),  # faster than any machine: a constant, or a cached prompt
    (5e-324, 10**8, None),
    (1.5, (1 << 63) - 1, pytest.approx(1.63e-10, rel=0.01)),
    (10, 0, None),
    (0, 10, None),
    (10, None, None),
]


@pytest.mark.parametrize(("count", "duration_ns", "rate"), RATES)
@pytest.mark.parametrize("kind", ["eval", "prompt_eval"])
def test_a_rate_needs_a_count_above_one_and_a_plausible_duration(
    kind: str, count: Any, duration_ns: Any, rate: float | None
) -> None:
    assert measure({f"{kind}_count": count, f"{kind}_duration": duration_ns})[f"{kind}_rate"] == rate


@pytest.mark.parametrize(("cached", "rate"), [(7990, 500.0), (0, None), (8000, None), (9000, None), ("x", None)])
def test_cached_prompt_tokens_are_not_counted_as_evaluated(cached: Any, rate: float | None) -> None:
    prompt = {"prompt_eval_count": 8000, "prompt_eval_cached_count": cached, "prompt_eval_duration": 20_000_000}
    assert measure(prompt)["prompt_eval_rate"] == rate


NUMBERS = [
    # as sent, as measured
    (0, 0),
    (1.5, 1.5),
    ((1 << 63) - 1, (1 << 63) - 1),
    (1 << 63, None),
    (10**400, None),
    (-1, None),
    (True, None),
    ("1", None),
    (float("nan"), None),
]


@pytest.mark.parametrize(("sent", "measured"), NUMBERS)
def test_an_impossible_number_is_none(sent: Any, measured: Any) -> None:
    assert measure({"total_duration": sent})["total_duration"] == measured


@pytest.mark.parametrize("sent", [1, None, ["m"], {}])
def test_a_name_that_is_not_text_is_none(sent: Any) -> None:
    assert measure({"model": sent, "done_reason": sent})["model"] is None


@pytest.mark.parametrize(
    ("chunks", "lacks"),
    [
        ([fragment(" \n"), {"message": {"content": [], "thinking": ""}}], "empty"),
        ([fragment(" \n"), fragment(" a"), fragment(" ")], ""),
        ([{"thinking": "a", "response": ""}], "thinking_only"),
        ([{"message": {"thinking": 7}}], "thinking_only"),
        ([{"response": 7}], ""),
    ],
)
def test_an_answer_has_content_if_any_is_not_white_space(chunks: list[dict[str, Any]], lacks: str) -> None:
    assert of(*chunks).lacks == lacks


def test_memory_is_one_number_per_fragment_whatever_keys_and_text_arrive() -> None:
    metrics = Metrics()

    def feed(count: int) -> int:
        """Bytes kept for so many fragments."""
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            counts = {"eval_count": number} if number % 2 else {}
            chunk = {"response": "x" * 1000, f"key{number}": [number] * 100, "elapsed": number * 1000}
            metrics.add({**chunk, **counts})
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        feed(100)
        assert feed(2000) < 2000 * 16 + 4096
    finally:
        tracemalloc.stop()
    assert len(metrics.gaps) == 99 + 1999
