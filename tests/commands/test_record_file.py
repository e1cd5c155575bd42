"""record: which FILE is written to, what it contains after a failure, and the options --once and --refresh."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Callable, Iterator, Tuple

import pytest

from ostream.recording.file import RecordingFile
from ostream.recording.http_server import RequestHandler
from ostream.recording.proxy import SPOOL_SIZE
from tests.commands.test_record import A, B, exchanges_of, truncate
from tests.process import call, run, sh, small_files, start
from tests.server import send_lines, serve
from tests.tiers import sample

SEND = ["--", "send", "-m", "m", "hi"]
FILE = Path("r")


@pytest.fixture(autouse=True)
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def url() -> Iterator[str]:
    with serve(send_lines(A, B)) as server:
        yield server.url


def test_an_existing_recording_is_not_changed_without_an_option() -> None:
    FILE.write_bytes(A)
    result = call("record", "r", *SEND)
    message = "record: r: already holds data; add to it with -a, or remove it first\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (2, b"", message)
    assert FILE.read_bytes() == A


@pytest.mark.parametrize(("options", "before"), [([], b""), (["-a"], None), (["-a"], A), (["-a"], A[:-1])])
def test_a_recording_is_appended_to_with_a_or_if_empty(options: list[str], before: bytes | None, url: str) -> None:
    if before is not None:
        FILE.write_bytes(before)
    result = call("record", *options, "r", *SEND, env={"OLLAMA_HOST": url})
    assert (result.returncode, result.stdout, result.stderr) == (0, A + B, b"")
    recorded = FILE.read_bytes()
    assert recorded.startswith(A + b'{"request":' if before else b'{"request":')
    assert len(recorded.splitlines()) == 3 + bool(before)


INCOMPLETE_LAST_LINES = [
    # the last line, and what becomes of it
    (b'{"model":"m","mess', "deleted"),
    (b'{"request":{"path":"' + b"x" * 100_000, "deleted"),
    (b'{ "note', "moved to r.torn"),
]


@pytest.mark.parametrize(("line", "fate"), INCOMPLETE_LAST_LINES, ids=["chunk", "request", "other"])
def test_an_incomplete_last_line_is_removed(line: bytes, fate: str, url: str) -> None:
    FILE.write_bytes(A + B + line)
    result = call("record", "-a", "r", *SEND, env={"OLLAMA_HOST": url})
    note = f"record: r: the last line was incomplete (was the program that wrote it killed?) and was {fate}\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (0, A + B, note)
    recorded = FILE.read_bytes()
    assert recorded.startswith(A + B + b'{"request":')
    assert len(recorded.splitlines()) == 5
    torn = Path("r.torn")
    assert (torn.read_bytes() if torn.exists() else b"") == (line + b"\n" if "moved" in fate else b"")


FOREIGN = [
    b"{{ mustache }}",
    b"text\n{{ mustache",
    b'{"name":"x"}\n',
    b"[1]\n",
    b'{"role":"user","content":"x"}\n',
    b"\xff\n",
]


@pytest.mark.parametrize("content", FOREIGN)
@pytest.mark.parametrize("option", ["-a", "--once", "--refresh"])
def test_a_file_that_is_not_a_recording_is_not_changed(option: str, content: bytes) -> None:
    FILE.write_bytes(content)
    result = call("record", option, "r", *SEND)
    message = "record: r: not a recording; it was not changed; choose another FILE\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (2, b"", message)
    assert FILE.read_bytes() == content


@pytest.mark.parametrize("options", [[], ["--once"]])
def test_a_file_that_was_removed_is_reported(options: list[str], url: str) -> None:
    result = call("record", *options, "r", "--", "sh", "-c", "rm r; send -m m hi", env={"OLLAMA_HOST": url})
    assert (result.returncode, result.stdout) == (1, A + B)
    assert result.stderr == b"record: r: the file was removed while recording; nothing more is recorded\n"


def test_file_may_be_an_open_descriptor(url: str) -> None:
    Path("log").write_bytes(A)
    assert sh("record /dev/stdout -- send -m m hi >> log", env={"OLLAMA_HOST": url}).returncode == 0
    assert len(Path("log").read_bytes().splitlines()) == 6


@pytest.mark.linux
@pytest.mark.parametrize(("status", "expected"), [(0, 1), (75, 75)])
def test_a_full_disk_does_not_affect_the_command(status: int, expected: int, url: str) -> None:
    script = f"send -m m hi; send -m m hi; exit {status}"
    result = call("record", "/dev/full", "--", "sh", "-c", script, env={"OLLAMA_HOST": url})
    assert (result.returncode, result.stdout) == (expected, (A + B) * 2)
    assert result.stderr.decode() == "record: /dev/full: No space left on device; nothing more is recorded\n"


TWICE = "for n in 1 2; do curl -s -d {} $OLLAMA_HOST/api/chat > /dev/null || exit; done"


@pytest.mark.parametrize(
    ("filler", "failed", "kept"),
    [(b"x" * 300, "r", 1), (b"x" * (SPOOL_SIZE + 9), "the temporary file of the exchange", 0)],
)
def test_an_incomplete_exchange_is_removed(filler: bytes, failed: str, kept: int) -> None:
    respond = send_lines(b'{"response":"%b"}\n' % filler, B)
    with serve(respond) as server, small_files(1000 if kept else SPOOL_SIZE):
        result = call("record", "r", "--", "sh", "-c", TWICE, env={"OLLAMA_HOST": server.url})
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == f"record: {failed}: File too large; nothing more is recorded\n"
    assert len(exchanges_of(FILE.read_bytes())) == kept


def test_an_error_when_the_file_is_closed_is_reported() -> None:
    reports: list[str] = []
    reader, writer = os.pipe()
    file = RecordingFile(f"/dev/fd/{writer}", "new", reports.append, str)
    assert file._out
    os.close(file._out.fd)
    file.close()
    assert file.has_failed
    assert reports == [f"/dev/fd/{writer}: Bad file descriptor; nothing more is recorded"]
    os.close(reader)
    os.close(writer)


def test_a_reader_of_the_recording_that_leaves_does_not_affect_the_command(url: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = run("record", f"/dev/fd/{writer}", *SEND, env={"OLLAMA_HOST": url}, pass_fds=[writer])
    assert (result.returncode, result.stdout) == (1, A + B)
    assert result.stderr.decode() == f"record: /dev/fd/{writer}: Broken pipe; nothing more is recorded\n"
    command = ["sh", "-c", "send -m m hi >&2"]
    process = start("record", "/dev/stdout", "--", *command, stdout=writer, env={"OLLAMA_HOST": url})
    os.close(writer)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"record: standard output: Broken pipe; nothing more is recorded\n" in stderr
    assert len(stderr.splitlines()) == 3


def test_the_mode_of_file_follows_the_umask(url: str) -> None:
    assert sh("umask 077; record r -- send -m m hi", env={"OLLAMA_HOST": url}).returncode == 0
    assert stat.S_IMODE(FILE.stat().st_mode) == 0o600


def answer_by_prompt(exchange: RequestHandler) -> None:
    """Answer with the number of the request, or fail as the prompt says."""
    number = len(exchange.server.requests)
    prompt = json.loads(exchange.body)["messages"][0]["content"] if exchange.body else ""
    if prompt.isdecimal():
        exchange.send_body(int(prompt), "application/json", b'{"error":"x"}')
    elif prompt == "truncated":
        truncate(A)(exchange)
    elif prompt == "error":
        send_lines(A, b'{"error":"x"}\n')(exchange)
    elif prompt == "no done":
        send_lines(A)(exchange)
    else:
        send_lines(B.replace(b'"b"', b'"%d"' % number))(exchange)


Record = Callable[..., Tuple["subprocess.CompletedProcess[bytes]", int]]


@pytest.fixture
def record() -> Iterator[Record]:
    """Run a script under record, by default --once; return its result and the number of requests sent so far."""
    with serve(answer_by_prompt) as server:

        def run_script(script: str, *options: str) -> tuple[subprocess.CompletedProcess[bytes], int]:
            env = {"OLLAMA_HOST": server.url, "OLLAMA_API_KEY": "a-secret-key"}
            result = call("record", *(options or ["--once"]), "r", "--", "sh", "-c", script, env=env)
            return result, len(server.requests)  # type: ignore[attr-defined]

        yield run_script


ONE, TWO = "send -m m one | extract-content;", "send -m m two | extract-content;"


def test_once_records_only_what_the_file_lacks(record: Record) -> None:
    first, requests = record(f"{ONE} {ONE} curl -s $OLLAMA_HOST/")
    assert (first.returncode, first.stdout[:4], requests) == (0, b"1\n2\n", 3)
    recorded = FILE.read_bytes()
    assert b"a-secret-key" not in recorded
    again, requests = record(f"{ONE} {ONE} curl -s $OLLAMA_HOST/")
    assert (again.stdout, again.stderr, requests) == (first.stdout, b"", 3)
    assert FILE.read_bytes() == recorded
    more, requests = record(TWO + ONE, "-v", "--once")
    assert (more.stdout, requests) == (b"4\n1\n", 4)
    assert b"record: POST /api/chat: forwarded\nrecord: POST /api/chat: r:1\n" in more.stderr
    assert len(exchanges_of(FILE.read_bytes())) == 4


PROBLEMS = {
    # prompt, and why the answer is not recorded
    "503": "HTTP status 503",
    "429": "HTTP status 429",
    "truncated": "the response was truncated",
    "error": "the response ended with an error",
    "no done": 'the response has no "done": true',
    "404": "",
}


@pytest.mark.parametrize("prompt", sample(PROBLEMS, ["503", "truncated", "404"]))
def test_once_does_not_record_what_may_succeed_later(prompt: str, record: Record) -> None:
    problem = PROBLEMS[prompt]
    for number in (1, 2):
        result, requests = record(f"send -m m {shlex.quote(prompt)} > /dev/null 2>&1; exit 0")
        assert result.stderr.decode() == (f"record: POST /api/chat: {problem}; not added to r\n" if problem else "")
        assert requests == (number if problem else 1)
    assert len(exchanges_of(FILE.read_bytes())) == (0 if problem else 1)


@pytest.mark.parametrize("options", sample(["--refresh", "--once --refresh"], 2))
def test_refresh_replaces_the_file_if_the_command_succeeds(options: str, record: Record) -> None:
    record(ONE)
    before = FILE.read_bytes()
    failed, _ = record(f"{ONE} exit 3", *options.split())
    assert (failed.returncode, failed.stdout) == (3, b"2\n")
    assert failed.stderr == b"record: r: not replaced, because COMMAND failed or an exchange was not recorded\n"
    assert FILE.read_bytes() == before
    assert record("true", *options.split())[0].returncode == 0
    assert FILE.read_bytes() == before, "nothing was recorded"
    replaced, requests = record(ONE, *options.split())
    assert (replaced.returncode, replaced.stdout, requests) == (0, b"3\n", 3)
    assert [lines[1]["message"]["content"] for lines in exchanges_of(FILE.read_bytes())] == ["3"]
    assert os.listdir() == ["r"]


def test_several_processes_record_in_one_file() -> None:
    with serve(send_lines(A * 2000, B)) as server:
        script = "for n in 1 2 3 4; do record --once r -- send -m m $n > /dev/null & done; wait"
        assert sh(script, env={"OLLAMA_HOST": server.url}).stderr == b""
    exchanges = exchanges_of(FILE.read_bytes())
    assert sorted(lines[0]["request"]["body"]["messages"][0]["content"] for lines in exchanges) == ["1", "2", "3", "4"]
    assert {len(lines) for lines in exchanges} == {2002}
