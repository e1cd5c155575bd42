"""A running batch: signals, a reader that leaves, servers that are busy or gone, early stops, terminals."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, Iterator

import pytest

from ostream.batch import runner, sender
from ostream.batch.pool import Pool
from ostream.commands import batch
from ostream.recording.http_server import RequestHandler
from tests.commands.test_batch import JSON, asked, lines_of, reply
from tests.process import Process, call, environment, expect, feed, run, start
from tests.server import http_answer, send_raw, serve


class Gate:
    """A server that answers once `go` is set; `wait_for` waits until so many requests have arrived."""

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
            feed(process, asked(*["hi"] * requests))
            gate.wait_for(jobs)
            yield process, gate
        finally:
            gate.go.set()
            process.kill()
            process.communicate()


@pytest.mark.parametrize(("options", "number"), [([], signal.SIGINT), (["-k"], signal.SIGTERM)])
def test_first_interrupt_finishes_running_requests(options: list[str], number: signal.Signals) -> None:
    with at_work(*options) as (process, gate):
        process.send_signal(number)
        expect(process.stderr, b"batch: finishing 3 running requests; interrupt again to stop at once\n")
        gate.go.set()
        answers = process.stdout.read()
        assert process.wait(30) == -number
        assert process.stderr.read() == b"batch: interrupted; unsent requests have no output line\n"
    assert [line["done"] for line in lines_of(answers)] == [True] * 3


def test_interrupted_run_ends_by_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, where coverage sees it."""
    died: list[int] = []
    stopped = threading.Event()

    class StoppingPool(Pool):
        def stop(self) -> None:
            super().stop()
            stopped.set()

    monkeypatch.setattr(batch, "exit_by_signal", died.append)
    monkeypatch.setattr(runner, "Pool", StoppingPool)

    def respond(exchange: RequestHandler) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped.wait(30)
        reply(exchange)

    with serve(respond) as server:
        done = call("batch", "-m", "m", "-j1", "--host", server.url, stdin=asked("one", "two"))
    assert (died, len(lines_of(done.stdout))) == ([signal.SIGINT], 1)


def test_interrupt_ends_the_wait_for_input() -> None:
    with at_work(requests=2, jobs=2) as (process, gate):
        gate.go.set()
        assert [process.stdout.readline()[:1] for _ in range(2)] == [b"{"] * 2
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT


def test_second_interrupt_stops_at_once() -> None:
    with at_work() as (process, _):
        process.send_signal(signal.SIGINT)
        expect(process.stderr, b"batch: finishing 3 running requests")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        assert process.stdout.read() == b""


def test_interrupt_ends_the_wait_for_a_busy_server() -> None:
    with serve(send_raw(http_answer(503, b"", "Retry-After: 300"))) as server:
        with start("batch", "-m", "m", "--host", server.url) as process:
            feed(process, asked("hi"))
            expect(process.stderr, b"batch: server busy for ")
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == -signal.SIGINT
            assert lines_of(process.stdout.read())[0]["exit_status"] == 75
        assert len(server.requests) == 1  # type: ignore[attr-defined]


def test_ignored_interrupt_stays_ignored() -> None:
    """As in a background job of plain sh."""
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


@pytest.mark.parametrize("to_file", [False, True])
def test_hangup_stops_at_once(to_file: bool, tmp_path: Path) -> None:
    with at_work(*(["-o", str(tmp_path / "answers")] if to_file else [])) as (process, _):
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == -signal.SIGHUP
        assert process.stderr.read() == b""


def test_reader_leaving_stops_the_run_while_the_server_is_silent() -> None:
    with at_work() as (process, _):
        process.stdout.close()
        assert process.wait(30) == -signal.SIGPIPE
        process.stdout = None


def test_with_a_file_stdout_may_be_closed(tmp_path: Path) -> None:
    with at_work("-o", str(tmp_path / "answers"), requests=3) as (process, gate):
        process.stdout.close()
        process.stdin.close()
        gate.go.set()
        assert process.wait(30) == 0
        process.stdin = process.stdout = None
    assert len(lines_of((tmp_path / "answers").read_bytes())) == 3


