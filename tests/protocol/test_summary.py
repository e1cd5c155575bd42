"""Many responses in a few numbers."""

from __future__ import annotations

from typing import Any

from ostream.protocol.metrics import CLIENT, FIELDS, SERVER
from ostream.protocol.summary import Summary


def measured(**known: Any) -> dict[str, Any]:
    return {**dict.fromkeys(FIELDS), **known}


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


def test_the_rate_is_that_of_the_responses_that_have_one() -> None:
    summary = Summary()
    summary.add(measured(eval_count=50, eval_duration=10**9, eval_rate=50.0), complete=True)
    for _ in range(100):
        summary.add(measured(eval_count=1), complete=True)  # of one token the server gives no duration
    assert (summary.as_dict()["eval_count"], summary.as_dict()["eval_rate"]) == (150, 50.0)


def test_durations_are_whole_and_a_first_token_says_by_which_clock() -> None:
    summary = Summary()
    summary.add(measured(time_to_first_token=7, time_to_first_token_from=CLIENT, total_duration=1.5), complete=True)
    assert summary.as_dict()["time_to_first_token_from"] == CLIENT
    summary.add(measured(time_to_first_token=2**62 + 2**60, time_to_first_token_from=SERVER), complete=True)
    known = summary.as_dict()
    assert known["time_to_first_token_from"] == f"{CLIENT} and {SERVER}"
    assert (known["time_to_first_token_p50"], known["time_to_first_token_p99"]) == (7, 2**62 + 2**60)
    assert all(type(value) is int for name, value in known.items() if "_p" in name)


def test_nothing_known_is_nothing_claimed() -> None:
    summary = Summary()
    summary.add(measured(), complete=True)
    assert summary.as_dict() == {"responses": 1, "complete": 1, "failures": {}}


def test_without_percentiles_nothing_is_kept_for_each() -> None:
    summary = Summary(percentiles=False)
    summary.add(measured(eval_count=10, eval_duration=10**9, total_duration=5, eval_rate=10.0), complete=True)
    known = summary.as_dict()
    assert (known["responses"], known["eval_count"], known["eval_rate"]) == (1, 10, 10.0)
    assert not [name for name in known if name.endswith(("_p50", "_p90", "_p99"))]
