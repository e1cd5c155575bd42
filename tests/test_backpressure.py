"""Slow readers, non-blocking pipes and file size limits: no data is lost, or the loss is reported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import BIN, FILTERS, sh, start
from tests.server import send_lines, serve

DONE = b'{"response":"","done":true}\n'
LINE = json.dumps({"response": "x" * 8000}).encode() + b"\n"
MANY = 25_000  # 200 MB


def peak_kib(process: subprocess.Popen[bytes]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


@pytest.mark.linux
def test_a_slow_reader_slows_down_the_server() -> None:
    sent = [0]
    measured = threading.Event()

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        for _ in range(MANY):
            exchange.chunk(LINE)
            sent[0] += 1
        measured.wait(60)  # until then, send must not end
        exchange.chunk(DONE)
        exchange.end()

    with serve(respond) as server, start("send", "-m", "m", "hi", env={"OLLAMA_HOST": server.url}) as process:
        before, now = -1, sent[0]
        while now != before or not now:
            time.sleep(0.5)
            before, now = now, sent[0]
        # At most what fits into the two socket buffers and the pipe.
        assert now < MANY // 2
        held = peak_kib(process)
        assert all(process.stdout.read(len(LINE)) == LINE for _ in range(MANY))
        assert peak_kib(process) - held < 4096
        measured.set()
        assert process.communicate(timeout=60) == (DONE, b"")
    assert (process.returncode, sent[0]) == (0, MANY)


@pytest.mark.parametrize("command", ["send", *FILTERS])
def test_a_non_blocking_pipe_loses_nothing(command: str) -> None:
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


# In blocks of 512 bytes; Python ignores SIGXFSZ. -B: or Python would write truncated bytecode files.
LIMIT = f"ulimit -f 16; python3 -BIS {BIN}/"


@pytest.mark.parametrize("command", ["send", "extract-content", "collect", "render"])
def test_a_file_size_limit_is_an_error(command: str, tmp_path: Path) -> None:
    lines = [LINE[:100] + b'"}\n'] * 200
    with serve(send_lines(*lines, DONE)) as server:
        # Without site-packages, where coverage would write a data file.
        script = f"{LIMIT}{command} {'-m m hi' if command == 'send' else ''} > out"
        stdin = (b"".join(lines) + DONE) * 10
        result = sh(script, stdin=stdin, cwd=tmp_path, env={"OLLAMA_HOST": server.url})
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == f"{command}: standard output: File too large\n"
    assert (tmp_path / "out").stat().st_size <= 16 * 1024
