"""Messages when the system has no more file descriptors or threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Iterator

import pytest

from ostream.cli.waiting import WaitingLine
from tests.process import environment

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
