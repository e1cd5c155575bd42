"""Admission of requests to a server that is busy or gone."""

from __future__ import annotations

import re
import threading
import time

import pytest

from ostream.batch import backoff as module
from ostream.batch.backoff import SharedBackoff
from ostream.errors import ConnectError, OstreamError, ResponseError

BUSY = ResponseError("busy", 503)
REFUSED = ConnectError("refused")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "backoff", lambda pauses: 0.02 * pauses)


def run(backoff: SharedBackoff, outcomes: list[OstreamError | None]) -> int:
    """One request, with these outcomes of its attempts; how many were made."""
    for count, outcome in enumerate(outcomes, 1):
        if not backoff.enter():
            return count - 1
        if outcome is None:
            backoff.succeeded()
        elif outcome is BUSY:
            backoff.busy(outcome, 0)
        else:
            backoff.unreachable(outcome)
        backoff.leave()
    return len(outcomes)


def test_busy_answers_halve_the_requests_and_successes_add_one() -> None:
    backoff = SharedBackoff(16, 600, lambda: True)
    run(backoff, [BUSY, BUSY])
    assert backoff.limit == 4
    run(backoff, [BUSY] * 4)
    assert backoff.limit == 1
    run(backoff, [None] * 20)
    assert backoff.limit == 16


def test_no_more_requests_than_the_limit_are_admitted() -> None:
    backoff = SharedBackoff(3, 600, lambda: True)
    together: list[int] = []
    full = threading.Event()

    def work() -> None:
        for _ in range(5):
            assert backoff.enter()
            together.append(backoff.running)
            if len(together) == 3:
                full.set()
            assert full.wait(30)
            time.sleep(0.001)  # another thread would be admitted now
            backoff.leave()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(together) == 40
    assert max(together) == 3


def test_gone_server_is_probed_until_it_answers_and_nothing_else_is_sent() -> None:
    answers = iter([False, False, True])
    probes: list[bool] = []

    def probe() -> bool:
        probes.append(next(answers))
        assert not backoff.running
        return probes[-1]

    backoff = SharedBackoff(4, 600, probe)
    run(backoff, [None, REFUSED])
    backoff.unreachable(REFUSED)  # another request that was running
    threads = [threading.Thread(target=run, args=(backoff, [None])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert probes == [False, False, True]
    assert backoff.successes == 5


def test_rejection_while_another_request_runs_causes_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "backoff", lambda pauses: 3600)
    backoff = SharedBackoff(4, 600, lambda: True)
    assert backoff.enter()
    run(backoff, [BUSY, None])
    assert backoff.successes == 1


def test_pause_holds_all_requests() -> None:
    backoff = SharedBackoff(4, 600, lambda: True)
    begin = time.monotonic()
    backoff.pause(0.3)
    backoff.pause(0.1)
    run(backoff, [None])
    assert time.monotonic() - begin >= 0.3


def test_stop_ends_all_waits() -> None:
    backoff = SharedBackoff(4, 600, lambda: False)
    run(backoff, [None])
    backoff.busy(BUSY, 300)
    thread = threading.Thread(target=run, args=(backoff, [None]))
    thread.start()
    backoff.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert backoff.successes == 1


def test_waiting_is_reported_at_once_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    backoff = SharedBackoff(4, 600, lambda: False)
    assert backoff.report() == ""
    backoff.unreachable(REFUSED)
    assert backoff.report() == "server unreachable for 0 s (refused); waiting up to 600 s (--patience)"
    now += 29
    assert backoff.report() == ""
    now += 61
    assert backoff.report() == "server unreachable for 90 s; waiting up to 600 s (--patience)"
    backoff.succeeded()
    assert backoff.report() == ""
    backoff.busy(BUSY, 0)  # a busy server is no news each time
    assert backoff.report() == ""
    now += 31
    assert backoff.report() == "server busy for 31 s; waiting up to 600 s (--patience)"


@pytest.mark.parametrize(("error", "state", "status"), [(REFUSED, "unreachable", 69), (BUSY, "busy", 75)])
def test_patience_without_success_ends_the_run(
    error: OstreamError, state: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    backoff = SharedBackoff(4, 600, lambda: False)
    assert backoff.enter()  # a request that may still be answered
    run(backoff, [error])
    now += 601
    backoff.report()
    assert backoff.failure is None
    backoff.leave()
    backoff.report()
    assert backoff.failure
    assert str(backoff.failure) == f"the server has been {state} for 601 s; the last answer was: {error}"
    assert backoff.failure.exit_status == status
    assert not backoff.enter()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3600, r"3,600 s, until \d\d:\d\d:\d\d; "),
        (3e8, r"300,000,000 s, until 20\d\d-\d\d-\d\d \d\d:\d\d; "),
    ],
)
def test_longer_pause_than_the_patience_ends_the_run_at_once(seconds: float, text: str) -> None:
    backoff = SharedBackoff(4, 600, lambda: True)
    backoff.busy(BUSY, seconds)
    assert re.match(f"the server asked for a wait of {text}", str(backoff.failure))
    backoff.busy(BUSY, 2 * seconds)
    assert re.match(f"the server asked for a wait of {text}", str(backoff.failure))
