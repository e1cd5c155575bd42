"""How a process ends: with the reader of its output, or by a signal; silently, at once, and visibly to its parent."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Iterator

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import BIN, FILTERS, WRAPPERS, Process, end_of, environment, expect, quoted, start, words
from tests.server import body_of, serve

CHUNK = body_of("chat-stream").splitlines(keepends=True)[0]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class Silent:
    """Says what it is told, in HTTP chunks, and then nothing more."""

    def __init__(self, *lines: bytes) -> None:
        self.lines = lines
        self.asked = threading.Event()
        self.over = threading.Event()

    def __call__(self, exchange: RequestHandler) -> None:
        if self.lines:
            exchange.head(200, "application/x-ndjson")
            for line in self.lines:
                exchange.chunk(line)
        self.asked.set()
        self.over.wait(60)


@contextlib.contextmanager
def silent(*lines: bytes) -> Iterator[tuple[Silent, str]]:
    respond = Silent(*lines)
    with serve(respond) as server:
        try:
            yield respond, server.url
        finally:
            respond.over.set()


@contextlib.contextmanager
def never_accepts() -> Iterator[str]:
    """A listener whose queue is full: a connection to it is never refused and never made."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            assert sock.connect_ex(address) in (0, errno.EINPROGRESS)
        yield f"http://127.0.0.1:{address[1]}"


def leave(process: subprocess.Popen[bytes]) -> None:
    """The reader of stdout goes away, and nothing else happens."""
    assert process.stdout
    process.stdout.close()


def test_send_ends_with_its_reader_while_the_server_is_silent() -> None:
    with silent(CHUNK) as (_, url):
        process = start("send", "-m", "m", "hi", env={"OLLAMA_HOST": url})
        expect(process.stdout, CHUNK)
        leave(process)
        assert_silent_end(process, signal.SIGPIPE)


def test_send_ends_with_its_reader_before_the_first_byte() -> None:
    with silent() as (respond, url):
        process = start("send", "-m", "m", "hi", env={"OLLAMA_HOST": url})
        assert respond.asked.wait(60)
        leave(process)
        assert_silent_end(process, signal.SIGPIPE)


def test_send_ends_with_its_reader_while_it_connects() -> None:
    with never_accepts() as url:
        process = start("send", "-m", "m", "-v", "--connect-timeout", "300", "hi", env={"OLLAMA_HOST": url})
        expect(process.stderr, b"send: POST ")
        leave(process)
        assert end_of(process) == -signal.SIGPIPE


def test_send_ends_with_its_reader_in_a_pause_before_it_tries_again() -> None:
    def busy(exchange: RequestHandler) -> None:
        exchange.head(503, "application/json", 0, Retry_After="300")
        exchange.raw(b"")

    with serve(busy) as server:
        process = start("send", "-m", "m", "--retry", "3", "hi", env={"OLLAMA_HOST": server.url})
        expect(process.stderr, b"send: an empty answer (status code: 503); try 1 of 3 in 300.0 s\n")
        leave(process)
        assert_silent_end(process, signal.SIGPIPE)


def test_send_ends_with_its_reader_while_it_reads_the_prompt() -> None:
    process = start("send", "-m", "m")
    leave(process)
    assert_silent_end(process, signal.SIGPIPE)


@pytest.mark.parametrize("options", [[], ["-w", "/dev/null"]])
@pytest.mark.parametrize("command", FILTERS)
def test_a_filter_ends_with_its_reader_while_its_input_is_silent(command: str, options: list[str]) -> None:
    process = start(command, *options)
    assert process.stdin
    process.stdin.write(CHUNK)
    process.stdin.flush()
    leave(process)
    assert_silent_end(process, signal.SIGPIPE)


