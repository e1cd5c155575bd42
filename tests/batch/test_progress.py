"""How far a batch has come, as a person sees it."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import time
from typing import Iterator

import pytest

from ostream.batch.jobs import measurable
from ostream.batch.progress import Progress, show_time
from ostream.errors import ResponseError
from ostream.system.diagnostics import Diagnostics

ANSWER = {"done": True, "eval_count": 1000, "eval_duration": 10**9}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (1.4, "1s"), (59.4, "59s"), (59.6, "1m00s"), (245, "4m05s"), (3599.9, "1h00m"), (7384, "2h03m")],
)
def test_a_time_for_a_person(seconds: float, shown: str) -> None:
    assert show_time(seconds) == shown


def test_plain_lines_come_now_and_then(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress(Diagnostics("batch"), total=1234, every=10)
    assert progress.is_shown
    progress.tick()
    progress.skip()
    progress.add(ANSWER)
    progress.fail(ResponseError("boom"), "id 7: ")
    progress.tick()
    now += 10
    progress.tick()
    progress.tick()
    progress.known(ANSWER)  # of an earlier run: in the sum, but not this run's rate
    now += 10
    progress.end()
    assert capfd.readouterr().err.splitlines() == [
        "batch: id 7: boom",
        "batch: 3/1,234, 1 failed, 100.0 tokens/s, 1h42m left",
        "batch: complete: 2; failures: 1 rejected; eval count: 2,000 token(s); eval rate: 1000.00 tokens/s; in 20s",
    ]


def test_of_an_unknown_total_no_end_is_told(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress(Diagnostics("batch"), every=1)
    now = 2.0
    progress.tick()
    progress.end()
    assert capfd.readouterr().err.splitlines() == [
        "batch: 0, 0 failed, 0.0 tokens/s",
        "batch: complete: 0; failures: none; eval count: 0 token(s); in 2s",
    ]


def test_in_a_pipe_nothing_is_shown_unasked(capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress(Diagnostics("batch"), total=2)
    assert not progress.is_shown
    progress.add(ANSWER)
    progress.tick()
    progress.note("a note")
    with progress.cleared():
        pass
    progress.end()
    assert capfd.readouterr().err == "batch: a note\n"


def test_the_counts_of_another_api_are_counts_too() -> None:
    assert measurable(ANSWER) is ANSWER
    assert measurable({"usage": {"prompt_tokens": 3}}) == {"prompt_eval_count": 3, "eval_count": None}
    assert measurable({"usage": None}) == {"usage": None}


@contextlib.contextmanager
def terminal_of_stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Our stderr is a terminal; gives its other side. (Within a test: around it, pytest takes stderr for itself.)"""
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
    """What a terminal shows up to this end, which must come; not always at once."""
    text = ""
    while not text.endswith(end):
        assert select.select([screen], [], [], 30)[0], f"nothing more after {text!r}"
        text += os.read(screen, 1000).decode()
    return text


def test_what_is_not_said_leaves_the_line_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal_of_stderr(monkeypatch) as screen:
        messages = Diagnostics("batch")
        progress = Progress(messages, total=2)
        progress.tick()
        assert shown(screen, "tokens/s") == "\r0/2, 0 failed, 0.0 tokens/s"
        progress.trace("one more request")
        messages.quiet = True
        progress.note("something happened")
        messages.verbose = True
        progress.trace("another")
        said = shown(screen, "\n")
    assert said.split("\r")[2:] == ["batch: another", "\n"]


def test_a_terminal_that_has_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal_of_stderr(monkeypatch) as screen:
        progress = Progress(Diagnostics("batch"), total=2)
        assert progress.is_shown
        os.close(screen)
        progress.tick()
        progress.end()
