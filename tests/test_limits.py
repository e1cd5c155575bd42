"""Messages when the system has no more file descriptors or threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Iterator

import pytest

from ostream.cli.waiting import WaitingLine
from tests.process import environment
from tests.server import body_of, send_lines, serve

FEW_DESCRIPTORS = """
import resource, sys
import ostream.client, ostream.cli.request_builder, ostream.commands.send, ostream.cli.tool_loop
import ostream.system.unread_input, ostream.tools.directory
import ostream.net.transport
from ostream.__main__ import main
usual = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), usual[1]))
status = main(["send", "-m", "m", "--host", sys.argv[2], "hi"])
resource.setrlimit(resource.RLIMIT_NOFILE, usual)
sys.exit(status)
"""


@pytest.mark.parametrize("limit", [3, 4, 5])
@pytest.mark.parametrize("host", ["localhost:1", "no-such-host.invalid:1"])
def test_running_out_of_descriptors_is_the_reason_given(limit: int, host: str) -> None:
    argv = [sys.executable, "-c", FEW_DESCRIPTORS, str(limit), host]
    result = subprocess.run(
        argv, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout.count(b"\n")) == (69, 1)
    assert b"too many open files" in result.stderr.lower()
    assert result.stderr.count(b"\n") == 1


@pytest.fixture(name="no_threads")
def _no_threads() -> Iterator[None]:
    """Prevent new threads by an impossible stack size."""
    usual = threading.stack_size(1 << 60)
    try:
        with pytest.raises(RuntimeError):
            threading.Thread(target=print).start()
        yield
    finally:
        threading.stack_size(usual)


@pytest.mark.usefixtures("no_threads")
def test_without_threads_send_does_not_show_that_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    WaitingLine("m").stop()


IMPORTING_THREADS = """
import sys, threading
from ostream.__main__ import main

class Finder:
    def find_spec(self, name, path, target=None):
        in_thread = threading.current_thread() is not threading.main_thread()
        if in_thread and name not in sys.builtin_module_names:  # a builtin module needs no file and little memory
            print(name)

sys.meta_path.insert(0, Finder())
sys.exit(main(["batch", "-q", "-m", "m", "--lines", "-o", *sys.argv[1:]]))
"""


def test_the_threads_of_batch_import_nothing(tmp_path: Path) -> None:
    """An import may fail at a limit of memory or descriptors, with errors that do not name the limit."""
    (tmp_path / "rows").write_text("a\nb\n")
    with serve(send_lines(*body_of("chat-stream").splitlines(keepends=True))) as server:
        argv = [sys.executable, "-c", IMPORTING_THREADS, str(tmp_path / "answers"), str(tmp_path / "rows")]
        result = subprocess.run(
            argv, env=environment(OLLAMA_HOST=server.url), capture_output=True, timeout=60, check=False
        )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
