"""The line that send shows while the server has not answered."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from ostream.cli import waiting
from ostream.recording.http_server import RequestHandler
from tests.process import Process, Terminal, environment
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
    """The server answers when the line is shown, or later than it would be shown."""
    script = "import pty, sys; pty.spawn(['bash', '-c', sys.argv[1]])"
    is_shown = [threading.Event() for _ in CASES]
    shown = dict.fromkeys(CASES, "")
    tries: list[Any] = []

    def respond(exchange: RequestHandler) -> None:
        number = int(exchange.path.split("/")[1])
        is_again = b"again" in exchange.body
        if not (is_again and tries):
            is_shown[number].wait(60 if is_again or SHOWN in [*CASES.values()][number] else 2.5)
        if is_again and not tries:
            tries.append(exchange)
            send_lines(b'{"error":"busy"}', status=503, content_type="application/json")(exchange)
        else:
            send_lines(DONE)(exchange)

    def run(number: int, case: str) -> None:
        argv = [sys.executable, "-c", script, case]
        env = environment(OLLAMA_HOST=f"{server.url}/{number}", TERM="xterm")
        with Process(argv, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            for block in iter(lambda: os.read(process.stdout.fileno(), 1 << 16), b""):
                shown[case] += block.decode().replace("\r\n", "\n")
                if "waiting for m" in shown[case]:
                    is_shown[number].set()
        # On a busy machine the line may be shown twice.
        shown[case] = re.sub(r"(\r\x1b\[Kwaiting for m \(\d+ s\))+", "\r\x1b[Kwaiting for m (2 s)", shown[case])

    with serve(respond) as server:
        threads = [threading.Thread(target=run, args=case) for case in enumerate(CASES)]
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
    assert threading.active_count() <= threads
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(waiting, "DELAY_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))
        waiting.WaitingLine("m").stop()
    with monkeypatch.context() as patch:
        tried = threading.Event()
        patch.setattr(os, "tcgetpgrp", lambda fd: tried.set() or os.stat("/none"))  # stderr is no terminal
        line = waiting.WaitingLine("m")
        assert tried.wait(30)
        line.stop()
        patch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp())
        patch.setattr(os, "isatty", lambda fd: True)
        line = waiting.WaitingLine("a\x1bb\n" * 50)
        shown = ""
        while "waiting" not in shown:
            shown += capfd.readouterr().err
        assert shown.startswith("\r\x1b[Kwaiting for a^[b a^[b") and len(shown.split("\r\x1b[K")[1]) < 85
        line.erase()
        while "\r\x1b[K\r\x1b[Kwaiting" not in shown:
            shown += capfd.readouterr().err
        line.stop()
        line.stop()
        shown += capfd.readouterr().err
        assert shown.endswith("\r\x1b[K") and not shown.endswith("\r\x1b[K" * 2)
        patch.setattr(os, "write", lambda fd, data: os.stat("/none"))
        waiting._write("the terminal has gone")


def test_a_retry_is_noted_on_a_terminal() -> None:
    responses = [send_lines(b'{"error":"busy"}\n', status=503), send_lines(DONE)]
    with serve(lambda exchange: responses.pop(0)(exchange)) as server:
        terminal = Terminal("send", "-m", "m", "--host", server.url, "--retry=1", "hi", on="stderr")
        shown, stdout, _ = terminal.communicate()
    assert (terminal.process.returncode, stdout) == (0, DONE.decode())
    assert shown.startswith("send: busy (status code: 503); retry 1 of 1 in ")
