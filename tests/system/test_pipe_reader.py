"""A failure is reported after the text that the reader of a pipe still writes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any, Iterator

import pytest

from ostream.cli.filter_output import FilterOutput, Reports
from ostream.errors import OstreamError
from ostream.system import pipe_reader, process
from ostream.system.diagnostics import Diagnostics
from ostream.system.pipe_reader import reader_reports, wait_read, wait_settled
from tests.process import call, end_of, sh, start
from tests.server import send_lines, serve

A = b'{"message":{"content":"some text"},"done":false}\n'
FAILING = send_lines(A, b'{"error":"boom"}\n')


def start_pipe(server: Any, output: Any, **options: Any) -> tuple[Any, Any]:
    """send and extract-content, joined by a pipe; the filter has locked it and is stopped."""
    read, write = os.pipe()
    reader = start("extract-content", stdin=read, stdout=output, stderr=output)
    while str(os.fstat(read).st_ino) not in Path("/proc/locks").read_text():
        time.sleep(0.01)
    reader.send_signal(signal.SIGSTOP)
    writer = start(
        "send",
        "-m",
        "m",
        "--host",
        server.url,
        "hi",
        stdin=subprocess.DEVNULL,
        stdout=write,
        **{"stderr": output, **options},
    )
    os.close(read)
    while unread_bytes(write) <= len(A):  # until the error line is there
        time.sleep(0.01)
    os.close(write)
    return writer, reader


def unread_bytes(fd: int) -> int:
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.linux
def test_the_message_follows_the_text_even_if_the_filter_is_stopped_for_a_second(tmp_path: Path) -> None:
    with serve(FAILING) as server, (tmp_path / "output").open("wb") as output:
        writer, reader = start_pipe(server, output)
        time.sleep(1)
        assert (tmp_path / "output").read_bytes() == b""
        reader.send_signal(signal.SIGCONT)
        assert (end_of(writer), end_of(reader)) == (1, 1)
    assert (tmp_path / "output").read_bytes() == b"some text\nsend: boom\n"


@pytest.mark.linux
def test_if_the_filter_dies_send_reports(tmp_path: Path) -> None:
    with serve(FAILING) as server, (tmp_path / "output").open("wb") as output:
        writer, reader = start_pipe(server, output)
        reader.kill()
        assert end_of(writer) == 1
        end_of(reader)
    assert (tmp_path / "output").read_bytes() == b"send: boom\n"


@pytest.mark.linux
def test_send_reports_to_its_own_stderr_if_the_filter_has_another(tmp_path: Path) -> None:
    with serve(FAILING) as server, (tmp_path / "output").open("wb") as output:
        writer, reader = start_pipe(server, output, stderr=subprocess.PIPE)
        assert writer.communicate(timeout=30)[1] == b"send: boom\n"
        reader.send_signal(signal.SIGCONT)
        end_of(reader)
    assert (tmp_path / "output").read_bytes() == b"some text\n"


@pytest.mark.parametrize(
    "pipe",
    [
        "extract-content",
        "{ sleep 0.5; extract-content; }",
        "extract-thinking -w thinking | { sleep 0.5; extract-content; }",
    ],
)
@pytest.mark.linux
def test_the_last_filter_prints_the_message_after_its_text(pipe: str, tmp_path: Path) -> None:
    with serve(FAILING) as server:
        result = sh(f"{{ send -m m hi | {pipe}; }} 2>&1", env={"OLLAMA_HOST": server.url}, cwd=tmp_path)
    assert (result.stdout.decode(), result.returncode) == ("some text\nsend: boom\n", 1)


@pytest.mark.linux
def test_a_failure_that_a_filter_finds_is_reported_by_the_last_one() -> None:
    result = sh("{ extract-thinking -w /dev/null | extract-content; } 2>&1", stdin=A + A[:9])
    assert (
        result.stdout.decode() == "some text\nextract-thinking: standard input:2: the stream ended inside this line\n"
    )


@contextlib.contextmanager
def stdout_pipe() -> Iterator[int]:
    """Make stdout a pipe and give the descriptor to read it, which the caller closes."""
    read, write = os.pipe()
    saved = os.dup(1)
    os.dup2(write, 1)
    os.close(write)
    try:
        yield read
    finally:
        os.dup2(saved, 1)
        os.close(saved)


@pytest.mark.linux
def test_in_a_chain_of_filters_with_w_the_last_one_prints_the_message(capfd: pytest.CaptureFixture[str]) -> None:
    diagnostics = Diagnostics("stats")
    reports = Reports(diagnostics, FilterOutput(diagnostics, [], os.devnull))
    with stdout_pipe() as read, open(f"/proc/self/fd/{read}", "rb", buffering=0) as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)  # like the input of a filter with the same stderr
        os.close(read)
        found = json.loads(reports.error_line(OstreamError("boom")))
        assert found == {"error": "boom", "exit_status": 1, "report": "stats: boom"}
        assert reports.take(found, is_regular=False) == found
        reports.print()
    assert capfd.readouterr().err == ""


def test_a_filter_that_dies_before_the_error_line_is_written_reports_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def die() -> bool:
        os.close(read)
        return True

    def fail() -> int:
        raise OstreamError("boom")

    monkeypatch.setattr(process, "prepare_process", lambda: True)  # leave the signals of pytest alone
    monkeypatch.setattr(pipe_reader, "reader_reports", die)
    with stdout_pipe() as read:
        assert process.run_process(Diagnostics("send"), fail, errors_on_stdout=True) == 1
    assert capfd.readouterr().err == "send: boom\n"


@pytest.mark.linux
def test_another_reader_gets_a_moment_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with stdout_pipe() as read:
        with open(os.devnull, "wb") as null:
            pipe = os.dup(1)
            os.dup2(null.fileno(), 1)
            assert not reader_reports()
            os.dup2(pipe, 1)
            os.close(pipe)
        os.write(1, b"text")
        begin = time.monotonic()
        wait_settled()
        assert 0.2 <= time.monotonic() - begin < 30
        threading.Timer(0.05, os.read, (read, 4)).start()
        begin = time.monotonic()
        wait_settled()
        assert time.monotonic() - begin >= 0.05
        assert not reader_reports()
        with monkeypatch.context() as patch:  # a system that can't lock pipes
            patch.setattr(fcntl, "flock", lambda *_: os.stat("/none"))
            patch.setattr(fcntl, "ioctl", lambda *_: os.stat("/none"))
            assert not reader_reports()
            assert wait_read()
            assert call("extract-content", "-n", stdin=A).stdout == b"some text"
        with open(f"/proc/self/fd/{read}", "rb", buffering=0) as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert reader_reports()
            monkeypatch.setattr(pipe_reader, "_lock_owner", lambda: 0)  # that of another container
            assert not reader_reports()
            monkeypatch.undo()
        with open(__file__, "rb") as other:
            fcntl.flock(other, fcntl.LOCK_SH)  # so that another file is locked
            assert pipe_reader._lock_owner() == 0
        os.write(1, b"text")
        os.close(read)
        assert not wait_read()


@pytest.mark.linux
def test_output_is_closed_and_the_end_of_its_reader_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) in (1, 3):  # the reader starts, and ends
            fcntl.flock(reader, fcntl.LOCK_EX if len(waits) == 1 else fcntl.LOCK_UN)

    monkeypatch.setattr(time, "sleep", sleep)
    with stdout_pipe() as read:
        reader = os.open(f"/proc/self/fd/{read}", os.O_RDONLY)
        os.write(1, b"text")
        pipe_reader.end_output()
        assert len(waits) == 4
        assert (os.read(read, 9), os.read(read, 1)) == (b"text", b"")
        pipe_reader.end_output()  # it is not a pipe any more
        os.close(reader)
        os.close(read)
    with stdout_pipe() as read, monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *_: os.stat("/none"))  # no /proc
        pipe_reader.end_output()
        os.close(read)
    assert len(waits) == 4
