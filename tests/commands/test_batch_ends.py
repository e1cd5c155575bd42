"""batch while it runs: signals, readers who leave, a busy server, and what a person sees."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Iterator

import pytest

from ostream.batch.pool import TICK_S
from ostream.commands import batch
from ostream.commands.batch import _count
from ostream.recording.http_server import RequestHandler
from tests.commands.test_batch import asked, lines_of, reply
from tests.process import Process, Terminal, call, environment, expect, start
from tests.server import http_answer, send_raw, serve


class Gate:
    """A server that answers when it is told to, and says when so many requests have come."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.arrived = threading.Semaphore(0)

    def __call__(self, exchange: RequestHandler) -> None:
        self.arrived.release()
        assert self.go.wait(60)
        reply(exchange)

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.arrived.acquire(timeout=60)


@contextlib.contextmanager
def at_work(*arguments: str, requests: int = 10, jobs: int = 3) -> Iterator[tuple[subprocess.Popen[bytes], Gate]]:
    """A batch whose first requests are under way, and whose input stays open."""
    gate = Gate()
    with serve(gate) as server:
        process = start("batch", "-m", "m", "-j", str(jobs), "--host", server.url, *arguments)
        try:
            assert process.stdin
            process.stdin.write(asked(*["hi"] * requests))
            process.stdin.flush()
            gate.wait_for(jobs)
            yield process, gate
        finally:
            gate.go.set()
            process.kill()
            process.communicate()


@pytest.mark.parametrize("options", [[], ["-k"]])
def test_ctrl_c_once_finishes_what_runs(options: list[str]) -> None:
    with at_work(*options) as (process, gate):
        process.send_signal(signal.SIGINT)
        expect(process.stderr, b"batch: finishing 3 requests that run; once more: stop now\n")
        gate.go.set()
        assert process.stdout
        answers = process.stdout.read()
        assert process.wait(30) == -signal.SIGINT
        assert process.stderr
        assert process.stderr.read() == b"batch: interrupted; what was not asked has no line\n"
    assert [line["done"] for line in lines_of(answers)] == [True] * 3


