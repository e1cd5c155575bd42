"""One run of a tool: real scripts that end, fail, flood, hang, fork and outlive their caller."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ostream.tools.process import STDERR_BYTES, run_tool
from tests.process import ROOT, Process, environment
from tests.tiers import sample

LARGE = b"x" * 10_000_000

RUNS = [
    # what it does, standard input, its answer, its stderr
    ("cat", b'{"a":1}\n', '{"a":1}\n', ""),
    ("wc -c", LARGE, "10000000\n", ""),
    ("true", LARGE, "", ""),
    ("exec <&-; sleep 0.1; echo done", LARGE, "done\n", ""),
    ("head -c 3; cat > /dev/null", b"abcdef", "abc", ""),
    ("exit 3", b"", "exit 3:", ""),
    ("echo out; echo err >&2; exit 3", b"", "exit 3: out\nerr", "err\n"),
    ("echo fine; echo err >&2", b"", "fine\n", "err\n"),
    ("kill -9 $$", b"", "ended by signal 9:", ""),
    ("echo so far; kill -TERM $$", b"", "ended by signal 15: so far", ""),
    ("printf 'a\\377b'", b"", "a\ufffdb", ""),
    ("printf 'a\\000b'", b"", "a\0b", ""),
    ("exec >&- 2>&-; sleep 0.1", b"", "", ""),
    ("trap 'kill 0' EXIT; trap '' TERM; echo fine", b"", "fine\n", ""),
    ("echo so far; kill -9 0", b"", "ended by signal 9: so far", ""),
    ("kill -9 $PPID; sleep 1000", b"", "ended by signal 9:", ""),
]


def tool(folder: Path, script: str) -> str:
    path = folder / "tool"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("script", "stdin", "answer", "stderr"), RUNS, ids=[run[0] for run in RUNS])
def test_the_answer_is_the_output_or_the_failure(
    tmp_path: Path, script: str, stdin: bytes, answer: str, stderr: str
) -> None:
    before = set(os.listdir("/dev/fd"))
    done = run_tool(tool(tmp_path, script), stdin)
    assert (done.answer, done.stderr) == (answer, stderr)
    assert set(os.listdir("/dev/fd")) <= before


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return False


def assert_gone(pid: int) -> None:
    end = time.monotonic() + 30
    while is_alive(pid):
        assert time.monotonic() < end
        time.sleep(0.01)


LATE = "error: the tool did not end within 0.5 s"
LIMITS = [
    # what it does, the time limit, the answer
    ("trap '' TERM INT HUP; sleep 1000 & echo $! > child; while :; do sleep 1; done", 0.5, LATE),
    ("sleep 1000 & echo $! > child; exec >&-; wait", 0.5, LATE),
    ("sleep 1000 & echo $! > child; yes", 1000, "error: the tool wrote more than 1,048,576 bytes"),
]


@pytest.mark.parametrize(("script", "limit_s", "answer"), LIMITS)
def test_a_tool_that_exceeds_a_limit_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, limit_s: float, answer: str
) -> None:
    child, begin = tmp_path / "child", time.monotonic()

    def monotonic() -> float:
        """The time, which passes once the tool has started its child."""
        return time.monotonic() if child.exists() and child.stat().st_size else begin

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ostream.tools.process.time", SimpleNamespace(monotonic=monotonic))
    assert run_tool(tool(tmp_path, script), b"", limit_s).answer == answer
    assert_gone(int(child.read_text()))


LEFT_BEHIND = [
    "sleep 1000 & echo $!",
    "(trap '' HUP; sleep 1000) > /dev/null & echo $!",
    "sleep 1000 2>&1 & echo $!",
]


@pytest.mark.parametrize("script", LEFT_BEHIND)
def test_processes_that_a_tool_leaves_behind_do_not_delay_the_answer_and_are_killed(
    tmp_path: Path, script: str
) -> None:
    assert_gone(int(run_tool(tool(tmp_path, script), b"", 1000).answer))


def test_output_of_exactly_the_limit_is_accepted(tmp_path: Path) -> None:
    path = tool(tmp_path, "printf 12345")
    assert run_tool(path, b"", limit=5).answer == "12345"
    assert run_tool(path, b"", limit=4).answer == "error: the tool wrote more than 4 bytes"


def test_stderr_is_truncated(tmp_path: Path) -> None:
    done = run_tool(tool(tmp_path, "yes | head -c 10000000 >&2; echo fine"), b"")
    assert done.answer == "fine\n"
    assert len(done.stderr) == STDERR_BYTES


def test_a_tool_gets_only_the_listed_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "secret")
    monkeypatch.setenv("OLLAMA_HOST", "https://secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("TZ", raising=False)
    path = tmp_path / "tool"
    path.write_text(f"#!{sys.executable} -ISB\nimport os; print(*sorted(os.environ))")
    path.chmod(0o755)
    names = set(run_tool(str(path), b"").answer.split())
    # Python sets LC_CTYPE for itself.
    assert {"PATH", "LANG"} <= names <= {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE"}


def test_signals_that_the_caller_has_blocked_are_not_blocked_in_the_tool(tmp_path: Path) -> None:
    path = tool(tmp_path, "kill -HUP $$; echo fine")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGHUP])
    try:
        answer = run_tool(path, b"", 5).answer
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert answer == "ended by signal 1:"


CANNOT_START = [(b"", "Exec format"), (b"\0\0", "Exec format"), (b"#!/none\n", "No such file")]


@pytest.mark.parametrize(("content", "reason"), CANNOT_START)
def test_a_file_that_cannot_be_executed_is_an_os_error(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "tool"
    path.write_bytes(content)
    path.chmod(0o755)
    before = set(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match=reason):
        run_tool(str(path), b"")
    assert set(os.listdir("/dev/fd")) <= before


@pytest.mark.parametrize("function", ["fork", "pipe"])
def test_nothing_is_left_when_there_are_no_processes_or_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def fail() -> None:
        raise BlockingIOError("none left")

    monkeypatch.setattr(os, function, fail)
    before = set(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match="none left"):
        run_tool(tool(tmp_path, "true"), b"")
    assert set(os.listdir("/dev/fd")) <= before


RUNNER = """
import os, signal, sys
from ostream.system.diagnostics import Diagnostics
from ostream.system.process import run_process
from ostream.tools.process import run_tool

