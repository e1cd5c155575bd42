"""The line that send shows while the server has not answered."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ostream.cli import waiting
from ostream.recording.http_server import RequestHandler
from tests.process import Terminal, environment
from tests.server import send_lines, serve

DONE = b'{"message":{"content":"hello"},"done":true}\n'
SHOWN = "\r\x1b[Kwaiting for m (2 s)\r\x1b[K"
CASES = {
    # script on a terminal; what it shows
    "send -m m hi > /dev/tty": SHOWN + DONE.decode(),
    "send -m m hi | extract-content": f"{SHOWN}hello\n",
    "send -m m hi | extract-content -w /dev/null > /dev/null": SHOWN,
    "send -q -m m hi | extract-content": "hello\n",
    "TERM=dumb send -m m hi | extract-content": "hello\n",
    "send -m m hi 2> /dev/null | extract-content": "hello\n",
    "send -m m hi | cat": DONE.decode(),
    "send -m m hi > /dev/null": "",
    "set -m; send -m m hi | extract-content & wait": f"hello\n[1]+  Done{' ' * 20}send -m m hi | extract-content\n",
    "send -m m --stamp hi | extract-content": f"{SHOWN}hello\n",
    "send -m m --retry 1 again | extract-content": "busy",
}


@pytest.mark.full
@pytest.mark.linux
def test_the_line_appears_only_where_it_disturbs_nothing_and_is_erased(tmp_path: Path) -> None:
    script = "import pty, sys; pty.spawn(['bash', '-c', sys.argv[1]])"
    tries: list[Any] = []

    def respond(exchange: RequestHandler) -> None:
        if b"again" in exchange.body and not tries:
            tries.append(exchange)
            time.sleep(2.5)
            send_lines(b'{"error":"busy"}', status=503, content_type="application/json")(exchange)
        else:
            time.sleep(0.1 if b"again" in exchange.body else 2.5)
            send_lines(DONE)(exchange)

    shown: dict[str, str] = {}

    def run(case: str) -> None:
        result = subprocess.run(
            [sys.executable, "-c", script, case],
            env=environment(OLLAMA_HOST=server.url, TERM="xterm"),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
        # On a busy machine the line may be shown twice.
        text = result.stdout.decode().replace("\r\n", "\n")
        shown[case] = re.sub(r"(\r\x1b\[Kwaiting for m \(\d s\))+", "\r\x1b[Kwaiting for m (2 s)", text)

    with serve(respond) as server:
        threads = [threading.Thread(target=run, args=(case,)) for case in CASES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    again = shown.pop("send -m m --retry 1 again | extract-content")
    assert again.startswith(f"{SHOWN}send: busy (status code: 503); ") and again.endswith("hello\n")
    assert shown == {case: CASES[case] for case in shown}


def test_the_line_is_repeated_after_an_erasure_and_ends_with_stop(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    threads = threading.active_count()
    monkeypatch.setenv("TERM", "dumb")
    waiting.WaitingLine("m").stop()
    assert threading.active_count() == threads
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(waiting, "DELAY_S", 0.0)
    with monkeypatch.context() as patch:
        line = waiting.WaitingLine("m")  # stderr is no terminal here
        time.sleep(0.1)
        line.stop()
        patch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp())
        patch.setattr(os, "isatty", lambda fd: True)
        line = waiting.WaitingLine("a\x1bb\n" * 50)
        shown = ""
        while "waiting" not in shown:
            shown += capfd.readouterr().err
        assert shown.startswith("\r\x1b[Kwaiting for a^[b a^[b") and len(shown) < 90
        line.erase()
        while "waiting" not in shown[90:]:
            shown += capfd.readouterr().err
        line.stop()
        line.stop()
        assert capfd.readouterr().err == "\r\x1b[K"
        patch.setattr(os, "write", lambda fd, data: os.stat("/none"))
        waiting._write("the terminal has gone")


def test_a_retry_is_noted_on_a_terminal() -> None:
    responses = [send_lines(b'{"error":"busy"}\n', status=503), send_lines(DONE)]
    with serve(lambda exchange: responses.pop(0)(exchange)) as server:
        terminal = Terminal("send", "-m", "m", "--host", server.url, "--retry=1", "hi", on="stderr")
        shown, stdout, _ = terminal.communicate()
    assert (terminal.process.returncode, stdout) == (0, DONE.decode())
    assert shown.startswith("send: busy (status code: 503); retry 1 of 1 in ")