@pytest.mark.parametrize("command", ["send", *FILTERS])
def test_a_whole_pipe_ends_with_its_last_reader(command: str) -> None:
    """As `send | FILTER -w FILE | head -1` does, while the server is silent."""
    with silent(CHUNK) as (_, url):
        env = environment(OLLAMA_HOST=url)
        script = f"{{ send -m m hi; echo send $? >&2; }} | {{ {quoted(command)} -w /dev/null; echo filter $? >&2; }}"
        if command == "send":
            script = "send -m m hi; echo send $? >&2"
        with Process(["sh", "-c", script], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            expect(process.stdout, CHUNK)
            leave(process)
            process.wait(30)
            statuses = sorted(process.stderr.read().splitlines())
    assert statuses == ([] if command == "send" else [b"filter 141"]) + [b"send 141"]


@pytest.mark.parametrize("options", [[], ["-w", "/dev/null"], ["-w", "/dev/stdout"], ["-w", "/dev/fd/1"]])
@pytest.mark.parametrize("command", ["send", *FILTERS])
def test_a_reader_who_was_never_there_is_no_error(command: str, options: list[str], tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(body_of("chat-think-true"))
    reader, writer = os.pipe()
    os.close(reader)
    with silent(CHUNK) as (_, url), open(tmp_path / "in", "rb") as stdin:
        arguments = ["-m", "m"] if command == "send" else options
        process = start(command, *arguments, stdin=stdin, stdout=writer, env={"OLLAMA_HOST": url})
        os.close(writer)
        assert_silent_end(process, signal.SIGPIPE)


def test_the_reader_of_another_output_is_no_reader_of_ours() -> None:
    """As tee does: the stream goes on, and the failure is told."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = body_of("chat-stream")
    process = start("extract-content", "-w", f"/dev/fd/{writer}", pass_fds=[writer])
    os.close(writer)
    stdout, stderr = process.communicate(stream, timeout=60)
    assert (process.returncode, stderr.decode()) == (1, f"extract-content: /dev/fd/{writer}: Broken pipe\n")
    assert stdout.startswith(stream)


def assert_silent_end(process: subprocess.Popen[bytes], number: int) -> None:
    with process:
        assert process.wait(30) == -number
        assert process.stderr
        assert process.stderr.read() == b""


@contextlib.contextmanager
def waiting(tmp_path: Path, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command, the last word of argv, that has begun its work and waits."""
    command = os.path.basename(argv[-1])
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    wrapped = {"replay": ["-q", str(tmp_path / "recording")], "record": ["-q", "-a", str(tmp_path / "recording")]}
    arguments = {"send": ["-m", "m", "hi"], **wrapped}.get(command, words(command, "-w", "/dev/null")[1:])
    (tmp_path / "recording").write_bytes(CHUNK)
    with silent(CHUNK) as (_, url):
        process = subprocess.Popen([*argv, *arguments], env=environment(OLLAMA_HOST=url), **pipes)
        assert process.stdin
        if command in WRAPPERS:
            expect(process.stdout, b"http://127.0.0.1:")
        else:
            process.stdin.write(CHUNK)
            process.stdin.flush()
            expect(process.stdout, CHUNK)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["send", *WRAPPERS, *FILTERS])
def test_a_signal_ends_a_waiting_command_by_that_signal(command: str, number: signal.Signals, tmp_path: Path) -> None:
    with waiting(tmp_path, str(BIN / command)) as process:
        process.send_signal(number)
        assert process.wait(30) == -number
        assert process.stderr
        assert process.stderr.read() == b""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["send", *WRAPPERS, "stats"])
def test_an_ignored_signal_stays_ignored(command: str, number: signal.Signals, tmp_path: Path) -> None:
    """As under nohup, or behind the & of a plain sh. By a launcher: coverage would take SIGTERM for itself."""
    ignored = f"trap '' {number.name[3:]}; exec \"$@\""
    with waiting(tmp_path, "sh", "-c", ignored, "sh", str(BIN / command)) as process:
        process.send_signal(number)
        # A higher number: of two that wait the kernel delivers the lower first.
        process.send_signal(signal.SIGVTALRM)
        assert process.wait(30) == -signal.SIGVTALRM


