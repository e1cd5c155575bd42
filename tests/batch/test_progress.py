"""What a person sees of a batch: progress, totals, and failures by kind."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import time
from typing import Iterator

import pytest

from ostream.batch.failures import EARLY, FailureReport
from ostream.batch.jobs import Job
from ostream.batch.progress import PLAIN_S, SHARED_S, SLOW_S, Progress, show_time
from ostream.errors import IncompleteStream, OstreamError, RequestError, ResponseError, StreamTimeout
from ostream.system.diagnostics import Diagnostics

ANSWER = {"done": True, "eval_count": 1000, "eval_duration": 10**9}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (1.4, "1s"), (59.4, "59s"), (59.6, "1m00s"), (245, "4m05s"), (3599.9, "1h00m"), (7384, "2h03m")],
)
def test_time_is_shown_in_two_units(seconds: float, shown: str) -> None:
    assert show_time(seconds) == shown


class Clock:
    now = 1000.0


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


def test_rates_count_from_the_first_request(capfd: pytest.CaptureFixture[str], clock: Clock) -> None:
    progress = Progress(Diagnostics("batch"), every=10)
    progress.total, progress.running = 1234, lambda: 4
    clock.now += 100  # while a file is read
    progress.tick()
    progress.begin()
    clock.now += 5
    progress.begin()
    progress.skip()
    progress.add(ANSWER)
    progress.fail(ResponseError("boom"), "boom")
    clock.now += 5
    progress.tick()
    progress.tick()
    clock.now += 10
    progress.end()
    assert capfd.readouterr().err.splitlines() == [
        "batch: 0/1,234, 4 running",
        "batch: 3/1,234, 1 failed, 4 running, 0.1 answers/s, 100.0 tokens/s, 10s elapsed, 1h42m left",
        (
            "batch: complete: 1; failures: 1 (1x boom); skipped: 1 (answered before, blank or repeated); "
            "eval count: 1,000 token(s); throughput: 0.1 answers/s, 50.0 tokens/s; "
            "average per request: 1000.0 tokens/s; in 20s"
        ),
    ]


def test_without_a_total_there_is_no_time_left(capfd: pytest.CaptureFixture[str], clock: Clock) -> None:
    progress = Progress(Diagnostics("batch"))
    progress.begin()
    clock.now += PLAIN_S - 1
    progress.tick()
    clock.now += 1
    progress.tick()
    for kind in ("a 1", "b" * 90, "c", "d", "e", "a 2"):
        progress.fail(OstreamError(kind), kind)
    progress.end()
    assert capfd.readouterr().err.splitlines() == [
        "batch: 0, 0 running, 0.0 answers/s, 0.0 tokens/s, 1m00s elapsed",
        f"batch: complete: 0; failures: 6 (2x a 1, 1x {'b' * 77}..., 1x c, 2 others); in 1m00s",
    ]


def test_short_run_into_a_pipe_has_no_totals(capfd: pytest.CaptureFixture[str], clock: Clock) -> None:
    for seconds, count in ((1, 0), (PLAIN_S, 1)):
        progress = Progress(Diagnostics("batch"), totals=False)
        progress.begin()
        clock.now += seconds
        progress.end()
        assert len(capfd.readouterr().err.splitlines()) == count


@pytest.mark.parametrize("value", [5e-324, 1e308, -1, True, "1", None, [], 10**400])
def test_numbers_of_a_server_do_no_harm(value: object, capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress(Diagnostics("batch"), every=1e-9)
    progress.begin()
    progress.add({"done": True, "eval_count": value, "eval_duration": value, "prompt_eval_count": value})
    progress.tick()
    progress.end()
    assert "complete: 1;" in capfd.readouterr().err


def test_quiet_shows_failures_alone(capfd: pytest.CaptureFixture[str]) -> None:
    diagnostics = Diagnostics("batch")
    diagnostics.quiet = True
    progress = Progress(diagnostics)
    assert not progress.is_shown
    progress.begin()
    progress.add(ANSWER)
    progress.tick()
    progress.note("a note")
    progress.trace("a trace")
    progress.print_failure(OstreamError("boom", advice="do"), "id 1: ")
    progress.end()
    assert capfd.readouterr().err == "batch: id 1: boom; do\n"


@contextlib.contextmanager
def terminal_of_stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Make our stderr a terminal; yields its other side. (Not a fixture: pytest would take stderr back.)"""
    screen, terminal = pty.openpty()
    saved = os.dup(2)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    try:
        os.dup2(terminal, 2)
        yield screen
    finally:
        os.dup2(saved, 2)
        for fd in (screen, saved, terminal):
            with contextlib.suppress(OSError):
                os.close(fd)


