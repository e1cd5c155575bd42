"""Totals, percentiles and failures of many responses."""

from __future__ import annotations

from typing import Any

from ostream.protocol.metrics import CLIENT, FIELDS, SERVER
from ostream.protocol.summary import Summary


def measured(**known: Any) -> dict[str, Any]:
    return {**dict.fromkeys(FIELDS), **known}


NOTHING_LACKING = {"empty": 0, "thinking_only": 0, "length_limited": 0}


def test_totals_rates_percentiles_and_failures_by_kind() -> None:
    summary = Summary()
    for number in range(1, 101):
        summary.add(
            measured(eval_count=10, eval_duration=10**9, total_duration=number, eval_rate=float(number)),
            complete=number > 2,
        )
    for status in (3, 3, 1):
        summary.fail(status)
    assert summary.as_dict() == {
        "responses": 100,
        "complete": 98,
        "failures": {"incomplete": 2, "rejected": 1},
        **NOTHING_LACKING,
        "eval_count": 1000,
        "total_duration": 5050,
        "eval_duration": 100 * 10**9,
        "eval_rate": 10.0,
        "total_duration_p50": 50,
        "total_duration_p90": 90,
        "total_duration_p99": 99,
        "eval_rate_p50": 50.0,
        "eval_rate_p90": 90.0,
        "eval_rate_p99": 99.0,
    }


def test_eval_rate_is_that_of_the_responses_that_have_one() -> None:
    summary = Summary()
    summary.add(measured(eval_count=50, eval_duration=10**9, eval_rate=50.0), complete=True)
    for _ in range(100):
        summary.add(measured(eval_count=1), complete=True)
    assert (summary.as_dict()["eval_count"], summary.as_dict()["eval_rate"]) == (150, 50.0)


def test_durations_are_integers_and_the_clock_of_the_first_token_is_named() -> None:
    summary = Summary()
    summary.add(measured(time_to_first_token=7, time_to_first_token_from=CLIENT, total_duration=1.5), complete=True)
    assert summary.as_dict()["time_to_first_token_from"] == CLIENT
    summary.add(measured(time_to_first_token=2**62 + 2**60, time_to_first_token_from=SERVER), complete=True)
    known = summary.as_dict()
    assert known["time_to_first_token_from"] == f"{CLIENT} and {SERVER}"
    assert (known["time_to_first_token_p50"], known["time_to_first_token_p99"]) == (7, 2**62 + 2**60)
    assert all(type(value) is int for name, value in known.items() if "_p" in name)


def test_values_not_known_are_left_out() -> None:
    summary = Summary()
    summary.add(measured(), complete=True)
    assert summary.as_dict() == {"responses": 1, "complete": 1, "failures": {}, **NOTHING_LACKING}


def test_throughput_is_that_of_all_streams_while_any_was_running() -> None:
    summary = Summary()
    for begin, end in ((0, 2), (1, 3), (1, 2), (100, 101)):
        summary.add(measured(eval_count=40), complete=True, span=(begin * 10**9, end * 10**9))
    known = summary.as_dict()
    assert (known["throughput"], known["responses_per_s"]) == (40.0, 1.0)
    assert "throughput" not in Summary().as_dict()


def test_gaps_of_all_responses_have_percentiles_and_name_their_clock() -> None:
    summary = Summary()
    summary.add(measured(inter_chunk_from=CLIENT), complete=True, gaps=[1, 2, 3])
    summary.add(measured(inter_chunk_from=SERVER), complete=True, gaps=[10] * 97)
    known = summary.as_dict()
    assert [known[f"inter_chunk_p{percent}"] for percent in (50, 90, 99)] == [10, 10, 10]
    assert known["inter_chunk_from"] == f"{CLIENT} and {SERVER}"


def test_without_percentiles_nothing_is_kept_for_each() -> None:
    summary = Summary(percentiles=False)
    summary.add(measured(eval_count=10, eval_duration=10**9, total_duration=5, eval_rate=10.0), complete=True)
    known = summary.as_dict()
    assert (known["responses"], known["eval_count"], known["eval_rate"]) == (1, 10, 10.0)
    assert not [name for name in known if name.endswith(("_p50", "_p90", "_p99"))]