def run():
    print(run_tool(sys.argv[1], b"", 1000).answer)
    return 0

run_process(Diagnostics("x"), run)
"""


def runner(path: str, **options: Any) -> subprocess.Popen[bytes]:
    return Process([sys.executable, "-c", RUNNER, path], cwd=ROOT, env=environment(), **options)


ENDING = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1, signal.SIGALRM]


@pytest.mark.parametrize("number", sample([*ENDING, signal.SIGSEGV], [signal.SIGTERM, signal.SIGKILL]))
def test_no_signal_that_ends_the_caller_leaves_a_tool_behind(tmp_path: Path, number: signal.Signals) -> None:
    os.mkfifo(tmp_path / "began")
    path = tool(tmp_path, f"trap '' HUP INT TERM; sleep 1000 & echo $$ $! > {tmp_path}/began; wait")
    with runner(path, preexec_fn=without_core) as process:
        pids = [int(pid) for pid in (tmp_path / "began").read_text().split()]
        process.send_signal(number)
        assert process.wait(30) == -number
    for pid in pids:
        assert_gone(pid)


def without_core() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@pytest.mark.full
def test_a_caller_that_is_killed_while_the_tool_starts_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tool(tmp_path, f"echo $$ >> {tmp_path}/pids; sleep 1000")
    for delay in range(6):
        with runner(path) as process:
            time.sleep(0.03 + delay * 0.015)
            process.kill()
    pids = tmp_path / "pids"
    for pid in pids.read_text().split() if pids.exists() else []:
        assert_gone(int(pid))


def test_a_reader_that_leaves_ends_the_tool(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.mkfifo(tmp_path / "began")
    path = tool(tmp_path, f"echo $$ > {tmp_path}/began; exec sleep 1000")
    with runner(path, stdout=writer) as process:
        os.close(writer)
        pid = int((tmp_path / "began").read_text())
        os.close(reader)
        assert process.wait(30) == -signal.SIGPIPE
    assert_gone(pid)


def test_closing_the_pipe_alone_ends_the_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the caller is killed. The guard survives 'kill 0' in a tool, and keeps ignored signals ignored."""

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refuse)
    assert run_tool(tool(tmp_path, "echo fine"), b"").answer == "fine\n"
    monkeypatch.setattr(os, "kill", refuse)
    assert run_tool(tool(tmp_path, "echo fine"), b"").answer == "fine\n"
    with pytest.raises(OSError, match="Exec format"):
        run_tool(_empty(tmp_path), b"")
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        answer = run_tool(tool(tmp_path, "trap '' TERM; kill 0; sleep 0.1; kill -HUP $$; echo ignored"), b"").answer
    finally:
        signal.signal(signal.SIGHUP, handler)
    assert answer == "ignored\n"


def _empty(folder: Path) -> str:
    (folder / "empty").touch(0o755)
    return str(folder / "empty")
