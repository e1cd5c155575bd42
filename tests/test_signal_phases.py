"""A signal ends a command at once and without a word, whatever it is doing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import FILTERS, end_of, expect, start
from tests.server import body_of, serve
from tests.test_signals import CHUNK, SIGNALS, assert_silent_end, leave, never_accepts, silent


@contextlib.contextmanager
def phase(name: str, tmp_path: Path) -> Iterator[tuple[list[str], bytes]]:
    """The arguments of a send that stays in this phase, and what it says with -v before it does."""
    ask = ["-v", "-m", "m"]
    if name == "reading the prompt":
        os.mkfifo(tmp_path / "fifo")
        yield [*ask, "--header-file", "/dev/null", "--body", str(tmp_path / "fifo")], b""
    elif name == "connecting":
        with never_accepts() as url:
            yield [*ask, "--host", url, "--connect-timeout", "300", "hi"], b"send: POST "
    elif name in ("TLS", "first byte"):
        with silent() as (_, url):
            host = url.replace("http:", "https:") if name == "TLS" else url
            yield [*ask, "--connect-timeout", "300", "--host", host, "hi"], b"send: POST "
    elif name == "streaming":
        with silent(CHUNK) as (_, url):
            yield [*ask, "--host", url, "hi"], b"send: POST "
    else:

        def busy(exchange: RequestHandler) -> None:
            exchange.head(503, "application/json", 0, Retry_After="300")
            exchange.raw(b"")

        with serve(busy) as server:
            yield [*ask, "--host", server.url, "--retry", "1", "hi"], b"send: POST "


PHASES = ["reading the prompt", "connecting", "TLS", "first byte", "streaming", "pausing"]


@pytest.mark.parametrize("name", PHASES)
@pytest.mark.parametrize("number", SIGNALS)
def test_send_ends_by_a_signal_in_every_phase(name: str, number: signal.Signals, tmp_path: Path) -> None:
    with phase(name, tmp_path) as (arguments, said):
        process = start("send", *arguments)
        expect(process.stderr, said)
        if name == "streaming":
            expect(process.stdout, CHUNK)
        if name == "reading the prompt":
            with open(tmp_path / "fifo", "wb"):  # it has come to open it
                process.send_signal(number)
                status = process.wait(30)
        else:
            process.send_signal(number)
            status = process.wait(30)
        with process:
            assert (status, process.stdout.read() if process.stdout else b"") == (-number, b"")
            # The rest of what -v said, and nothing about the signal.
            rest = process.stderr.read().decode() if process.stderr else ""
    assert "Traceback" not in rest and "nterrupt" not in rest and '{"error"' not in rest


@pytest.mark.parametrize("command", ["send", *FILTERS])
def test_where_the_signal_of_a_broken_pipe_is_blocked_the_status_says_it(command: str) -> None:
    """A program may leave its children a mask of blocked signals."""

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])

    process = start(command, *(["-m", "m"] if command == "send" else ["-w", "/dev/null"]), preexec_fn=block)
    leave(process)
    with process:
        assert process.wait(30) == 128 + signal.SIGPIPE
        assert process.stderr and process.stderr.read() == b""


@pytest.mark.parametrize("command", ["send", *FILTERS])
def test_a_command_ends_with_its_reader_while_nobody_writes_the_fifo_it_reads(command: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = start(command, *(["-m", "m", "--body"] if command == "send" else []), tmp_path / "fifo")
    leave(process)
    assert_silent_end(process, signal.SIGPIPE)


@pytest.mark.parametrize("command", FILTERS)
def test_a_fifo_is_read_from_its_first_writer_to_its_end(command: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with start(command, "-w", "/dev/null", tmp_path / "fifo") as process:
        with (tmp_path / "fifo").open("wb") as fifo:  # waits for a reader
            for line in body_of("chat-stream").splitlines(keepends=True):
                fifo.write(line)
                fifo.flush()
                expect(process.stdout, line)
        assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 0


@pytest.mark.parametrize("command", FILTERS)
def test_the_source_ends_when_the_reader_of_any_filter_leaves(command: str) -> None:
    """Two processes joined by a pipe of ours, so that both ends can be waited for."""
    with silent(CHUNK) as (_, url):
        source = start("send", "-m", "m", "hi", stderr=subprocess.DEVNULL, env={"OLLAMA_HOST": url})
        process = start(command, "-w", "/dev/null", stdin=source.stdout)
        assert source.stdout
        source.stdout.close()
        expect(process.stdout, CHUNK)
        leave(process)
        assert end_of(process) == -signal.SIGPIPE
        assert end_of(source) == -signal.SIGPIPE
