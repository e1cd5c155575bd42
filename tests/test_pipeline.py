"""send and filters in real pipes: latency, exit status and memory."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import FILTERS, Process, environment, expect, quoted, sh, start
from tests.server import body_of, serve


def chunk(text: str = "", done: bool = False, **more: Any) -> bytes:
    return json.dumps({"message": {"role": "assistant", "content": text, **more}, "done": done}).encode() + b"\n"


class InTwoSteps:
    """Sends a line, and another when `go` is set."""

    def __init__(self, first: bytes, then: bytes) -> None:
        self.first, self.then = first, then
        self.go = threading.Event()

    def __call__(self, exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        exchange.chunk(self.first)
        assert self.go.wait(60)
        exchange.chunk(self.then)
        exchange.end()


PIPES = [
    # the pipe, first chunk, what of it must be there before the second is sent, the rest
    ("| extract-content", chunk("one "), "one ", "two\n"),
    ("--stamp | extract-content", chunk("one "), "one ", "two\n"),
    ("| extract-content -n", chunk("one "), "one ", "two"),
    ("| extract-content --think-tags", chunk("<think>why</think>one "), "one ", "two\n"),
    ("| extract-content -x", chunk("```\nls\n"), "ls\n", "two\n"),
    ("| extract-thinking", chunk(thinking="one "), "one ", "\n"),
    ("| extract-thinking --think-tags", chunk("<think>one "), "one ", "two\n"),
    ("| render", chunk(thinking="one "), "Thinking:\n\none ", "\n\nAnswer:\n\ntwo\n"),
    ("| render", chunk("one "), "one ", "two\n"),
    (
        "| " + " | ".join(f"{quoted(name)} -w /dev/null" for name in FILTERS) + " | extract-content",
        chunk("one "),
        "one ",
        "two\n",
    ),
]


@pytest.mark.parametrize(("pipe", "first", "text", "rest"), PIPES)
def test_a_fragment_is_printed_before_the_next_is_sent(pipe: str, first: bytes, text: str, rest: str) -> None:
    respond = InTwoSteps(first, chunk("two", done=True))
    with serve(respond) as server:
        env = environment(OLLAMA_HOST=server.url)
        with Process(["sh", "-c", f"send -m m hi {pipe}"], env=env, stdout=subprocess.PIPE) as process:
            expect(process.stdout, text.encode())
            respond.go.set()
            assert process.communicate(timeout=60)[0].decode() == rest
    assert process.returncode == 0


MISUSED = [
    # wrong command line, exit status of the pipeline, messages
    ("extract-thinking --bogus", 3, 2),  # its output is text
    ("extract-thinking --bogus -w thinking", 2, 1),
    ("extract-thinking -w", 2, 1),
    ("extract-thinking -w -", 2, 1),
    ("extract-thinking -qw thinking -Z", 2, 1),
    ("stats --write=numbers --field none", 2, 1),
    ("stats --write numbers --fields model", 2, 1),
    ("stats --bogus -- -w", 3, 2),
    ("replay -w", 3, 2),  # no filter, and no such option
    ("collect -w no-such-folder/file", 1, 1),  # it passes on the stream nevertheless
]


@pytest.mark.parametrize(("stage", "status", "messages"), MISUSED)
def test_a_usage_error_is_reported_once_and_passed_on_with_w(
    stage: str, status: int, messages: int, tmp_path: Path
) -> None:
    result = sh(f"{stage} | render -w /dev/null | extract-content", stdin=body_of("chat-stream"), cwd=tmp_path)
    assert (result.returncode, result.stderr.count(b"\n")) == (status, messages), result


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
        assert process.stdout.read(len(LINE)) == LINE
        before, now = -1, sent[0]
        while now != before:
            time.sleep(0.5)
            before, now = now, sent[0]
        # At most what fits into the two socket buffers and the pipe.
        assert now < MANY // 2
        held = peak_kib(process)
        assert all(process.stdout.read(len(LINE)) == LINE for _ in range(MANY - 1))
        assert peak_kib(process) - held < 4096
        measured.set()
        assert process.communicate(timeout=60) == (DONE, b"")
    assert (process.returncode, sent[0]) == (0, MANY)
