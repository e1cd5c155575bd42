"""Terminals, non-blocking descriptors and messages of real commands."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import stat
import sys
import threading
from pathlib import Path
from typing import IO, Any

import pytest

from ostream.errors import InputError, OutputError, RequestError
from ostream.system.diagnostics import Diagnostics
from ostream.system.input import open_input, read_blocks
from ostream.system.output import Output, open_output
from ostream.system.process import run_process
from tests.process import FILTERS, Terminal, call, run, start
from tests.server import send_lines, serve

EVIL = "a\x1b[31m\x07\r\x7f\x9b1m\u202e\tb\n"
SHOWN = "a^[[31m^G^M^?<9B>1m<U+202E>\tb\n"
CHUNK = (
    json.dumps({"message": {"content": EVIL, "thinking": EVIL}, "done": True}, ensure_ascii=False).encode() + b"\r\n"
)
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


TEXTS = [
    # command and options, text on a terminal
    (["extract-content"], SHOWN),
    (["extract-thinking"], SHOWN),
    (["extract-content", "-n"], SHOWN),
    (["extract-content", "-0"], SHOWN + "^@"),
    (["extract-content", "--raw-terminal"], EVIL),
]


@pytest.mark.parametrize(("argv", "shown"), TEXTS)
def test_a_terminal_shows_control_characters_and_a_pipe_gets_every_byte(argv: list[str], shown: str) -> None:
    terminal = Terminal(*argv)
    assert terminal.communicate(CHUNK) == (shown, "", "")
    assert terminal.process.returncode == 0
    assert call(*argv, stdin=CHUNK).stdout.decode() == EVIL + ("\0" if "-0" in argv else "")


NDJSON = [["collect"], ["stats", "--json"], *([name, "-w", "/dev/null"] for name in FILTERS)]


@pytest.mark.parametrize("argv", NDJSON)
def test_ndjson_on_a_terminal_decodes_to_the_same_values(argv: list[str]) -> None:
    shown = Terminal(*argv).communicate(CHUNK)[0]
    assert not STEERING.search(shown)
    assert json.loads(shown) == json.loads(call(*argv, stdin=CHUNK).stdout)
    assert Terminal(*argv, "--raw-terminal").communicate(CHUNK)[0] == call(*argv, stdin=CHUNK).stdout.decode()


@pytest.mark.parametrize("raw", [False, True])
def test_send_escapes_control_characters_on_a_terminal(raw: bool) -> None:
    with serve(send_lines(CHUNK)) as server:
        options = ["--raw-terminal"] if raw else []
        shown = Terminal("send", "-m", "m", "hi", *options, env={"OLLAMA_HOST": server.url}).communicate()[0]
    assert bool(STEERING.search(shown)) == raw
    assert json.loads(shown) == json.loads(CHUNK)
    assert not raw or shown == CHUNK.decode()


MIXED = [
    # command and options, stream, text on a terminal that is both stdout and stderr
    (["extract-content"], b'{"response":"a"}\n', "a\nextract-content: {CUT}\n"),
    (["extract-content", "-n"], b'{"response":"a"}\n', "a\nextract-content: {CUT}\n"),
    (["extract-content", "-n"], b'{"response":"a","done":true}\n{"error":"b"}\n', "a\nextract-content: {TWO}\n"),
    (["extract-content"], b'{"response":"a\\n"}\n{"error":"b"}\n', "a\nextract-content: {TWO}\n"),
    (["extract-thinking"], b'{"thinking":"a"}\n', "a\nextract-thinking: {CUT}\n"),
    (["render"], b'{"thinking":"a"}\n', "\x1b[2ma\x1b[22m\nrender: {CUT}\n"),
    (["render"], b'{"response":"a"}\n{"error":"b"}\n', "a\nrender: {TWO}\n"),
    (["collect"], b'\n{"error":"b"}\n', '{"error":"b","exit_status":1}\ncollect: {TWO}\n'),
    (["stats"], b'{"error":"b"}\n{"error":"b"}\n', "stats: standard input:1: b\nstats: {TWO}\n"),
]  # fmt: skip
CUT = 'standard input: the stream ended early (no "done": true); the partial answer was written'


@pytest.mark.parametrize(("argv", "stream", "shown"), MIXED)
def test_on_one_terminal_a_message_follows_the_text_on_a_line_of_its_own(
    argv: list[str], stream: bytes, shown: str
) -> None:
    for words, text in (("{CUT}", CUT), ("{TWO}", "standard input:2: b")):
        shown = shown.replace(words, text)
    assert Terminal(*argv, on="stdout stderr").communicate(stream)[0] == shown


def test_a_prompt_from_a_terminal_is_asked_for_and_read_to_its_end() -> None:
    master, slave = pty.openpty()
    with serve(send_lines(CHUNK)) as server:
        process = start("send", "-m", "m", stdin=slave, env={"OLLAMA_HOST": server.url})
        os.write(master, b"typed\n\x04")
        stdout, stderr = process.communicate(timeout=60)
        os.close(slave)
        os.close(master)
        (asked,) = server.requests  # type: ignore[attr-defined]
    assert (process.returncode, stdout) == (0, CHUNK)
    assert stderr == b"send: type the prompt, then press Ctrl-D at the beginning of a line\n"
    assert json.loads(asked.body)["messages"][-1]["content"] == "typed"


@pytest.mark.parametrize(("options", "note"), [([], True), (["-q"], False), (["/dev/stdin"], False)])
def test_a_filter_that_reads_from_a_terminal_notes_it(options: list[str], note: bool) -> None:
    master, slave = pty.openpty()
    process = start("extract-content", *options, stdin=slave)
    os.write(master, b'{"message":{"content":"a"},"done":true}\n\x04')
    stdout, stderr = process.communicate(timeout=60)
    os.close(slave)
    os.close(master)
    assert (process.returncode, stdout) == (0, b"a\n")
    advice = b"end it with Ctrl-D, or put 'python3 -m ostream send ... |' before it\n"
    assert stderr == (b"extract-content: reading NDJSON from the terminal; " + advice if note else b"")


def test_verbose_reports_the_request_and_the_response() -> None:
    with serve(send_lines(CHUNK)) as server:
        result = call("send", "-v", "-m", "m", "hi", env={"OLLAMA_HOST": server.url})
    assert result.stderr.decode() == (f"send: POST {server.url}/api/chat, 71 bytes\nsend: 200 application/x-ndjson\n")


@pytest.fixture
def pipe() -> Any:
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as read_end, open(writer, "wb", buffering=0) as write_end:
        yield read_end, write_end


def test_writing_to_a_full_non_blocking_pipe_waits(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    read_end, write_end = pipe
    os.set_blocking(write_end.fileno(), False)
    data = os.urandom(1 << 20)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.extend(iter(lambda: read_end.read(1 << 14), b"")))
    reader.start()
    Output(write_end.fileno(), "pipe").write_bytes(data)
    write_end.close()
    reader.join()
    assert b"".join(received) == data


def test_reading_from_an_empty_non_blocking_pipe_waits(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    read_end, write_end = pipe
    os.set_blocking(read_end.fileno(), False)
    for block in read_blocks(read_end.fileno(), "pipe") if write_end.write(b"0") else ():
        number = int(block)
        if number == 20:
            break
        # The next block is written only after the pipe was found empty.
        threading.Timer(0.01, write_end.write, [b"%d" % (number + 1)]).start()
    assert number == 20


def test_failing_descriptors_raise_errors_with_their_name(tmp_path: Path, pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    read_end, write_end = pipe
    with pytest.raises(OutputError, match=r"\Apipe: Bad file descriptor\Z"):
        Output(read_end.fileno(), "pipe").write_text("a")
    with pytest.raises(InputError, match=r"\Apipe: Bad file descriptor\Z"):
        next(read_blocks(write_end.fileno(), "pipe", reader_fd=write_end.fileno()))
    closed = os.dup(read_end.fileno())
    os.close(closed)
    with pytest.raises(OutputError, match=r"\Apipe: Bad file descriptor\Z"):
        Output(closed, "pipe").check()
    with pytest.raises(InputError, match=r"\Apipe: Bad file descriptor\Z"):
        next(read_blocks(closed, "pipe"))
    with pytest.raises(OutputError, match="embedded null"):
        open_output("a\0b", [])
    with pytest.raises(RequestError, match="is also an input"):
        open_output(str(tmp_path / "f"), ["missing", str(tmp_path / "f")])


def test_a_fifo_that_is_removed_before_it_is_opened_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ostream.system.output.is_fifo_name", lambda name: True)
    with pytest.raises(OutputError, match="fifo: No such file or directory"):
        open_output(str(tmp_path / "gone" / "fifo"), [])


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_opening_a_fifo_waits_for_its_writer(platform: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for data in (b"data", b""):
        writer = threading.Thread(target=fifo.write_bytes, args=(data,))
        writer.start()
        with open(open_input(str(fifo)), "rb") as file:
            assert file.read() == data
        writer.join()
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)  # can't be opened
    monkeypatch.setattr(stat, "S_ISFIFO", lambda mode: True)
    with pytest.raises(InputError, match="socket: No such device or address"):
        open_input(str(tmp_path / "socket"))


def test_a_closed_stderr_does_not_change_the_status(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    read_end, write_end = pipe
    read_end.close()
    with start("stats", "missing", stderr=write_end) as process:
        assert process.communicate(timeout=60)[0] == b""
    assert process.returncode == 2


def test_a_message_is_one_line_of_limited_length_with_its_indentation(capfd: pytest.CaptureFixture[str]) -> None:
    diagnostics = Diagnostics("send")
    diagnostics.write("x" * 10_000)
    diagnostics.write("\ud800 is no character")
    diagnostics.write('  File "a.py"')
    long, *others = capfd.readouterr().err.splitlines()
    assert (len(long), long[-1]) == (len("send: ") + 1000, "…")
    assert others == ["send: <U+D800> is no character", 'send:   File "a.py"']
    assert run("send", "-m", "m", "\udcff", "--dry-run").returncode == 0


LIMITS: list[tuple[Exception, str]] = [
    (MemoryError(), "out of memory"),
    (OSError(errno.ENOMEM, "no memory"), "out of memory"),
    (OSError(errno.EMFILE, "too many files"), "too many files; raise the limit with 'ulimit -n'"),
]


@pytest.mark.parametrize(("error", "message"), LIMITS)
def test_reaching_a_limit_of_the_system_is_not_reported_as_a_bug(
    error: Exception, message: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> int:
        raise error

    monkeypatch.setattr("ostream.system.process.prepare_process", lambda: True)  # it would reset the signals of pytest
    assert run_process(Diagnostics("send"), fail) == 1
    assert capfd.readouterr().err == f"send: {message}\n"


def test_messages_of_one_kind_are_printed_five_times_then_counted(capfd: pytest.CaptureFixture[str]) -> None:
    diagnostics = Diagnostics("stats")
    for number in range(1200):
        diagnostics.error(OutputError(f"{number}: busy", advice="wait"), kind="busy")
        diagnostics.note(f"note {number}", kind=f"kind {number}")
    diagnostics.note("once")
    diagnostics.finish()
    diagnostics.finish()
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if "busy" in line] == [
        *(f"stats: {number}: busy; wait" for number in range(5)),
        "stats: 1,195 more: busy",
    ]
    # Of 1,000 kinds, one is busy; the others of the notes count as one more kind.
    assert lines[-1] == "stats: 196 more: other messages"
    assert len(lines) == 6 + 999 + 5 + 1 + 1


@pytest.mark.parametrize(("mid_line", "begin"), [(True, "\n"), (False, "")])
def test_a_message_begins_a_new_line_if_the_terminal_shows_an_unfinished_one(mid_line: bool, begin: str) -> None:
    # The filter downstream of send may have written text without a line end.
    diagnostics = Diagnostics("send")
    diagnostics.mid_line = mid_line
    primary, secondary = os.openpty()
    kept = os.dup(2)
    os.dup2(secondary, 2)
    try:
        diagnostics.write("cut")
        diagnostics.write("again")
        shown = b""
        while not shown.endswith(b"again\r\n"):
            shown += os.read(primary, 100)
    finally:
        os.dup2(kept, 2)
        for fd in (kept, primary, secondary):
            os.close(fd)
    assert shown.replace(b"\r\n", b"\n").decode() == f"{begin}send: cut\nsend: again\n"
