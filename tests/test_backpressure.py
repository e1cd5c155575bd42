"""A slow reader slows down the server, instead of filling the memory of send."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import start
from tests.server import serve

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
