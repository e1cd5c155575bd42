"""A running batch: signals, a reader that leaves, servers that are busy or gone, early stops, terminals."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

from ostream.batch.inputs import InputFormat
from ostream.batch.pool import TICK_S
from ostream.batch.row_count import count_rows
from ostream.commands import batch
from ostream.recording.http_server import RequestHandler
from tests.commands.test_batch import JSON, asked, lines_of, reply
from tests.process import Process, Terminal, call, environment, expect, run, sh, start
from tests.server import body_of, http_answer, send_raw, serve


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
            assert process.stdin
            process.stdin.write(asked(*["hi"] * requests))
            process.stdin.flush()
            gate.wait_for(jobs)
            yield process, gate
        finally:
            gate.go.set()
            process.kill()
            process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [[], ["-k"]])
def test_first_interrupt_finishes_running_requests(options: list[str], number: signal.Signals) -> None:
    with at_work(*options) as (process, gate):
        process.send_signal(number)
        expect(process.stderr, b"batch: finishing 3 running requests; interrupt again to stop at once\n")
        gate.go.set()
        assert process.stdout
        answers = process.stdout.read()
        assert process.wait(30) == -number
        assert process.stderr
        assert process.stderr.read() == b"batch: interrupted; unsent requests have no output line\n"
    assert [line["done"] for line in lines_of(answers)] == [True] * 3


def test_interrupted_run_ends_by_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_interrupt_ends_the_wait_for_input() -> None:
    with at_work(requests=2, jobs=2) as (process, gate):
        gate.go.set()
        assert process.stdout
        assert [process.stdout.readline()[:1] for _ in range(2)] == [b"{"] * 2
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT


def test_second_interrupt_stops_at_once() -> None:
    with at_work() as (process, _):
        process.send_signal(signal.SIGINT)
        expect(process.stderr, b"batch: finishing 3 running requests")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        assert process.stdout
        assert process.stdout.read() == b""


def test_interrupt_ends_the_wait_for_a_busy_server() -> None:
    with serve(send_raw(http_answer(503, b"", "Retry-After: 300"))) as server:
        process = start("batch", "-m", "m", "--host", server.url)
        with process:
            assert process.stdin and process.stderr and process.stdout
            process.stdin.write(asked("hi"))
            process.stdin.flush()
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
        assert process.stderr
        assert process.stderr.read() == b""


def test_reader_leaving_stops_the_run_while_the_server_is_silent() -> None:
    with at_work() as (process, _):
        assert process.stdout
        process.stdout.close()
        assert process.wait(30) == -signal.SIGPIPE
        process.stdout = None


def test_with_a_file_stdout_may_be_closed(tmp_path: Path) -> None:
    with at_work("-o", str(tmp_path / "answers"), requests=3) as (process, gate):
        assert process.stdout and process.stdin
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
    assert b"batch: stopped after 2 failures (--max-failures)\n" in done.stderr


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
        done = run("batch", *arguments, stdin=asked("a", "b", "c"))
        assert len(server.requests) == 1  # type: ignore[attr-defined]
    assert done.returncode == 75
    message = rb"batch: stopped: the server asks to wait for 7,200 s, until .*; run it again later with --resume\n"
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
    assert re.match(r"batch: server unreachable for \d s \(", start)
    assert re.match(
        r"batch: stopped: the server has been unreachable for \d s; .*; run it again later with --resume", stop
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
    assert b"no byte was received on any connection for 1 s" in done.stderr


def test_max_time_bounds_each_request() -> None:
    with serve(Gate()) as server:
        done = call("batch", "-m", "m", "--max-time", "0.3", "--host", server.url, stdin=asked("hi"))
    assert (done.returncode, lines_of(done.stdout)[0]["id"]) == (75, 0)


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


@pytest.mark.parametrize(("options", "tries"), [([], 4), (["--option", "temperature=0"], 2), (["--retry", "0"], 1)])
def test_answer_without_its_format_is_sent_again(options: list[str], tries: int) -> None:
    with serve(reply) as server:
        done = call("batch", "-m", "m", "-f", "json", *options, "--host", server.url, stdin=asked("no JSON"))
        assert len(server.requests) == tries  # type: ignore[attr-defined]
    (line,) = lines_of(done.stdout)
    assert (done.returncode, json.loads(line["partial"])["message"]["content"]) == (1, "no JSON")


def test_stream_is_folded_and_an_interrupted_one_is_kept() -> None:
    first, *_, last = body_of("chat-stream").splitlines(True)

    def respond(exchange: RequestHandler) -> None:
        assert json.loads(exchange.body)["stream"] is True
        exchange.head(200, "application/x-ndjson")
        exchange.chunk(first)
        if b"cut" in exchange.body:
            exchange.reset()
        else:
            exchange.chunk(last)
            exchange.end()

    with serve(respond) as server:
        done = call(
            "batch", "-k", "--stream", "--patience", "0", "-m", "m", "--host", server.url, stdin=asked("hi", "cut")
        )
    complete, interrupted = lines_of(done.stdout)
    text = json.loads(first)["message"]["content"]
    assert (complete["message"]["content"], complete["done"]) == (text, True)
    assert (interrupted["exit_status"], json.loads(interrupted["partial"])["message"]["content"]) == (3, text)


def test_gateway_timeout_without_stream_names_the_option() -> None:
    with serve(send_raw(http_answer(504))) as server:
        done = call("batch", "-m", "m", "--retry", "0", "--host", server.url, stdin=asked("hi"))
    assert b"; with --stream, a proxy's read timeout applies to each part of the answer\n" in done.stderr


def test_keys_of_a_server_are_replaced_and_traced() -> None:
    with serve(send_raw(http_answer(200, b'{"id":"x","custom_id":"y","response":"a","done":true}'))) as server:
        done = call("batch", "-v", "-m", "m", "--host", server.url, stdin=asked({"prompt": "hi"}))
    assert lines_of(done.stdout)[0]["id"] == 0
    assert b"batch: id 0: custom_id, id of the server's answer replaced\n" in done.stderr


def test_option_that_overrides_rows_is_noted_once() -> None:
    with serve(reply) as server:
        rows = asked({"model": "a", "prompt": "hi"}, {"model": "b", "prompt": "ho"})
        done = call("batch", "-m", "m", "--host", server.url, stdin=rows)
    assert done.stderr == b"batch: -m replaces the model given in the rows (first: standard input:1)\n"


def test_few_descriptors_mean_fewer_requests_at_a_time() -> None:
    with serve(reply) as server:
        command = f"ulimit -n 40; batch -m m -j 64 --host {server.url} | wc -l"
        done = sh(command, stdin=asked(*["hi"] * 200))
    assert done.stdout.strip() == b"200"
    assert re.fullmatch(rb"batch: only 40 files may be open \(ulimit -n\); \d requests at a time\n", done.stderr)


def test_limit_of_descriptors_may_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def listdir(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr("ostream.batch.runner.os.listdir", listdir)
    with serve(reply) as server:
        assert call("batch", "-m", "m", "--host", server.url, stdin=asked("hi")).stderr == b""


def test_few_descriptors_are_noted_in_this_process() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serve(reply) as server:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 40, hard))
        try:
            done = call("batch", "-m", "m", "-j", "64", "--host", server.url, stdin=asked("hi"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (done.returncode, b"requests at a time" in done.stderr) == (0, True)


def test_tools_and_recordings_are_sent(tmp_path: Path) -> None:
    (tmp_path / "tools").write_text('[{"type":"function","function":{"name":"f"}}]')
    (tmp_path / "bad").write_text("[1]")
    recording = asked({"request": {"path": "/api/chat", "body": {"messages": []}}}, {"done": True})
    options = ["-m", "m", "--tools", str(tmp_path / "tools"), "--dry-run"]
    done = call("batch", *options, stdin=recording)
    assert lines_of(done.stdout)[0]["request"]["body"]["tools"][0]["function"]["name"] == "f"
    assert b"batch: 1 lines are not requests, as in a recording, and were skipped\n" in done.stderr
    done = call("batch", "-m", "m", "--tools", str(tmp_path / "bad"))
    assert done.stderr.decode() == f"batch: --tools {tmp_path}/bad: must be a JSON array of tool schemas\n"


def test_dry_run_prints_requests_and_changes_nothing(tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    with serve(reply) as server:
        env = {"OLLAMA_HOST": server.url}
        options = ["-m", "m", "-o", str(answers), "--resume"]
        assert call("batch", *options, stdin=asked("one", "two"), env=env).returncode == 0
        before = answers.read_bytes()
        done = call("batch", *options, "--dry-run", stdin=asked("one", "new", "three", {"x": 1}), env=env)
        assert len(server.requests) == 2  # type: ignore[attr-defined]
    assert answers.read_bytes() == before
    (line,) = lines_of(done.stdout)
    assert (line["id"], line["request"]["body"]["messages"][0]["content"]) == (2, "three")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1] == (
        "batch: 1 requests would be sent (0 of them failed before); 1 are answered, 1 rows can't be used"
    )
    again = call("batch", "--dry-run", stdin=done.stdout, env=env)
    assert lines_of(again.stdout) == [line]
    assert call("batch", "--dry-run", stdin=b"\n", env=env).returncode == 3


def test_terminal_shows_progress(tmp_path: Path) -> None:
    (tmp_path / "requests").write_bytes(asked("one", "two", "fail"))
    gate = Gate()
    with serve(gate) as server:
        arguments = ["-km", "m", "--host", server.url, str(tmp_path / "requests")]
        with open(tmp_path / "answers", "wb") as answers:
            terminal = Terminal("batch", *arguments, on="stderr", columns=60, stdout=answers)
        terminal.show(b"\r0/3, 3 running")
        gate.go.set()
        shown = terminal.communicate()[0]
    assert len(lines_of((tmp_path / "answers").read_bytes())) == 3
    # The line is erased before a message, and carriage returns are the only control characters.
    assert "\rbatch: id 2: no such thing (status code: 404)" in shown
    assert (
        shown.rpartition("\n")[0].rpartition("\n")[2].lstrip("\r ").startswith("batch: complete: 2; failures: 1 (1 no")
    )
    assert "\x1b" not in shown


def test_terminal_shared_with_the_next_stage_is_not_rewritten() -> None:
    with serve(reply) as server:
        shown, stdout, _ = Terminal("batch", "-m", "m", "--host", server.url, on="stderr").communicate(asked("one"))
    assert len(lines_of(stdout.encode())) == 1
    assert re.fullmatch(r"batch: complete: 1; failures: none; .*\n", shown)


def test_answer_on_the_terminal_has_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "requests").write_bytes(asked("one", "two"))
    gate = Gate()
    with serve(gate) as server:
        arguments = ["-km", "m", "--host", server.url, str(tmp_path / "requests")]
        terminal = Terminal("batch", *arguments, on="stdout stderr")
        begin = terminal.show(b"0/2, 2 running").decode()
        gate.go.set()
        shown = begin + terminal.communicate()[0]
    assert [json.loads(line.rpartition("\r")[2])["id"] for line in shown.split("\n")[:2]] == [0, 1]


@pytest.mark.parametrize(("options", "env"), [([], {"TERM": "dumb"}), ([], {"NO_COLOR": "1"}), (["-q"], {})])
def test_progress_is_off_with_dumb_terminals_and_quiet(options: list[str], env: dict[str, str]) -> None:
    with serve(reply) as server:
        terminal = Terminal("batch", "-m", "m", *options, "--host", server.url, on="stderr", env=env)
        assert terminal.communicate(asked("hi"))[0] == ""


def test_requests_can_be_typed() -> None:
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


def test_total_is_known_for_regular_files(tmp_path: Path) -> None:
    for data, lines in ((b"1\n2\n", 2), (b"1\n2", 2), (b"", 0), (b"\n", 1)):
        (tmp_path / "a").write_bytes(data)
        assert count_rows([str(tmp_path / "a")] * 2, InputFormat()) == 2 * lines
    assert count_rows([str(tmp_path / "none")], InputFormat()) is None
    os.mkfifo(tmp_path / "fifo")
    assert count_rows([str(tmp_path / "fifo")], InputFormat()) is None  # it would wait for a writer, and then leave him
    screen, terminal = pty.openpty()
    assert count_rows([os.ttyname(terminal)], InputFormat()) is None
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


def test_with_o_stdout_may_be_closed(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a\n")
    with serve(reply) as server:
        result = sh(
            "batch -q -m m --lines -o answers rows >&-; batch -q -m m --lines --dry-run -o new rows >&- || echo $?;"
            "batch -o new --no-such >&- || echo $?",
            env={"OLLAMA_HOST": server.url},
            cwd=tmp_path,
        )
    assert (tmp_path / "answers").read_bytes().count(b"\n") == 1
    assert result.stdout == b"1\n2\n"
    assert result.stderr.decode().startswith("batch: standard output: closed\nbatch: ")
    assert result.stderr.count(b"\n") == 2


@pytest.mark.parametrize(("make", "problem"), [(os.mkfifo, "not a regular file"), (Path.mkdir, "not a regular file")])
def test_dry_run_refuses_a_file_that_is_not_regular(make: Callable[[Path], None], problem: str, tmp_path: Path) -> None:
    make(tmp_path / "a")
    done = call("batch", "-m", "m", "--dry-run", "-o", str(tmp_path / "a"), stdin=asked("hi"))
    assert (done.returncode, done.stderr.decode()) == (2, f"batch: {tmp_path / 'a'}: {problem}\n")


def test_dry_run_reports_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "a"))
        done = call("batch", "-m", "m", "--dry-run", "-o", str(tmp_path / "a"), stdin=asked("hi"))
    assert (done.returncode, done.stderr.decode()) == (2, f"batch: {tmp_path / 'a'}: No such device or address\n")


def test_input_must_not_be_standard_output(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.write_text("hi\n")
    with prompts.open("ab") as output:
        process = start("batch", "--lines", "-m", "m", str(prompts), stdout=output)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, b"is also" in stderr, prompts.read_text()) == (1, True, "hi\n")