def test_an_interrupted_run_dies_at_its_end_by_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, where coverage sees it."""
    died: list[int] = []
    monkeypatch.setattr(batch, "exit_by_signal", died.append)

    def respond(exchange: RequestHandler) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(3 * TICK_S)
        reply(exchange)

    with serve(respond) as server:
        done = call("batch", "-m", "m", "-j1", "--host", server.url, stdin=asked("one", "two"))
    assert (died, len(lines_of(done.stdout))) == ([signal.SIGINT], 1)


def test_ctrl_c_finishes_while_the_input_is_silent() -> None:
    with at_work(requests=2, jobs=2) as (process, gate):
        gate.go.set()
        assert process.stdout
        assert [process.stdout.readline()[:1] for _ in range(2)] == [b"{"] * 2
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT


def test_ctrl_c_twice_stops_now() -> None:
    with at_work() as (process, _):
        process.send_signal(signal.SIGINT)
        expect(process.stderr, b"batch: finishing 3 requests")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        assert process.stdout
        assert process.stdout.read() == b""


def test_ctrl_c_ends_the_wait_for_better_times() -> None:
    with serve(send_raw(http_answer(503, b"", "Retry-After: 300"))) as server:
        process = start("batch", "-m", "m", "--host", server.url)
        with process:
            assert process.stdin and process.stderr and process.stdout
            process.stdin.write(asked("hi"))
            process.stdin.flush()
            expect(process.stderr, b"batch: empty response (status code: 503); try 1 of 3 in 300.0 s\n")
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == -signal.SIGINT
            assert lines_of(process.stdout.read())[0]["exit_status"] == 75
        assert len(server.requests) == 2  # type: ignore[attr-defined]


def test_an_ignored_interrupt_stays_ignored() -> None:
    """As behind the & of a plain sh."""
    gate = Gate()
    with serve(gate) as server:
        command = [sys.executable, "-m", "ostream", "batch", "-m", "m", "--host", server.url]
        ignoring = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with Process(ignoring, env=environment(), **pipes) as process:
            process.stdin.write(asked("hi"))
            process.stdin.close()
            gate.wait_for(1)
            process.send_signal(signal.SIGINT)
            gate.go.set()
            assert (process.stdout.read().count(b"\n"), process.stderr.read()) == (1, b"")
            assert process.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("to_file", [False, True])
def test_other_signals_stop_now(number: signal.Signals, to_file: bool, tmp_path: Path) -> None:
    with at_work(*(["-o", str(tmp_path / "answers")] if to_file else [])) as (process, _):
        process.send_signal(number)
        assert process.wait(30) == -number
        assert process.stderr
        assert process.stderr.read() == b""


def test_a_reader_who_leaves_stops_it_while_the_server_is_silent() -> None:
    with at_work() as (process, _):
        assert process.stdout
        process.stdout.close()
        assert process.wait(30) == -signal.SIGPIPE
        process.stdout = None


def test_with_a_file_nobody_needs_to_read_standard_output(tmp_path: Path) -> None:
    with at_work("-o", str(tmp_path / "answers"), requests=3) as (process, gate):
        assert process.stdout and process.stdin
        process.stdout.close()
        process.stdin.close()
        gate.go.set()
        assert process.wait(30) == 0
        process.stdin = process.stdout = None
    assert len(lines_of((tmp_path / "answers").read_bytes())) == 3


def test_after_so_many_failures_nothing_more_is_sent() -> None:
    with serve(reply) as server:
        arguments = ["-m", "m", "-j1", "--max-failures", "2", "--host", server.url]
        done = call("batch", *arguments, stdin=asked("hi", "fail", "hi", "fail", "hi", "fail"))
        assert len(server.requests) == 4  # type: ignore[attr-defined]
    assert (done.returncode, len(lines_of(done.stdout))) == (1, 4)
    assert b"batch: 2 failures: no more requests are sent\n" in done.stderr


def test_when_one_must_wait_all_do() -> None:
    """The first of two requests is refused; while its worker waits, the other one sends nothing."""
    lock = threading.Lock()
    waiting = threading.Event()
    times: list[float] = []

    def respond(exchange: RequestHandler) -> None:
        with lock:
            times.append(time.monotonic())
            first = len(times) == 1
        if first:
            exchange.raw(http_answer(429, b"", "Retry-After: 2"))
        else:
            assert waiting.wait(60)
            reply(exchange)

    with serve(respond) as server:
        process = start("batch", "-m", "m", "-j", "2", "--host", server.url)
        with process:
            assert process.stdin and process.stdout and process.stderr
            process.stdin.write(asked(*map(str, range(6))))
            process.stdin.close()
            expect(process.stderr, b"batch: empty response (status code: 429); try 1 of 3 in 2.0 s\n")
            time.sleep(0.5)  # long enough for the pause to begin; and for the other request to have been sent
            waiting.set()
            assert len(process.stdout.read().splitlines()) == 6
            assert process.wait(30) == 0
    assert len(times) == 7
    first, *others = times
    # One was sent together with the first; all others after the pause.
    assert sum(second - first < 1.9 for second in others) <= 1


@pytest.mark.parametrize(("options", "said"), [([], 0), (["-v"], 1)])
def test_that_all_wait_is_said_once(options: list[str], said: int) -> None:
    """The second request fails while the first already holds all: only who asks is told."""
    busy = http_answer(429, b"", "Retry-After: 2")
    waiting = threading.Event()
    lock = threading.Lock()
    count = 0

    def respond(exchange: RequestHandler) -> None:
        nonlocal count
        with lock:
            count += 1
            number = count
        if number == 2:
            assert waiting.wait(60)
        exchange.raw(busy) if number <= 2 else reply(exchange)

    with serve(respond) as server:
        process = start("batch", "-m", "m", "-j", "2", *options, "--host", server.url)
        with process:
            assert process.stdin and process.stdout and process.stderr
            process.stdin.write(asked("a", "b"))
            process.stdin.close()
            assert any(b"; try 1 of 3 in 2.0 s" in line for line in iter(process.stderr.readline, b""))
            time.sleep(0.5)  # long enough for the pause to begin
            waiting.set()
            assert process.stderr.read().count(b"; try ") == said
            assert len(process.stdout.read().splitlines()) == 2
            assert process.wait(30) == 0


def test_the_sum_agrees_with_stats(tmp_path: Path) -> None:
    requests = asked("one", "two", "fail", "cut", "three", "fail503")
    (tmp_path / "requests").write_bytes(requests)
    answers = tmp_path / "answers"
    with serve(reply) as server:
        arguments = ["-m", "m", "--retry", "0", "--progress", "-o", answers, "--resume", "--host", server.url]
        first = call("batch", *arguments, tmp_path / "requests")
        again = call("batch", *arguments, tmp_path / "requests")
    known = json.loads(call("stats", "--summary", "--json", answers).stdout)
    failures = ", ".join(f"{count} {kind}" for kind, count in known["failures"].items())
    for done in (first, again):
        # With failures taken out and tried again, the second run is about all answers, too.
        said = done.stderr.decode().splitlines()[-1]
        assert said.startswith("batch: complete: 3; failures: ")
        found = re.search(r"failures: (.*); eval count: (\d+) token\(s\); eval rate: ([\d.]+) tokens/s; in ", said)
        assert found
        assert sorted(found[1].split(", ")) == sorted(failures.split(", "))
        assert (int(found[2]), found[3]) == (known["eval_count"], f"{known['eval_rate']:.2f}")
    assert known["complete"] == 3


def test_a_terminal_sees_how_far_it_is(tmp_path: Path) -> None:
    (tmp_path / "requests").write_bytes(asked("one", "two", "fail"))
    gate = Gate()
    with serve(gate) as server:
        arguments = ["-km", "m", "--host", server.url, str(tmp_path / "requests")]
        with open(tmp_path / "answers", "wb") as answers:
            terminal = Terminal("batch", *arguments, on="stderr", columns=60, stdout=answers)
        terminal.show(b"\r0/3, 0 failed, 0.0 tokens/s")
        gate.go.set()
        shown = terminal.communicate()[0]
    assert len(lines_of((tmp_path / "answers").read_bytes())) == 3
    # The line is taken off before anything else is said, and nothing steers the terminal but a carriage return.
    assert "\rbatch: id 2: no such thing (status code: 404)" in shown
    assert shown.rpartition("\n")[0].rpartition("\n")[2].lstrip("\r ").startswith("batch: complete: 2; failures: 1 rej")
    assert "\x1b" not in shown


def test_who_shares_a_terminal_with_the_next_stage_writes_over_nothing() -> None:
    with serve(reply) as server:
        shown, stdout, _ = Terminal("batch", "-m", "m", "--host", server.url, on="stderr").communicate(asked("one"))
    assert len(lines_of(stdout.encode())) == 1
    assert re.fullmatch(r"batch: complete: 1; failures: none; .*\n", shown)


def test_on_one_terminal_an_answer_has_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "requests").write_bytes(asked("one", "two"))
    gate = Gate()
    with serve(gate) as server:
        arguments = ["-km", "m", "--host", server.url, str(tmp_path / "requests")]
        terminal = Terminal("batch", *arguments, on="stdout stderr")
        begin = terminal.show(b"0/2, 0 failed, 0.0 tokens/s").decode()
        gate.go.set()
        shown = begin + terminal.communicate()[0]
    assert [json.loads(line.rpartition("\r")[2])["id"] for line in shown.split("\n")[:2]] == [0, 1]


@pytest.mark.parametrize(("options", "env"), [([], {"TERM": "dumb"}), ([], {"NO_COLOR": "1"}), (["-q"], {})])
def test_who_wants_no_progress_sees_none(options: list[str], env: dict[str, str]) -> None:
    with serve(reply) as server:
        terminal = Terminal("batch", "-m", "m", *options, "--host", server.url, on="stderr", env=env)
        assert terminal.communicate(asked("hi"))[0] == ""


def test_requests_may_be_typed() -> None:
    with serve(reply) as server:
        terminal = Terminal("batch", "-m", "m", "--host", server.url, on="stdin")
        attributes = termios.tcgetattr(terminal.slave)
        attributes[3] |= termios.ICANON  # so that Ctrl-D is the end
        termios.tcsetattr(terminal.slave, termios.TCSANOW, attributes)
        os.write(terminal.screen, asked("hi") + b"\4")
        with terminal.process:
            assert terminal.process.stdout and terminal.process.stderr
            assert json.loads(terminal.process.stdout.read())["message"]["content"] == "hi"
            hint = b"batch: reading requests from the terminal; end them with Ctrl-D\n"
            assert terminal.process.stderr.read() == hint
            assert terminal.process.wait(30) == 0
    for fd in (terminal.screen, terminal.slave):
        os.close(fd)


def test_the_total_is_known_for_files_alone(tmp_path: Path) -> None:
    for data, lines in ((b"1\n2\n", 2), (b"1\n2", 2), (b"", 0), (b"\n", 1)):
        (tmp_path / "a").write_bytes(data)
        assert _count([str(tmp_path / "a")] * 2) == 2 * lines
    assert _count([str(tmp_path / "none")]) is None
    os.mkfifo(tmp_path / "fifo")
    assert _count([str(tmp_path / "fifo")]) is None  # it would wait for a writer, and then leave him
    screen, terminal = pty.openpty()
    assert _count([os.ttyname(terminal)]) is None
    os.close(screen)
    os.close(terminal)
    with serve(reply) as server, open(tmp_path / "b", "wb+") as stdin:
        stdin.write(asked("one", "two"))
        stdin.flush()
        for position, expected in ((0, 2), (6, 1)):
            stdin.seek(position)
            process = start("batch", "-m", "m", "--progress", "--host", server.url, stdin=stdin)
            stdout, stderr = process.communicate(timeout=60)
            assert process.returncode == 0, stderr
            assert len(lines_of(stdout)) == expected
