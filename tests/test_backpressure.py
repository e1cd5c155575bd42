"""A reader that is slow, a pipe that does not block, a file that may not grow: nothing is lost, or it is told."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import BIN, FILTERS, quoted, sh, start
from tests.server import send_lines, serve
from tests.test_pipeline import drain, peak_kib

DONE = b'{"response":"","done":true}\n'
LINE = json.dumps({"response": "x" * 8000}).encode() + b"\n"
MANY = 25_000  # 200 MB


def test_the_back_pressure_of_a_slow_reader_reaches_the_server() -> None:
    sent = [0]

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        for _ in range(MANY):
            exchange.chunk(LINE)
            sent[0] += 1
        exchange.chunk(DONE)
        exchange.end()

    with serve(respond) as server, start("send", "-m", "m", "hi", env={"OLLAMA_HOST": server.url}) as process:
        before, now = -1, sent[0]
        while now != before or not now:
            time.sleep(0.5)
            before, now = now, sent[0]
        # What the two sockets and the pipe hold, at most.
        assert now < MANY // 2
        held = peak_kib(process)
        drain(process, MANY * len(LINE))
        assert peak_kib(process) - held < 4096
        assert process.communicate(timeout=60) == (DONE, b"")
    assert (process.returncode, sent[0]) == (0, MANY)


@pytest.mark.parametrize("command", ["send", *FILTERS])
def test_a_pipe_that_does_not_block_loses_nothing(command: str) -> None:
    stream = LINE * 200 + DONE
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with serve(send_lines(*[LINE] * 200, DONE)) as server:
        arguments = ["-m", "m", "hi"] if command == "send" else ["-w", "/dev/null"]
        process = start(command, *arguments, stdout=writer, env={"OLLAMA_HOST": server.url})
        os.close(writer)
        feeder = threading.Thread(target=process.communicate, args=(stream,))
        feeder.start()
        with open(reader, "rb") as file:
            assert file.read() == stream
        feeder.join()
    assert process.returncode == 0


# In blocks of 512 bytes; Python ignores SIGXFSZ. -B: it would cut its own bytecode, too, and never start again.
LIMIT = f"ulimit -f 16; python3 -BIS {BIN}/"


@pytest.mark.parametrize("command", ["send", "extract-content", "collect", "render"])
def test_a_file_that_may_not_grow_any_more_is_an_error_wherever_that_is(command: str, tmp_path: Path) -> None:
    lines = [LINE[:100] + b'"}\n'] * 200
    with serve(send_lines(*lines, DONE)) as server:
        # The launchers, without site-packages: coverage would write a file of its own.
        script = f"{LIMIT}{command} {'-m m hi' if command == 'send' else ''} > out"
        stdin = (b"".join(lines) + DONE) * 10
        result = sh(script, stdin=stdin, cwd=tmp_path, env={"OLLAMA_HOST": server.url})
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == f"{command}: standard output: File too large\n"
    assert (tmp_path / "out").stat().st_size <= 16 * 1024


@pytest.mark.parametrize("command", FILTERS)
def test_the_file_of_w_may_fail_anywhere_and_the_stream_goes_on(command: str, tmp_path: Path) -> None:
    lines = b"".join(
        json.dumps({"response": "x" * 90, "thinking": "x" * 90, "done": True}).encode() + b"\n" for _ in "x" * 400
    )
    result = sh(f"{LIMIT}{quoted(command)} -w out | extract-content -n > /dev/null", stdin=lines, cwd=tmp_path)
    assert (result.returncode, result.stderr.decode()) == (1, f"{command}: out: File too large\n")
    passed = sh(f"{LIMIT}{quoted(command)} -w out", stdin=lines, cwd=tmp_path).stdout
    assert passed.startswith(lines)
    assert json.loads(passed[len(lines) :]) == {"error": "out: File too large", "exit_status": 1}


def test_a_time_limit_from_outside_is_silent() -> None:
    over = threading.Event()

    def hold(exchange: RequestHandler) -> None:
        over.wait(60)

    with serve(hold) as server:
        result = sh("timeout 1 send -m m hi; echo $?", env={"OLLAMA_HOST": server.url})
        over.set()
    assert (result.stdout, result.stderr) == (b"124\n", b"")
