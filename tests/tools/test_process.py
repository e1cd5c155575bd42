"""One run of a tool: real scripts that end, fail, flood, hang, fork and leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ostream.tools.process import STDERR_BYTES, run_tool
from tests.process import ROOT, environment

LARGE = b"x" * 10_000_000

RUNS = [
    # what it does, standard input, its answer, its stderr
    ("cat", b'{"a":1}\n', '{"a":1}\n', ""),
    ("echo $#", b"", "0\n", ""),
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
    ("printf '\\377' >&2", b"", "", "\ufffd"),
    ("exec >&- 2>&-; sleep 0.1", b"", "", ""),
]


def tool(folder: Path, script: str) -> str:
    path = folder / "tool"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("script", "stdin", "answer", "stderr"), RUNS, ids=[run[0] for run in RUNS])
def test_what_a_tool_does_is_its_answer(tmp_path: Path, script: str, stdin: bytes, answer: str, stderr: str) -> None:
    before = set(os.listdir("/dev/fd"))
    done = run_tool(tool(tmp_path, script), stdin)
    assert (done.answer, done.stderr) == (answer, stderr)
    assert set(os.listdir("/dev/fd")) == before, "nothing stays open"


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


LIMITS = [
    # what it does, the answer
    ("sleep 1000 & echo $! > child; sleep 1000", "error: no end within 0.5 s"),
    ("trap '' TERM INT HUP; sleep 1000 & echo $! > child; while :; do sleep 1; done", "error: no end within 0.5 s"),
    ("sleep 1000 & echo $! > child; yes", "error: more than 1,048,576 bytes of output"),
    ("sleep 1000 & echo $! > child; exec >&-; wait", "error: no end within 0.5 s"),
]


@pytest.mark.parametrize(("script", "answer"), LIMITS)
def test_at_a_limit_it_is_killed_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, answer: str
) -> None:
    monkeypatch.chdir(tmp_path)
    limit = 0.5 if "no end" in answer else 1000
    assert run_tool(tool(tmp_path, script), b"", limit).answer == answer
    assert_gone(int((tmp_path / "child").read_text()))


LEFT = [
    "sleep 1000 & echo $!",
    "(trap '' HUP; sleep 1000) > /dev/null & echo $!",
    "sleep 1000 2>&1 & echo $!",
]


@pytest.mark.parametrize("script", LEFT)
def test_what_it_leaves_behind_cannot_hold_us_up_and_ends(tmp_path: Path, script: str) -> None:
    assert_gone(int(run_tool(tool(tmp_path, script), b"", 1000).answer))


def test_the_bytes_it_may_write_are_those_it_may_write(tmp_path: Path) -> None:
    path = tool(tmp_path, "printf 12345")
    assert run_tool(path, b"", limit=5).answer == "12345"
    assert run_tool(path, b"", limit=4).answer == "error: more than 4 bytes of output"


def test_a_flood_on_stderr_is_cut_and_harmless(tmp_path: Path) -> None:
    done = run_tool(tool(tmp_path, "yes | head -c 10000000 >&2; echo fine"), b"")
    assert done.answer == "fine\n"
    assert len(done.stderr) == STDERR_BYTES


def test_it_sees_nothing_of_our_environment_but_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


NOT_STARTED = [(b"", "Exec format"), (b"\0\0", "Exec format"), (b"#!/none\n", "No such file")]


@pytest.mark.parametrize(("content", "reason"), NOT_STARTED)
def test_what_cannot_be_started_is_an_os_error(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "tool"
    path.write_bytes(content)
    path.chmod(0o755)
    before = set(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match=reason):
        run_tool(str(path), b"")
    assert set(os.listdir("/dev/fd")) == before


RUNNER = """
import os, signal, sys
from ostream.tools.process import run_tool
{before}
print(run_tool(sys.argv[1], b"", 1000).answer)
print(*(int(signal.getsignal(number)) for number in (1, 2, 15)))
"""


def runner(path: str, before: str = "", **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", RUNNER.format(before=before), path], cwd=ROOT, env=environment(), **options
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_for_us_ends_the_tool_too(tmp_path: Path, number: signal.Signals) -> None:
    os.mkfifo(tmp_path / "began")
    path = tool(tmp_path, f"sleep 1000 & echo $$ $! > {tmp_path}/began; wait")
    with runner(path) as process:
        pids = [int(pid) for pid in (tmp_path / "began").read_text().split()]
        process.send_signal(number)
        assert process.wait(30) == -number
    for pid in pids:
        assert_gone(pid)


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "began")
    os.mkfifo(tmp_path / "go")
    path = tool(tmp_path, f"echo > {tmp_path}/began; read x < {tmp_path}/go; echo answered")
    ignore = "for number in (1, 2): signal.signal(number, signal.SIG_IGN)\nsignal.signal(15, signal.SIG_DFL)"
    with runner(path, ignore, stdout=subprocess.PIPE) as process:
        (tmp_path / "began").read_text()
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        (tmp_path / "go").write_text("\n")
        stdout, _ = process.communicate(timeout=30)
    assert stdout == b"answered\n\n1 1 0\n"


def test_a_signal_while_it_is_started_is_not_lost(tmp_path: Path) -> None:
    """As if it came between the fork and the moment that its number is known."""
    path = tool(tmp_path, "sleep 1000")
    raise_in_popen = (
        "import subprocess\n"
        "class Popen(subprocess.Popen):\n"
        "    def __init__(self, *args, **options):\n"
        "        super().__init__(*args, **options)\n"
        "        print(self.pid, flush=True)\n"
        "        os.kill(os.getpid(), 15)\n"
        "subprocess.Popen = Popen"
    )
    with runner(path, raise_in_popen, stdout=subprocess.PIPE) as process:
        assert process.wait(30) == -15
        assert process.stdout
        assert_gone(int(process.stdout.read()))


def test_the_reader_of_our_output_is_watched_meanwhile(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    script = (
        "from ostream.system.diagnostics import Diagnostics\nfrom ostream.system.process import run_process\n"
        "run_process(Diagnostics('x'), lambda: run_tool(sys.argv[1], b'', 1000))"
    )
    pid_file = tmp_path / "pid"
    path = tool(tmp_path, f"echo $$ > {pid_file}; echo > {tmp_path}/began; exec sleep 1000")
    os.mkfifo(tmp_path / "began")
    with runner(path, script, stdout=writer) as process:
        os.close(writer)
        (tmp_path / "began").read_text()
        os.close(reader)
        assert process.wait(30) == -signal.SIGPIPE
    assert_gone(int(pid_file.read_text()))


class Died(BaseException):
    """Where our own end would be."""


@pytest.mark.parametrize("at", ["start", "work"])
def test_our_own_end_is_the_end_of_the_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """As the tests with a process above, in this one."""

    def exit_by_signal(number: int) -> None:
        raise Died(number)

    monkeypatch.setattr("ostream.tools.process.exit_by_signal", exit_by_signal)
    path = tool(tmp_path, f"echo $$ > {tmp_path}/pid; kill -TERM $PPID; exec sleep 1000")
    if at == "start":
        popen = subprocess.Popen

        def signalled(*arguments: Any, **options: Any) -> Any:
            os.kill(os.getpid(), signal.SIGHUP)
            return popen(*arguments, **options)

        monkeypatch.setattr(subprocess, "Popen", signalled)
        path = tool(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 1000")
    handlers = [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)]
    try:
        with pytest.raises(Died):
            run_tool(path, b"", 1000)
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGHUP), handlers):
            signal.signal(number, handler)
    if (tmp_path / "pid").exists():  # it may have been killed before it could say so
        assert_gone(int((tmp_path / "pid").read_text() or 0))


def test_a_tool_that_became_another_user_cannot_be_killed_and_that_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killpg(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", killpg)  # such a tool needs a program that root has prepared
    assert run_tool(tool(tmp_path, "echo fine"), b"").answer == "fine\n"