def shown(screen: int, end: str) -> str:
    """What a terminal shows up to this end."""
    text = ""
    while not text.endswith(end):
        assert select.select([screen], [], [], 30)[0], f"nothing more after {text!r}"
        text += os.read(screen, 1000).decode()
    return text


def test_slow_reading_of_a_file_is_shown(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    with terminal_of_stderr(monkeypatch) as screen:
        progress = Progress(Diagnostics("batch"))
        progress.reading("FILE", 10, 100)
        clock.now += 2 * SLOW_S
        progress.reading("FILE", 50, 100)
        progress.reading("FILE", 51, 100)
        progress.tick()
        assert shown(screen, "running     ") == "\rreading FILE: 50%\r0, 0 running     "


def test_shared_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    with terminal_of_stderr(monkeypatch) as screen:
        progress = Progress(Diagnostics("batch"), shared=True)
        progress.tick()
        clock.now += SHARED_S
        progress.tick()
        assert shown(screen, "\n") == "batch: 0, 0 running\r\n"


def test_terminal_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal_of_stderr(monkeypatch) as screen:
        progress = Progress(Diagnostics("batch"))
        assert progress.is_shown
        os.close(screen)
        progress.tick()
        progress.end()


def job(id: int, failure: OstreamError | None = None) -> Job:
    job = Job(id, f"FILE:{id + 1}")
    job.failure = failure
    return job


def report(had_success: bool = False) -> FailureReport:
    return FailureReport(Progress(Diagnostics("batch")), had_success)


@pytest.mark.parametrize(
    "break_off",
    [
        lambda failures: failures.succeeded(),
        lambda failures: failures.add(job(99), ResponseError("another", 400)),
        lambda failures: failures.add(job(99), StreamTimeout("late", "idle")),
        lambda failures: failures.add(job(99), IncompleteStream("truncated")),
        lambda failures: failures.finish(),
    ],
)
def test_held_failures_are_printed_when_they_do_not_concern_all(
    break_off: object, capfd: pytest.CaptureFixture[str]
) -> None:
    failures = report()
    failures.add(job(1), ResponseError("no", 400))
    assert capfd.readouterr().err == ""
    break_off(failures)  # type: ignore[operator]
    assert capfd.readouterr().err.startswith("batch: id 1: no (status code: 400)\n")


def test_after_an_earlier_success_failures_do_not_stop_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    failures = report(had_success=True)
    for number in range(3 * EARLY):
        assert failures.add(job(number), ResponseError("no", 400)) is None
    failures._progress.end()
    first, *_, last = capfd.readouterr().err.splitlines()
    assert (first, last) == ("batch: id 0: no (status code: 400)", "batch: 25 more: no (status code: 400)")


def test_rows_that_are_only_reported_never_stop_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    failures = report()
    for number in range(EARLY + 1):
        error = RequestError(f"FILE:{number + 1}: id 1 has another request")
        failures.add_row(job(number, error), error)
    assert capfd.readouterr().err.count("has another request") == 5


def test_input_that_cannot_be_read_is_printed_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    error = RequestError("no-file: No such file")
    report().add(job_of_input(error), error)
    assert capfd.readouterr().err == "batch: no-file: No such file\n"


def job_of_input(error: OstreamError) -> Job:
    job = Job()
    job.failure = error
    return job
