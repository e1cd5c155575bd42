"""batch -o FILE --resume: what is answered stays answered, whatever happens to the process, the disk or the server."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Iterator

import pytest

from ostream.recording.http_server import RequestHandler
from tests.commands.test_batch import JSON, asked, lines_of, reply
from tests.process import BIN, call, run, sh, start
from tests.server import Answers, http_answer, serve, tcp

# Runs to kill; make kill sets it to 1,000.
KILLS = int(os.environ.get("KILLS", "0"))


@pytest.fixture(name="answers")
def _answers(tmp_path: Path) -> Path:
    return tmp_path / "answers"


def batch(answers: Path, *arguments: str, stdin: bytes, **options: Any) -> Any:
    return call("batch", "-m", "m", "-o", str(answers), "--resume", *arguments, stdin=stdin, **options)


def test_only_what_is_not_answered_is_sent_again(answers: Path) -> None:
    requests = [{"id": "a", "prompt": "A"}, "B", {"id": "c", "prompt": "fail"}, "cut"]
    with serve(reply) as server:
        first = batch(answers, "--host", server.url, stdin=asked(*requests[:3]))
        assert (first.returncode, first.stdout) == (1, b"")
        assert len(lines_of(answers.read_bytes())) == 3
        second = batch(answers, "--host", server.url, stdin=asked(*requests))
        assert len(server.requests) == 3 + 2  # type: ignore[attr-defined]
    assert second.returncode == 1
    assert f"batch: {answers}: 1 failures taken out, to be tried again".encode() in second.stderr
    lines = {line["id"]: line for line in lines_of(answers.read_bytes())}
    assert {id: "error" in line for id, line in lines.items()} == {"a": False, 1: False, "c": True, 3: True}
    assert not os.path.exists(f"{answers}.lock")


def test_when_all_is_answered_nothing_is_sent(answers: Path) -> None:
    stdin = asked("one", "two")
    with serve(reply) as server:
        assert batch(answers, "--host", server.url, stdin=stdin).returncode == 0
    before = answers.read_bytes()
    done = batch(answers, "--host", "127.0.0.1:1", stdin=stdin)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert answers.read_bytes() == before


def test_an_answer_on_standard_output_can_be_gone_on_with(answers: Path) -> None:
    with serve(reply) as server:
        answers.write_bytes(call("batch", "-m", "m", "--host", server.url, stdin=asked("one")).stdout)
        assert batch(answers, "--host", server.url, stdin=asked("one", "two")).returncode == 0
        assert len(server.requests) == 2  # type: ignore[attr-defined]
    assert [line["id"] for line in lines_of(answers.read_bytes())] == [0, 1]


def test_an_id_that_comes_twice(answers: Path) -> None:
    """With the same body it is answered once; with another one nobody could tell which was answered."""
    one, other = {"id": "a", "prompt": "A"}, {"id": "a", "prompt": "other"}
    with serve(reply) as server:
        assert batch(answers, "--host", server.url, stdin=asked(one, "x", one)).returncode == 0
        assert len(server.requests) == 2  # type: ignore[attr-defined]
        for stdin in (asked(other), asked("y", other)):
            done = batch(answers, "--host", server.url, stdin=stdin)
            assert done.returncode == 2
            told = (
                f': id "a": asked before with another body, here or in {answers}; nothing behind this line is asked; '
            )
            assert told.encode() in done.stderr
            assert lines_of(done.stdout)[0]["exit_status"] == 2
            assert b"other" not in answers.read_bytes()
    ids = [line["id"] for line in lines_of(answers.read_bytes())]
    assert sorted(map(str, ids)) == ["0", "1", "a"]


def test_another_model_is_another_body(answers: Path) -> None:
    with serve(reply) as server:
        assert batch(answers, "--host", server.url, stdin=asked("A")).returncode == 0
        done = call("batch", "-m", "n", "-o", str(answers), "--resume", "--host", server.url, stdin=asked("A"))
        assert (done.returncode, len(server.requests)) == (2, 1)  # type: ignore[attr-defined]


def test_what_is_there_is_not_written_over_unasked(answers: Path) -> None:
    answers.write_bytes(b"mine\n")
    for arguments in ([], ["--resume"]):
        done = call("batch", "-m", "m", "-o", str(answers), *arguments, stdin=asked("A"))
        assert (done.returncode, answers.read_bytes()) == (2, b"mine\n")


def test_two_runs_do_not_share_a_file(answers: Path) -> None:
    arrived, go = threading.Event(), threading.Event()

    def respond(exchange: RequestHandler) -> None:
        arrived.set()
        assert go.wait(30)
        reply(exchange)

    with serve(respond) as server:
        process = start("batch", "-m", "m", "-o", str(answers), "--host", server.url)
        with process:
            assert process.stdin
            process.stdin.write(asked("A"))
            process.stdin.close()
            assert arrived.wait(30)
            second = batch(answers, "--host", server.url, stdin=asked("A"))
            go.set()
            assert process.wait(30) == 0
    assert second.returncode == 2
    assert second.stderr.decode() == f"batch: {answers}: another run is writing it; one file, one run\n"
    assert len(lines_of(answers.read_bytes())) == 1


def answered(answers: Path) -> list[Any]:
    """The ids that the file answers, with or without its last newline."""
    ids = []
    for line in answers.read_bytes().split(b"\n") if answers.exists() else []:
        with contextlib.suppress(ValueError):
            answer = json.loads(line)
            ids += [answer["id"]] if "error" not in answer else []
    return ids


class Careless:
    """A server that fails now and then, and counts what it is asked; what is `known` must not be asked again."""

    def __init__(self, luck: random.Random) -> None:
        self.luck = luck
        self.known: set[Any] = set()
        self.asked: list[int] = []

    def __call__(self, exchange: RequestHandler) -> None:
        prompt = json.loads(exchange.body)["messages"][0]["content"]
        self.asked.append(int(prompt))
        chance = self.luck.random()
        time.sleep(chance / 50)
        if chance < 0.03:
            exchange.send_body(500, JSON, b'{"error":"boom"}')
        elif chance < 0.035:
            exchange.reset()
        else:
            reply(exchange)


def test_killed_at_any_instant_each_is_answered_once_in_the_end(answers: Path, full: bool) -> None:
    goal = KILLS or (40 if full else 10)
    seed = random.randrange(1 << 32)
    luck = random.Random(seed)
    server_side = Careless(luck)
    requests = answers.parent / "requests"
    requests.write_bytes(asked(*map(str, range(60))))
    kills = 0
    with serve(server_side) as server:
        arguments = ["-qm", "m", "-j", "8", "-o", str(answers), "--resume", "--host", server.url, str(requests)]

        def go_on(seconds: float | None) -> int:
            """Run until it ends, or is killed; its status."""
            known = set(answered(answers))
            begin = len(server_side.asked)
            process = start("batch", *arguments, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60 if seconds is None else seconds)
            process.kill()
            process.communicate()
            ids = answered(answers)
            assert not known & set(server_side.asked[begin:]), f"seed {seed}: asked again"
            assert known <= set(ids), f"seed {seed}: lost {known - set(ids)}"
            assert len(ids) == len(set(ids)), f"seed {seed}: answered twice: {Counter(ids).most_common(3)}"
            return process.returncode

        while kills < goal:
            for _ in range(min(luck.randint(1, 8), goal - kills)):
                # Some while the file is read and repaired, some in the midst of the work.
                kills += go_on(luck.uniform(0.05, 0.6)) == -signal.SIGKILL
            # Failures of the server are tried again by the next run.
            assert any(go_on(None) == 0 for _ in range(50)), f"seed {seed}"
            lines = lines_of(answers.read_bytes())
            assert sorted(line["id"] for line in lines) == list(range(60)), f"seed {seed}"
            assert all(line["message"]["content"] == str(line["id"]) for line in lines), f"seed {seed}"
            assert sorted(os.listdir(answers.parent)) == ["answers", "requests"], f"seed {seed}"
            answers.unlink()


def test_a_full_disk_ends_the_run_and_with_room_again_it_goes_on(answers: Path) -> None:
    requests = asked(*map(str, range(30)))
    with serve(reply) as server:
        # By the launcher, which coverage does not see into, and without bytecode: those files would be cut, too.
        command = f"python3 -BIS {BIN}/batch -m m -o {answers} --resume --host {server.url}"
        for blocks in (1, 3, 5):
            full = sh(f"ulimit -f {blocks}; {command}", stdin=requests)
            assert full.returncode == 1
            assert f"batch: {answers}: File too large; --resume goes on\n".encode() in full.stderr
            ids = answered(answers)
            assert 0 < len(ids) == len(set(ids)) < 30
            assert answers.read_bytes().endswith(b"}\n")
        assert sh(command, stdin=requests).returncode == 0
    assert sorted(line["id"] for line in lines_of(answers.read_bytes())) == list(range(30))


@contextlib.contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(100)
        yield listener


ANSWER = http_answer(200, b'{"model":"m","message":{"role":"assistant","content":"hi"},"done":true}')


def test_a_server_that_restarts_is_waited_for(answers: Path) -> None:
    enough = threading.Event()

    class Dying(Answers):
        """Answers ten requests; those after them it takes, and then it is gone."""

        def __call__(self, connection: socket.socket) -> None:
            if len(self.requests) < 10:
                super().__call__(connection)
            else:
                enough.set()

    first, second = Dying(ANSWER), Answers(ANSWER)
    stdin = asked(*map(str, range(40)))
    with listening(0) as one:
        port = one.getsockname()[1]
        with tcp(first, one):
            process = start("batch", "-m", "m", "-o", str(answers), "--retry", "50", "--host", f"127.0.0.1:{port}")
            assert process.stdin
            process.stdin.write(stdin)
            process.stdin.close()
            assert enough.wait(30)
    with process:
        assert process.stderr
        while b"refused" not in process.stderr.readline():
            pass
        with listening(port) as two, tcp(second, two):
            stderr = process.stderr.read()
            assert process.wait(60) == 0, stderr
    assert sorted(line["id"] for line in lines_of(answers.read_bytes())) == list(range(40))


def test_a_torn_last_line_is_repaired_by_the_command_too(answers: Path) -> None:
    with serve(reply) as server:
        env = {"OLLAMA_HOST": server.url}
        assert batch(answers, stdin=asked("one", "two"), env=env).returncode == 0
        whole = answers.read_bytes()
        answers.write_bytes(whole[:-30])
        assert run("batch", "-m", "m", "-o", answers, "--resume", stdin=asked("one", "two"), env=env).returncode == 0
        assert len(server.requests) == 3  # type: ignore[attr-defined]
    assert sorted(line["id"] for line in lines_of(answers.read_bytes())) == [0, 1]


def test_what_is_sent_is_said_if_asked_for() -> None:
    with serve(reply) as server:
        done = call("batch", "-v", "-m", "m", "--host", server.url, stdin=asked({"id": "a", "prompt": "hi"}))
    assert done.stderr == b'batch: id "a": POST /api/generate, 42 bytes\n'
