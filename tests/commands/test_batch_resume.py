"""batch -o FILE --resume: answers survive kills, a full disk and a server that restarts."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ostream.recording.http_server import RequestHandler
from tests.commands.test_batch import JSON, asked, lines_of, reply
from tests.process import BIN, call, run, sh, start
from tests.server import Answers, http_answer, read_request, reserved_port, serve, tcp

# Runs to kill; make kill sets it to 1,000.
KILLS = int(os.environ.get("KILLS", "0"))


@pytest.fixture(name="answers")
def _answers(tmp_path: Path) -> Path:
    return tmp_path / "answers"


def batch(answers: Path, *arguments: str, stdin: bytes, **options: Any) -> Any:
    return call("batch", "-m", "m", "-o", str(answers), "--resume", *arguments, stdin=stdin, **options)


def test_only_unanswered_requests_are_sent_again(answers: Path) -> None:
    requests = [{"id": "a", "prompt": "A"}, "B", {"id": "c", "prompt": "fail"}, "cut"]
    with serve(reply) as server:
        first = batch(answers, "--host", server.url, stdin=asked(*requests[:3]))
        assert (first.returncode, first.stdout) == (1, b"")
        assert len(lines_of(answers.read_bytes())) == 3
        second = batch(answers, "--host", server.url, stdin=asked(*requests))
        assert len(server.requests) == 3 + 2  # type: ignore[attr-defined]
    assert second.returncode == 1
    assert f"batch: {answers}: removed 1 failed, blank or repeated line(s)".encode() in second.stderr
    lines = {line["id"]: line for line in lines_of(answers.read_bytes())}
    assert {id: "error" in line for id, line in lines.items()} == {"a": False, 1: False, "c": True, 3: True}


def test_nothing_is_sent_when_all_is_answered(answers: Path) -> None:
    stdin = asked("one", "two")
    with serve(reply) as server:
        assert batch(answers, "--host", server.url, stdin=stdin).returncode == 0
    before = answers.read_bytes()
    done = batch(answers, "--host", "127.0.0.1:1", stdin=stdin)
    note = f"batch: {answers}: every request is answered (2); nothing was sent\n"
    assert (done.returncode, done.stdout, done.stderr.decode()) == (0, b"", note)
    other = b'{"done":true,"id":0,"body_sha256":"%b"}\n' % (b"0" * 64)
    answers.write_bytes(before + other + before)
    done = batch(answers, "--host", "127.0.0.1:1", stdin=stdin)
    moved = f"moved 1 answer(s) to {answers}.replaced, because their ids have answers to other requests\n"
    assert moved in done.stderr.decode()
    assert (answers.read_bytes(), Path(f"{answers}.replaced").read_bytes()) == (before, other)
    assert answers.read_bytes() == before


def test_answers_of_standard_output_can_be_continued(answers: Path) -> None:
    with serve(reply) as server:
        answers.write_bytes(call("batch", "-m", "m", "--host", server.url, stdin=asked("one")).stdout)
        assert batch(answers, "--host", server.url, stdin=asked("one", "two")).returncode == 0
        assert len(server.requests) == 2  # type: ignore[attr-defined]
    assert [line["id"] for line in lines_of(answers.read_bytes())] == [0, 1]


def test_changed_requests_keep_their_answers(answers: Path) -> None:
    one, other = {"id": "a", "prompt": "A"}, {"id": "a", "prompt": "other"}
    with serve(reply) as server:
        env = {"OLLAMA_HOST": server.url}
        assert batch(answers, stdin=asked(one, "x", one), env=env).returncode == 0
        assert len(server.requests) == 2  # type: ignore[attr-defined]
        kept = batch(answers, stdin=asked(other, "x", "new"), env=env)
        assert (kept.returncode, len(server.requests)) == (2, 3)  # type: ignore[attr-defined]
        assert b'1 request changed since it was answered (id "a"); use --changed=resend to send it again' in kept.stderr


def test_file_that_is_removed_while_written_is_an_output_error(answers: Path) -> None:
    def respond(exchange: RequestHandler) -> None:
        with contextlib.suppress(FileNotFoundError):
            answers.unlink()
        with contextlib.suppress(ConnectionError):
            exchange.connection.recv(1)  # returns when the client leaves

    with serve(respond) as server:
        done = run("batch", "-m", "m", "-o", answers, "--host", server.url, stdin=asked("A", "B"))
    assert done.returncode == 1
    assert done.stderr.decode() == f"batch: {answers}: the file was removed while answers were written to it\n"


class Careless:
    """A server that fails now and then; `asked` are the prompts of its requests, by the run that sent them."""

    def __init__(self, luck: random.Random) -> None:
        self.luck = luck
        self.asked: dict[str, set[str]] = defaultdict(set)

    def __call__(self, exchange: RequestHandler) -> None:
        if exchange.command == "GET":
            exchange.send_body(200, JSON, b"{}")
            return
        self.asked[exchange.headers["X-Run"]].add(json.loads(exchange.body)["messages"][0]["content"])
        chance = self.luck.random()
        time.sleep(chance / 50)
        if chance < 0.03:
            exchange.send_body(500, JSON, b'{"error":"boom"}')
        elif chance < 0.035:
            exchange.reset()
        else:
            reply(exchange)


def texts_of(path: Path) -> list[str]:
    """The answers of a file, with or without its last newline."""
    texts = []
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        with contextlib.suppress(ValueError):
            answer = json.loads(line)
            texts += [answer["message"]["content"]] if "error" not in answer else []
    return texts


@pytest.mark.parametrize("kind", ["lines", "csv"])
def test_killed_at_any_instant_each_request_is_answered_once(kind: str, answers: Path, full: bool) -> None:
    """With a table, rows are edited, inserted and removed between the kills."""
    goal = (KILLS or (40 if full else 10)) // 2
    seed = random.randrange(1 << 32)
    luck = random.Random(seed)
    server_side = Careless(luck)
    requests, replaced = answers.parent / "requests", Path(f"{answers}.replaced")
    rows = [str(number) for number in range(60)]
    fresh = 60
    kills = 0
    numbers = itertools.count()
    options = ["--lines"] if kind == "lines" else ["--csv", "--prompt", "{text}", "--changed=resend"]
    with serve(server_side) as server:
        arguments = ["-qm", "m", "-j", "8", *options, "-o", str(answers), "--resume", "--host", server.url]

        def run_again(seconds: float | None) -> int:
            """Run until it ends, or is killed; its status."""
            requests.write_text("\n".join([*(["text"] if kind == "csv" else []), *rows, ""]))
            known = set(texts_of(answers))
            number = str(next(numbers))
            more = ["--header", f"X-Run: {number}", requests]
            process = start("batch", *arguments, *more, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60 if seconds is None else seconds)
            process.kill()
            process.communicate()
            texts = texts_of(answers)
            assert not known & server_side.asked[number], f"seed {seed}: sent again"
            assert known <= {*texts, *texts_of(replaced)}, f"seed {seed}: lost {known - set(texts)}"
            assert len(texts) == len(set(texts)), f"seed {seed}: answered twice: {Counter(texts).most_common(3)}"
            return process.returncode

        while kills < goal:
            for _ in range(min(luck.randint(1, 8), goal - kills)):
                if kind == "csv" and luck.random() < 0.5:
                    at, count = luck.randrange(len(rows)), luck.randrange(3)
                    rows[at : at + luck.randrange(3)] = [str(fresh + number) for number in range(count)]
                    fresh += count
                # Some while the file is read and repaired, some while requests run.
                kills += run_again(luck.uniform(0.05, 0.8)) == -signal.SIGKILL
            # Failures of the server are tried again by the next run.
            assert any(run_again(None) == 0 for _ in range(50)), f"seed {seed}"
            lines = {line["id"]: line["message"]["content"] for line in lines_of(answers.read_bytes())}
            assert [lines[number] for number in range(len(rows))] == rows, f"seed {seed}"
            expected = {"answers", "requests", *(["answers.replaced"] if kind == "csv" else [])}
            assert {"answers", "requests"} <= set(os.listdir(answers.parent)) <= expected, f"seed {seed}"
            answers.unlink()


def test_full_disk_ends_the_run_and_resume_continues_it(answers: Path) -> None:
    requests = asked(*map(str, range(30)))
    with serve(reply) as server:
        # By the launcher, which coverage does not see into, and without bytecode: those files would be cut, too.
        command = f"python3 -BIS {BIN}/batch -m m -o {answers} --resume --host {server.url}"
        for blocks in (1, 3, 5):
            full = sh(f"ulimit -f {blocks}; {command}", stdin=requests)
            assert full.returncode == 1
            assert (
                f"batch: {answers}: File too large; run the same command with --resume to continue\n".encode()
                in full.stderr
            )
            texts = texts_of(answers)
            assert 0 < len(texts) == len(set(texts)) < 30
            assert answers.read_bytes().endswith(b"}\n")
        assert sh(command, stdin=requests).returncode == 0
    assert sorted(line["id"] for line in lines_of(answers.read_bytes())) == list(range(30))


ANSWER = http_answer(200, b'{"model":"m","message":{"role":"assistant","content":"hi"},"done":true}')


def test_restarted_server_is_waited_for(answers: Path) -> None:
    """No request fails, and none is sent more than a few times; with OUTAGE=90 the server is away for so long."""

    class Dying(Answers):
        """Answers ten requests, accepts the others and then is gone."""

        def __call__(self, connection: socket.socket) -> None:
            if len(self.requests) < 10:
                super().__call__(connection)
            else:
                with connection:
                    self.lost.append(read_request(connection)[2])
                enough.set()

        lost: ClassVar[list[bytes]] = []

    enough = threading.Event()
    first, second = Dying(ANSWER), Answers(ANSWER)
    with reserved_port() as port:
        with tcp(first, socket.create_server(("127.0.0.1", port), backlog=100)):
            arguments = ["-m", "m", "-j", "16", "-o", str(answers), "--retry", "0", "--host", f"127.0.0.1:{port}"]
            process = start("batch", *arguments)
            process.stdin.write(asked(*map(str, range(60))))
            process.stdin.close()
            assert enough.wait(30)
        with process:
            assert b"batch: server unreachable for " in process.stderr.readline()
            time.sleep(float(os.environ.get("OUTAGE", "1")))
            with tcp(second, socket.create_server(("127.0.0.1", port), backlog=100)):
                stderr = process.stderr.read()
                assert process.wait(60) == 0, stderr
    assert sorted(line["id"] for line in lines_of(answers.read_bytes())) == list(range(60))
    bodies = Counter([*first.lost, *(body for _, _, body in first.requests + second.requests)])
    del bodies[b""]  # the probe
    assert max(bodies.values()) <= 5


def test_damaged_line_is_moved_and_its_request_sent_again(answers: Path) -> None:
    with serve(reply) as server:
        env = {"OLLAMA_HOST": server.url}
        assert batch(answers, stdin=asked("one", "two"), env=env).returncode == 0
        first, second = answers.read_bytes().splitlines(keepends=True)
        answers.write_bytes(b"\0" * (len(first) - 1) + b"\n" + second)
        done = batch(answers, "--resume", stdin=asked("one", "two"), env=env)
        assert f"{answers}: moved 1 damaged line(s) to {answers}.torn" in done.stderr.decode()
    assert sorted(line["id"] for line in lines_of(answers.read_bytes())) == [0, 1]


def test_verbose_traces_each_request() -> None:
    with serve(reply) as server:
        done = call("batch", "-v", "-m", "m", "--host", server.url, stdin=asked({"id": "a", "prompt": "hi"}))
    assert done.stderr == b'batch: id "a": POST /api/generate, 42 bytes\n'
