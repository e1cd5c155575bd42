"""The command of record and replay: its environment, its signals and its exit status."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator

import pytest

from ostream.recording.http_server import Server
from tests.process import WRAPPERS, call, environment, expect, run, sh, start
from tests.server import body_of, reserved_port, send_lines, serve
from tests.tiers import sample

CHAT = body_of("chat-stream")


@pytest.fixture(params=WRAPPERS)
def wrapper(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """A wrapper and its FILE."""
    if request.param == "replay":
        (tmp_path / "recording").write_bytes(CHAT)
    return [request.param, str(tmp_path / "recording")]


SHOW = 'echo "$OLLAMA_MODEL $NO_PROXY $no_proxy"; case $OLLAMA_HOST in http://127.0.0.1:[0-9]*) exit 5; esac'
ENVIRONMENTS = [
    ({"OLLAMA_MODEL": "mine"}, "mine 127.0.0.1 127.0.0.1"),
    ({"OLLAMA_MODEL": "mine", "OLLAMA_HOST": "elsewhere"}, "mine 127.0.0.1 127.0.0.1"),
    ({"OLLAMA_MODEL": "mine", "NO_PROXY": "a", "no_proxy": "b"}, "mine a,127.0.0.1 b,127.0.0.1"),
]


@pytest.mark.parametrize(("env", "shown"), ENVIRONMENTS)
def test_the_environment_of_the_command(wrapper: list[str], env: dict[str, str], shown: str) -> None:
    result = call(*wrapper, "--", "sh", "-c", SHOW, env=env)
    assert (result.returncode, result.stdout.decode(), result.stderr) == (5, shown + "\n", b"")


def test_the_command_inherits_open_descriptors(wrapper: list[str], tmp_path: Path) -> None:
    (tmp_path / "expected").write_bytes(CHAT)
    script = "send -m m hi | stats --field chunks -w /dev/fd/9 | cmp - expected"
    with serve(send_lines(*CHAT.splitlines(keepends=True))) as server:
        env = {"SCRIPT": script, "OLLAMA_HOST": server.url}
        result = sh(f'python3 -m ostream {" ".join(wrapper)} -- sh -c "$SCRIPT" 9> out', env=env, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert (tmp_path / "out").read_bytes() == b"%d\n" % CHAT.count(b"\n")


def test_the_port_can_be_chosen(wrapper: list[str]) -> None:
    with reserved_port() as port:
        command = ["--port", str(port), "--", "sh", "-c", f'[ "$OLLAMA_HOST" = http://127.0.0.1:{port} ]']
        assert call(*wrapper, *command).returncode == 0
        with Server(str, port):
            result = call(wrapper[0], "--port", str(port), *wrapper[1:], "--", "true")
    message = f"{wrapper[0]}: port {port}: Address already in use; choose another --port\n"
    assert (result.returncode, result.stderr.decode()) == (2, message)


def test_a_wrapper_exits_like_its_command(wrapper: list[str]) -> None:
    assert call(*wrapper, "--", "true").returncode == 0
    assert call(*wrapper, "--", "sh", "-c", "exit 75").returncode == 75
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGPIPE):
        result = run(*wrapper, "--", "sh", "-c", f"kill -{number.value} $$")
        assert (result.returncode, result.stderr) == (-number, b"")


@pytest.mark.parametrize(("command", "reason"), [("/no/such", "No such file or directory"), ("/", "Permission denied")])
def test_a_command_that_cannot_be_run_is_reported(wrapper: list[str], command: str, reason: str) -> None:
    result = call(*wrapper, "--", command)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode() == f"{wrapper[0]}: {command}: {reason}\n"


@contextlib.contextmanager
def with_command(wrapper: list[str], script: str, before: str = ":") -> Iterator[subprocess.Popen[bytes]]:
    """Start a wrapper, and yield its process when its command is ready."""
    with start(*wrapper, "--", "sh", "-c", f"{before}; echo ready; {script}") as process:
        expect(process.stdout, b"ready\n")
        yield process


PASSED_ON = [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2]


@pytest.mark.parametrize("number", sample(PASSED_ON, [signal.SIGTERM]))
def test_a_signal_is_passed_on(wrapper: list[str], number: signal.Signals) -> None:
    trap = f"trap 'echo got; exit 9' {number.name[3:]}"
    with with_command(wrapper, "while :; do sleep 0.05; done", trap) as process:
        process.send_signal(number)
        expect(process.stdout, b"got\n")
        assert process.wait(60) == 9


def test_ctrl_c_reaches_the_command_once(wrapper: list[str]) -> None:
    """The terminal sends it to both processes, so it is not passed on."""
    count = "n=0; trap 'n=$((n+1))' INT; echo ready; read x; read x; echo n=$n."
    pid, terminal = pty.fork()
    if not pid:
        argv = [sys.executable, "-m", "ostream", *wrapper, "--", "sh", "-c", count]
        os.execve(sys.executable, argv, environment())
    shown = b""
    for wanted, typed in ((b"ready", b"\x03"), (b"^C", b"\n\n"), (b"n=1.", b"")):
        while wanted not in shown:
            shown += os.read(terminal, 1000)  # raises OSError at the end
        os.write(terminal, typed)
    os.waitpid(pid, 0)
    os.close(terminal)


def test_an_interrupt_from_elsewhere_is_passed_on(wrapper: list[str]) -> None:
    command = ["sh", "-c", "trap 'exit 7' INT; echo ready; while :; do sleep 0.05; done"]
    with start(*wrapper, "--", *command, start_new_session=True) as process:
        expect(process.stdout, b"ready\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 7


def test_an_ignored_signal_is_not_passed_on(wrapper: list[str]) -> None:
    command = "python3 -m ostream " + " ".join(wrapper)
    result = sh(f"trap '' HUP; exec {command} -- sh -c 'kill -HUP $PPID; read x; exit 5'", stdin=b"\n")
    assert (result.returncode, result.stderr) == (5, b"")


def switches(process: subprocess.Popen[bytes]) -> int:
    """Return how often the threads of a process have gone to sleep."""
    count = 0
    for path in Path(f"/proc/{process.pid}/task").glob("*/status"):
        count += int(path.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return count


@pytest.mark.full
@pytest.mark.linux
def test_a_wrapper_does_not_wake_up_without_requests(wrapper: list[str]) -> None:
    with start(*wrapper) as process:
        process.stdout.readline()
        end = time.monotonic() + 30
        before = -1
        while before != (before := switches(process)):
            assert time.monotonic() < end, "it wakes up again and again"
            time.sleep(0.5)
        process.terminate()


def test_the_status_of_the_command_is_correct_although_sigchld_was_ignored(wrapper: list[str]) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    assert run(*wrapper, "--", "sh", "-c", "exit 7", preexec_fn=ignore).returncode == 7