def test_max_failures_stops_the_run() -> None:
    with serve(reply) as server:
        arguments = ["-m", "m", "-j1", "--max-failures", "2", "--host", server.url]
        done = call("batch", *arguments, stdin=asked("hi", "fail", "hi", "fail", "hi", "fail"))
        assert len(server.requests) == 4  # type: ignore[attr-defined]
    assert (done.returncode, len(lines_of(done.stdout))) == (1, 4)
    assert b"batch: stopped after 2 failure(s) (--max-failures)\n" in done.stderr


def busy_server(most: int) -> Callable[[RequestHandler], None]:
    """A server that answers so many requests at a time, slowly, and turns away the others."""
    free = threading.Semaphore(most)

    def respond(exchange: RequestHandler) -> None:
        if not free.acquire(blocking=False):
            exchange.send_body(503, JSON, b'{"error":"server busy"}')
            return
        time.sleep(0.05)
        free.release()
        reply(exchange)

    return respond


def test_busy_server_answers_every_request_in_the_end() -> None:
    with serve(busy_server(1)) as server:
        done = run("batch", "-qm", "m", "-j", "8", "--retry", "0", "--host", server.url, stdin=asked(*["hi"] * 24))
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(lines_of(done.stdout)) == 24


def test_longer_retry_after_than_the_patience_stops_at_once(tmp_path: Path) -> None:
    with serve(send_raw(http_answer(429, b"", "Retry-After: 7200"))) as server:
        arguments = ["-m", "m", "-j", "1", "-o", tmp_path / "answers", "--host", server.url]
        done = call("batch", *arguments, stdin=asked("a", "b", "c"))
        assert len(server.requests) == 1  # type: ignore[attr-defined]
    assert done.returncode == 75
    message = rb"batch: stopped: the server asked for a wait of 7,200 s, until .*; run it again later with --resume\n"
    assert re.search(message, done.stderr)


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        (["--host", "127.0.0.1:1", "--retry", "1"], 69, "stopped: 127.0.0.1:1: connection refused"),
        (["--host", "no-such-host.invalid"], 69, "stopped: no-such-host.invalid: host not found"),
    ],
)
def test_server_that_is_not_there_stops_the_run_with_one_message(options: list[str], status: int, text: str) -> None:
    done = call("batch", "-m", "m", "-j", "2", *options, stdin=asked(*["hi"] * 50))
    assert done.returncode == status
    assert len(lines_of(done.stdout)) <= 2
    assert done.stderr.decode().count("stopped: ") == 1
    assert text in done.stderr.decode()


def test_server_that_stays_away_stops_the_run(tmp_path: Path) -> None:
    """The first request is answered, and all others, probes included, break."""

    def respond(exchange: RequestHandler) -> None:
        reply(exchange) if b"first" in exchange.body else exchange.reset()

    with serve(respond) as server:
        arguments = ["-m", "m", "-j", "1", "--patience", "1", "-o", str(tmp_path / "answers"), "--host", server.url]
        done = call("batch", *arguments, stdin=asked("first", *["hi"] * 50))
    assert done.returncode == 3
    assert len(lines_of((tmp_path / "answers").read_bytes())) == 2
    start, stop, _ = done.stderr.decode().splitlines()
    assert re.match(r"batch: server unreachable for \d+ s(;| \()", start)
    assert re.match(
        r"batch: stopped: the server has been unreachable for \d+ s; .*; run it again later with --resume", stop
    )


def test_request_that_is_always_turned_away_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostream.batch.backoff.backoff", lambda pauses: 0.01)
    monkeypatch.setattr("ostream.batch.sender.MOST_REJECTIONS", 3)
    with serve(reply) as server:
        arguments = ["-qm", "m", "-j", "2", "--host", server.url]
        done = call("batch", *arguments, stdin=asked("hi", "fail503", *["ho"] * 100))
    assert (done.returncode, sum("error" in line for line in lines_of(done.stdout))) == (75, 1)


