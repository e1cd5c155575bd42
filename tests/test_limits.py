"""Commands when no more threads can be started, or nothing more can be imported."""

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
