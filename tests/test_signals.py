"""How a command ends when its reader leaves or a signal arrives: at once, silently, with the signal as its status."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Iterator

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import BIN, FILTERS, WRAPPERS, Process, environment, expect, feed, quoted, start, unshare, words
from tests.server import black_hole, body_of, serve, stay_silent, tcp
from tests.tiers import sample, some_filters

CHUNK = body_of("chat-stream").splitlines(keepends=True)[0]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@contextlib.contextmanager
def stalled(*lines: bytes) -> Iterator[str]:
    """A server that sends these lines and then nothing; without lines, not even a header."""
    over = threading.Event()

    def respond(exchange: RequestHandler) -> None:
        if lines:
            exchange.head(200, "application/x-ndjson")
        for line in lines:
            exchange.chunk(line)
        over.wait(60)

    with serve(respond) as server:
        try:
            yield server.url
        finally:
            over.set()


def busy(exchange: RequestHandler) -> None:
    exchange.head(503, "application/json", 0, Retry_After="300")
    exchange.raw(b"")


def leave(process: subprocess.Popen[bytes]) -> None:
    """Close the read end of the process's standard output."""
    process.stdout.close()


@contextlib.contextmanager
def phase(name: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A send -v that remains in this phase."""
    with contextlib.ExitStack() as stack:
        arguments, reached = ["--connect-timeout", "300", "hi"], b"send: POST "
        if name == "reading the prompt":
            arguments, reached = ["--host", "127.0.0.1:1"], b""
        elif name == "opening a FIFO":
            os.mkfifo(tmp_path / "fifo")
            arguments, reached = ["--body", str(tmp_path / "fifo")], b""
        elif name == "connecting":
            arguments += ["--host", f"127.0.0.1:{stack.enter_context(black_hole())}"]
        elif name == "pausing before a retry":
            arguments += ["--retry", "1", "--host", stack.enter_context(serve(busy)).url]
        elif name == "TLS":
            # Not an HTTP server: it would reject a ClientHello that happens to contain a line end.
            arguments += ["--host", f"https://127.0.0.1:{stack.enter_context(tcp(stay_silent))}"]
        else:
            arguments += ["--host", stack.enter_context(stalled(*([CHUNK] if name == "streaming" else [])))]
        process = stack.enter_context(start("send", "-v", "-m", "m", *arguments))
        expect(process.stderr, reached)
        if name == "streaming":
            expect(process.stdout, CHUNK)
        yield process


PHASES = [
    "reading the prompt",
    "opening a FIFO",
    "connecting",
    "TLS",
    "first byte",
    "streaming",
    "pausing before a retry",
]
ENDS = [*itertools.product(PHASES, [signal.SIGPIPE, *SIGNALS])]


@pytest.mark.parametrize(("name", "number"), sample(ENDS, [*zip(PHASES, [signal.SIGPIPE, *SIGNALS] * 2)]))
def test_send_ends_in_every_phase(name: str, number: signal.Signals, tmp_path: Path) -> None:
    with phase(name, tmp_path) as process:
        if number == signal.SIGPIPE:
            leave(process)
        else:
            process.send_signal(number)
            assert process.stdout and process.stdout.read() == b""
        rest = process.stderr.read().decode()
        assert process.wait(30) == -number
    assert "Traceback" not in rest and "nterrupt" not in rest and '{"error"' not in rest


@some_filters
def test_a_pipeline_ends_when_its_last_reader_leaves(command: str) -> None:
    """Like `send | FILTER -w FILE | head -1` while the server is silent."""
    with stalled(CHUNK) as url:
        script = f"{{ send -m m hi; echo send $? >&2; }} | {{ {quoted(command)} -w /dev/null; echo filter $? >&2; }}"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with Process(["sh", "-c", script], env=environment(OLLAMA_HOST=url), **pipes) as process:
            expect(process.stdout, CHUNK)
            leave(process)
            process.wait(30)
            assert sorted(process.stderr.read().splitlines()) == [b"filter 141", b"send 141"]


@pytest.mark.parametrize("command", sample(["send", *FILTERS], ["send", "stats"]))
def test_a_command_with_sigpipe_blocked_exits_with_141(command: str) -> None:
    """A process inherits the mask of blocked signals."""

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])

    process = start(command, *(["-m", "m"] if command == "send" else ["-w", "/dev/null"]), preexec_fn=block)
    leave(process)
    with process:
        assert process.wait(30) == 128 + signal.SIGPIPE
        assert process.stderr and process.stderr.read() == b""


@some_filters
def test_a_filter_ends_with_its_reader_while_no_writer_opens_its_fifo(command: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = start(command, tmp_path / "fifo")
    leave(process)
    assert_silent_end(process, signal.SIGPIPE)


W = [[], ["-w", "/dev/stdout"], ["-w", "/dev/fd/1"]]
WITHOUT_READER = [["send", "-m", "m"], *(words(name, *options) for name in FILTERS for options in W)]


@pytest.mark.parametrize("argv", sample(WITHOUT_READER, 6), ids=" ".join)
def test_a_missing_reader_is_not_an_error(argv: list[str], tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(body_of("chat-think-true"))
    reader, writer = os.pipe()
    os.close(reader)
    with stalled(CHUNK) as url, open(tmp_path / "in", "rb") as stdin:
        process = start(*argv, stdin=stdin, stdout=writer, env={"OLLAMA_HOST": url})
        os.close(writer)
        assert_silent_end(process, signal.SIGPIPE)


def test_a_missing_reader_of_w_is_an_error() -> None:
    """As with tee: the stream continues, and the failure is reported."""
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
        assert process.stderr.read() == b""


@contextlib.contextmanager
def waiting(tmp_path: Path, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running command, the last word of argv, that waits for input."""
    command = os.path.basename(argv[-1])
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    wrapped = {"replay": ["-q", str(tmp_path / "recording")], "record": ["-q", "-a", str(tmp_path / "recording")]}
    arguments = {"send": ["-m", "m", "hi"], **wrapped}.get(command, words(command, "-w", "/dev/null")[1:])
    (tmp_path / "recording").write_bytes(CHUNK)
    with stalled(CHUNK) as url:
        process = subprocess.Popen([*argv, *arguments], env=environment(OLLAMA_HOST=url), **pipes)
        if command in WRAPPERS:
            expect(process.stdout, b"http://127.0.0.1:")
        else:
            feed(process, CHUNK)
            expect(process.stdout, CHUNK)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


TERMINATED = [*itertools.product(["send", *WRAPPERS, *FILTERS], SIGNALS)]
ONE_OF_EACH_KIND = [*itertools.product(["send", "replay", "stats"], SIGNALS)]


@pytest.mark.parametrize(("command", "number"), sample(TERMINATED, 4))
def test_a_signal_terminates_a_waiting_command(command: str, number: signal.Signals, tmp_path: Path) -> None:
    with waiting(tmp_path, str(BIN / command)) as process:
        process.send_signal(number)
        assert process.wait(30) == -number
        assert process.stderr.read() == b""


@pytest.mark.parametrize(("command", "number"), sample(ONE_OF_EACH_KIND, 4))
def test_an_ignored_signal_stays_ignored(command: str, number: signal.Signals, tmp_path: Path) -> None:
    """As under nohup or after & in plain sh. Through the launcher, since coverage handles SIGTERM."""
    ignored = f"trap '' {number.name[3:]}; exec \"$@\""
    with waiting(tmp_path, "sh", "-c", ignored, "sh", str(BIN / command)) as process:
        process.send_signal(number)
        # Of two pending signals the kernel delivers the lower number first.
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
    """A command line that runs this Python as process 1 of a PID namespace."""
    options = "--fork --pid --kill-child"
    wrapper = unshare(options) or unshare(f"--user --map-root-user {options}")
    return [*wrapper, sys.executable, *argv] if wrapper else pytest.skip("unshare --pid is not permitted here")


@pytest.mark.parametrize(("command", "number"), sample(ONE_OF_EACH_KIND, 4))
@pytest.mark.linux
def test_process_1_exits_with_128_plus_the_signal(command: str, number: signal.Signals, tmp_path: Path) -> None:
    """The kernel ignores the default action of signals for process 1."""
    with waiting(tmp_path, *as_process_1("-m", "ostream", command)) as process:
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            child = int(file.read())
        os.kill(child, number)
        assert process.wait(30) == 128 + number


@pytest.mark.linux
def test_process_1_ends_with_its_reader(tmp_path: Path) -> None:
    with waiting(tmp_path, *as_process_1("-m", "ostream", "send")) as process:
        leave(process)
        assert process.wait(30) == 128 + signal.SIGPIPE


@pytest.mark.linux
def test_process_1_ends_without_a_reader(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(CHUNK)
    reader, writer = os.pipe()
    os.close(reader)
    argv = as_process_1("-m", "ostream", "extract-content", str(tmp_path / "in"))
    assert subprocess.run(argv, env=environment(), stdout=writer, check=False).returncode == 128 + signal.SIGPIPE
    os.close(writer)


@pytest.mark.linux
def test_process_1_reports_the_signal_that_killed_its_command(tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(CHUNK)
    command = ["replay", str(tmp_path / "recording"), "--", "sh", "-c", "kill -9 $$"]
    argv = as_process_1("-m", "ostream", *command)
    assert subprocess.run(argv, env=environment(), check=False).returncode == 128 + signal.SIGKILL


SIGNALED_EARLY = """
import os, signal, sys
def hook(event, _):
    if event == "subprocess.Popen":
        os.kill(os.getpid(), signal.SIGTERM)
hook.__cantrace__ = True  # lets coverage trace the signal handler
sys.addaudithook(hook)
from ostream.__main__ import main
sys.exit(main(["replay", sys.argv[1], "--", "sleep", "300"]))
"""


@pytest.mark.parametrize("is_process_1", [False, pytest.param(True, marks=pytest.mark.linux)])
def test_replay_forwards_a_signal_that_arrives_before_its_command_starts(is_process_1: bool, tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(CHUNK)
    argv = ["-c", SIGNALED_EARLY, str(tmp_path / "recording")]
    argv = as_process_1(*argv) if is_process_1 else [sys.executable, *argv]
    status = 128 + signal.SIGTERM if is_process_1 else -signal.SIGTERM
    assert subprocess.run(argv, env=environment(), timeout=60, check=False).returncode == status


# The first sh leaves an orphan that exits; the loop waits until it has been reaped.
ORPHAN = "sh -c 'sleep 0 & echo $!' > orphan; while kill -0 $(cat orphan) 2>&-; do sleep 0.05; done; exit 9"


@pytest.mark.linux
def test_process_1_reaps_orphans(tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(CHUNK)
    argv = as_process_1("-m", "ostream", "replay", str(tmp_path / "recording"), "--", "sh", "-c", ORPHAN)
    assert subprocess.run(argv, env=environment(), cwd=tmp_path, timeout=60, check=False).returncode == 9


WAITING = [
    # a command that opens the FIFO f, what is missing, how it is provided
    (["send", "-m", "m", "--host", "127.0.0.1:1", "--messages", "f"], "write to", "wb"),
    (["send", "-m", "m", "--host", "127.0.0.1:1", "--body", "f"], "write to", "wb"),
    (["send", "-m", "m", "--host", "127.0.0.1:1", "--image", "f", "hi"], "write to", "wb"),
    (["record", "f", "--", "true"], "read", "rb"),
    (["extract-content", "-w", "f"], "read", "rb"),
]


@pytest.mark.parametrize(("arguments", "missing", "mode"), WAITING)
def test_a_wait_for_the_other_end_of_a_fifo_is_reported_after_a_second(
    arguments: list[str], missing: str, mode: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "f")
    with start(*arguments, cwd=tmp_path) as process:
        expect(process.stderr, f"{arguments[0]}: f: waiting for another program to {missing} this FIFO\n".encode())
        (tmp_path / "f").open(mode).close()
        process.communicate(timeout=60)
    assert process.returncode == {"record": 0, "send": 2, "extract-content": 3}[arguments[0]]