def test_wrong_path_stops_the_run() -> None:
    with serve(send_raw(http_answer(404, b"404 page not found", content_type="text/plain"))) as server:
        done = call("batch", "-m", "m", "-j", "1", "--host", server.url, stdin=asked(*["hi"] * 50))
    assert (done.returncode, len(lines_of(done.stdout))) == (1, 1)
    assert done.stderr.startswith(b"batch: stopped: 404 page not found (status code: 404); ")


def test_mistake_that_concerns_all_requests_stops_the_run() -> None:
    with serve(reply) as server:
        done = call("batch", "-m", "m", "-j", "1", "--host", server.url, stdin=asked(*["fail400"] * 50))
        assert len(server.requests) == 10  # type: ignore[attr-defined]
    assert (done.returncode, len(lines_of(done.stdout))) == (1, 10)
    assert done.stderr == b"batch: stopped: the first 10 requests failed: no such thing (status code: 400)\n"


def test_text_without_lines_stops_the_run() -> None:
    done = call("batch", "-j1", "-m", "m", "--host", "127.0.0.1:1", stdin=b"a question?\n" * 5000)
    assert done.returncode == 2
    assert len(lines_of(done.stdout)) == 10
    assert done.stderr == (
        b"batch: stopped: the first 10 rows can't be used: standard input:1: not JSON: Expecting value at column 1; "
        b"with --lines, each line is a prompt\n"
    )


def test_silent_server_stops_the_run(tmp_path: Path) -> None:
    with serve(Gate()) as server:
        arguments = ["-m", "m", "--stall-timeout", "1", "-o", tmp_path / "answers", "--host", server.url]
        done = run("batch", *arguments, stdin=asked("hi"))
    assert (done.returncode, (tmp_path / "answers").exists()) == (75, False)
    assert done.stderr == (
        b"batch: no byte was received on any connection for 1 s; is the server stuck? (--stall-timeout); "
        b"run it again later with --resume\n"
    )


def test_time_while_the_process_is_stopped_is_not_the_silence_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_s = 0
    ticks = threading.Semaphore(0)

    def monotonic() -> float:
        if stopped_s:
            ticks.release()
        return time.monotonic() + stopped_s

    def respond(exchange: RequestHandler) -> None:
        nonlocal stopped_s
        stopped_s = 5000
        for _ in range(3):
            assert ticks.acquire(timeout=60)
        reply(exchange)

    for module in (runner, sender):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=monotonic))
    with serve(respond) as server:
        assert call("batch", "-m", "m", "--host", server.url, stdin=asked("hi")).returncode == 0


def test_poisoned_request_is_sent_at_most_five_times(tmp_path: Path) -> None:
    """A request at which the connection breaks, while others are answered."""

    def respond(exchange: RequestHandler) -> None:
        if exchange.path == "/api/version" or b"poison" not in exchange.body:
            reply(exchange) if exchange.body else exchange.send_body(200, JSON, b"{}")
        else:
            exchange.reset()

    with serve(respond) as server:
        arguments = ["-qm", "m", "-j", "1", "-o", tmp_path / "answers", "--host", server.url]
        done = run("batch", *arguments, stdin=asked("hi", "poison", "ho"))
        sent = [exchange for exchange in server.requests if b"poison" in exchange.body]  # type: ignore[attr-defined]
    assert done.returncode == 3
    assert 3 <= len(sent) <= 5
    assert len(lines_of((tmp_path / "answers").read_bytes())) == 3


def test_limit_of_descriptors_may_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def listdir(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr("ostream.batch.runner.os.listdir", listdir)
    with serve(reply) as server:
        assert call("batch", "-m", "m", "--host", server.url, stdin=asked("hi")).stderr == b""


def test_few_descriptors_mean_fewer_requests_at_a_time() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serve(reply) as server:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 40, hard))
        try:
            done = call("batch", "-m", "m", "-j", "64", "--host", server.url, stdin=asked(*["hi"] * 200))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(lines_of(done.stdout)) == 200
    assert re.fullmatch(rb"batch: only \d+ files may be open \(ulimit -n\); \d+ request\(s\) at a time\n", done.stderr)