INTERRUPTED_EARLY = """
import posix, sys
def hook(event, arguments):
    if event == "import" and arguments[0] != "_signal":
        posix.kill(posix.getpid(), 2)
path = sys.argv[1]
code = compile(open(path).read(), path, "exec")
sys.addaudithook(hook)
exec(code, {"__file__": path, "__name__": "__main__"})
"""


def test_an_interrupt_during_the_first_import_is_silent() -> None:
    argv = [sys.executable, "-I", "-S", "-c", INTERRUPTED_EARLY, str(BIN / "ostream"), "--version"]
    result = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, b"", b"")


def as_process_1(*argv: str) -> list[str]:
    """What runs a command as process 1 of a PID namespace, as root or as a user who may have one."""
    for user in ([], ["--user", "--map-root-user"]):
        wrapper = ["unshare", *user, "--fork", "--pid", "--kill-child"]
        with contextlib.suppress(FileNotFoundError):
            if not subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
                return [*wrapper, sys.executable, *argv]
    pytest.skip("unshare --pid is not permitted here")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["send", *WRAPPERS, "extract-content"])
def test_process_1_exits_with_the_status_of_the_signal(command: str, number: signal.Signals, tmp_path: Path) -> None:
    """The kernel protects process 1 of a container from the default action of a signal."""
    with waiting(tmp_path, *as_process_1("-m", "ostream", command)) as process:
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            child = int(file.read())
        os.kill(child, number)
        assert process.wait(30) == 128 + number


def test_process_1_ends_when_its_reader_does(tmp_path: Path) -> None:
    with waiting(tmp_path, *as_process_1("-m", "ostream", "send")) as process:
        leave(process)
        assert process.wait(30) == 128 + signal.SIGPIPE


def test_process_1_ends_when_its_reader_was_never_there(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(CHUNK)
    reader, writer = os.pipe()
    os.close(reader)
    argv = as_process_1("-m", "ostream", "extract-content", str(tmp_path / "in"))
    assert subprocess.run(argv, env=environment(), stdout=writer, check=False).returncode == 128 + signal.SIGPIPE
    os.close(writer)


def test_process_1_passes_on_the_death_of_what_it_runs(tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(CHUNK)
    command = ["replay", str(tmp_path / "recording"), "--", "sh", "-c", "kill -9 $$"]
    argv = as_process_1("-m", "ostream", *command)
    assert subprocess.run(argv, env=environment(), check=False).returncode == 128 + signal.SIGKILL


SIGNALED_EARLY = """
import os, signal, sys
def hook(event, _):
    if event == "subprocess.Popen":
        os.kill(os.getpid(), signal.SIGTERM)
hook.__cantrace__ = True  # so that coverage sees the signal's handler
sys.addaudithook(hook)
from ostream.__main__ import main
sys.exit(main(["replay", sys.argv[1], "--", "sleep", "300"]))
"""


def test_replay_passes_on_a_signal_that_comes_before_its_command(tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(CHUNK)
    argv = ["-c", SIGNALED_EARLY, str(tmp_path / "recording")]
    for python, status in (([sys.executable, *argv], -signal.SIGTERM), (as_process_1(*argv), 128 + signal.SIGTERM)):
        assert subprocess.run(python, env=environment(), timeout=60, check=False).returncode == status


# The first sh leaves an orphan that has ended; COMMAND asks the kernel what became of it.
ORPHAN = "sh -c 'sleep 0 & echo $!' > orphan; while kill -0 $(cat orphan) 2>&-; do sleep 0.05; done; exit 9"


def test_process_1_buries_what_its_command_leaves_behind(tmp_path: Path) -> None:
    """Nobody else can, and a container lives long."""
    (tmp_path / "recording").write_bytes(CHUNK)
    argv = as_process_1("-m", "ostream", "replay", str(tmp_path / "recording"), "--", "sh", "-c", ORPHAN)
    assert subprocess.run(argv, env=environment(), cwd=tmp_path, timeout=60, check=False).returncode == 9
