"""The library works without what Windows lacks. (`make xnu` runs all tests with the poll() of XNU.)"""

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
from tests.process import ROOT, environment
from tests.server import send_lines, serve

STREAM = (b'{"message":{"role":"assistant","content":"hi"},"done":false}\n', b'{"message":{},"done":true}\n')
SHIMS = Path(__file__).parent / "shims"
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

    with serve(send_lines(*STREAM)) as server, serve(stay_silent) as silent:
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
