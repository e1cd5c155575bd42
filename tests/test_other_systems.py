"""Features of Linux have a fallback: commands work with the poll() of XNU, the library without POSIX modules.

`make xnu` runs all tests with that poll().
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ostream import recording
from ostream.__main__ import main
from ostream.recording.http_server import RequestHandler
from tests.process import ROOT, TOOLS, environment, under_xnu
from tests.server import send_lines, serve

SHIMS = Path(__file__).parent / "shims"
LINE = b'{"message":{"role":"assistant","content":"hi"},"done":false}\n'
DONE = b'{"message":{"role":"assistant","content":""},"done":true}\n'


# name: a script for sh, its exit status and output
SCRIPTS = {
    "a pipeline on recordings": (
        "replay {sky} -- sh -c 'send -o temperature=0 \"Why is the sky blue?\" | extract-content'",
        *(0, None),
    ),
    "a command that sends nothing": ("replay {sky} -- true", 0, b""),
    "a reader that leaves": ("{{ (send -m m hi; echo $? >&3) | head -n 1 > /dev/null; }} 3>&1", 0, b"141\n"),
    "a filter whose reader leaves": ("{{ (send -m m hi | extract-content; echo $? >&3) | true; }} 3>&1", 0, b"141\n"),
    "a tool": ("run-tools -t {tools} call.ndjson | grep -c 'no clock here'", 0, b"1\n"),
    "input from a device": ("extract-content < /dev/null; echo $?", 0, b"3\n"),
}


@pytest.mark.parametrize(("script", "status", "output"), SCRIPTS.values(), ids=SCRIPTS)
def test_commands_do_not_depend_on_linux(script: str, status: int, output: bytes | None, tmp_path: Path) -> None:
    call = b'{"function":{"name":"get_time","arguments":{}}}'
    (tmp_path / "call.ndjson").write_bytes(b'{"message":{"role":"assistant","tool_calls":[%b]},"done":true}\n' % call)
    over = threading.Event()

    def respond(handler: RequestHandler) -> None:
        handler.head(200, "application/x-ndjson")
        handler.chunk(LINE)
        over.wait(60)

    with serve(respond) as server:
        env = under_xnu(environment(OLLAMA_HOST=server.url))
        script = script.format(sky=ROOT / "examples" / "recordings" / "sky.ndjson", tools=TOOLS)
        result = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=env, capture_output=True, timeout=50)
        over.set()
    assert result.returncode == status, result.stderr
    assert result.stdout == output if output is not None else result.stdout, result.stderr


LIBRARY = """
import sys, threading
from ostream import Client, ConnectError, StreamTimeout, chat, generate
url, silent, closed = sys.argv[1:]
with Client(url) as client:
    assert client.chat("m").message.content == "hi"
    assert [chunk.done for chunk in client.chat("m", stream=True)] == [False, True]
for arguments, error in (({"first_byte_timeout": 0.2}, StreamTimeout), ({"max_time": 0.2}, StreamTimeout)):
    try:
        Client(silent, **arguments).chat("m")
        raise SystemExit(f"no {error}")
    except error:
        pass
try:
    Client(closed, retry=1).chat("m")
    raise SystemExit("connected")
except ConnectError as error:
    assert "refused" in str(error)
stream = Client(silent.replace("127.0.0.1", "localhost")).chat("m", stream=True)
threading.Timer(0.2, stream.close).start()
assert list(stream) == []
print("ok")
"""


def test_the_library_needs_nothing_that_windows_lacks() -> None:
    over = threading.Event()

    def stay_silent(_: Any) -> None:
        over.wait(60)

    with serve(send_lines(LINE, DONE)) as server, serve(stay_silent) as silent:
        argv = [sys.executable, "-c", LIBRARY, server.url, silent.url, "http://127.0.0.1:1"]
        env = {**environment(), "PYTHONPATH": f"{SHIMS / 'windows'}{os.pathsep}{ROOT}"}
        result = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=50)
        over.set()
    assert (result.stdout, result.stderr) == ("ok\n", "")


@pytest.mark.full
def test_the_tests_of_the_library_pass_without_what_windows_lacks() -> None:
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.shims.windows.plugin"]
    argv = [sys.executable, "-m", "pytest", *options, "tests/library"]
    result = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-3000:]


def test_on_another_system_the_commands_report_that_they_need_posix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        status = main(["send", "hi"])
        with pytest.raises(ImportError, match=r"ostream\.testing need a POSIX system"):
            runpy.run_path(recording.__file__)
    assert (status, capsys.readouterr().err) == (
        2,
        "ostream: the commands need a POSIX system; on this system, only the library works\n",
    )
