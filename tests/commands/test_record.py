"""record: a script's exchanges written down, such that replay gives the script the same bytes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

from ostream.commands.record import File
from ostream.recording.http_server import RequestHandler
from ostream.recording.proxy import SPOOL_SIZE
from ostream.system.diagnostics import Diagnostics
from tests.commands.test_replay import ASKED
from tests.process import call, run, sh, small_files, start
from tests.server import NAMES, SOME_NAMES, STREAMS, Answers, http_answer, raw_of, send_lines, send_raw, serve, tcp
from tests.tiers import sample

A = b'{"message":{"role":"assistant","content":"a"},"done":false}\n'
B = b'{"message":{"role":"assistant","content":"b"},"done":true,"done_reason":"stop"}\n'

# Not a launcher, which coverage does not see into.
PYTHON = "python3 -m ostream"


def record_and_replay(
    respond: Callable[[RequestHandler], Any], script: str, tmp_path: Path, **env: str
) -> tuple[bytes, int, bytes]:
    """The recording of a script, and the status and stdout that it had, the same under replay."""
    with serve(respond) as server:
        recorded = sh(f"{PYTHON} record r.ndjson -- {script}", cwd=tmp_path, env={"OLLAMA_HOST": server.url, **env})
    replayed = sh(f"{PYTHON} replay r.ndjson -- {script}", cwd=tmp_path, env=env)
    assert recorded.stderr == replayed.stderr
    assert (recorded.returncode, recorded.stdout) == (replayed.returncode, replayed.stdout)
    return (tmp_path / "r.ndjson").read_bytes(), recorded.returncode, recorded.stdout


def exchanges_of(recording: bytes) -> list[list[dict[str, Any]]]:
    """The lines of each exchange."""
    exchanges: list[list[dict[str, Any]]] = []
    for line in map(json.loads, recording.splitlines()):
        if "request" in line:
            exchanges.append([])
        exchanges[-1].append(line)
    return exchanges


def through_send(name: str) -> str:
    """A script that sends a recorded request, with what it says about itself left out."""
    path, body = ASKED.get(name, ("/api/chat", {}))
    options = "-g" if path == "/api/generate" else ""
    return f"sh -c {shlex.quote(f'echo {shlex.quote(json.dumps(body))} | send -m m {options} --body -')}"


@pytest.mark.parametrize("name", sample(NAMES, SOME_NAMES))
def test_send_says_the_same_on_replay(name: str, tmp_path: Path) -> None:
    recording, status, stdout = record_and_replay(send_raw(raw_of(name)), through_send(name), tmp_path)
    (lines,) = exchanges_of(recording)
    if status == 0:
        assert call("extract-content", stdin=recording).returncode == 0
        assert call("collect", stdin=stdout).returncode == 0
    assert all(list(line)[-1] == "elapsed" for line in lines[1:])


@pytest.mark.parametrize("name", sample(NAMES, SOME_NAMES))
def test_curl_says_the_same_on_replay(name: str, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    head, _, body = (STREAMS / f"{name}.req").read_bytes().partition(b"\r\n\r\n")
    method, path, _ = head.decode().split(" ", 2)
    (tmp_path / "body").write_bytes(body)
    data = "--data-binary @body" if body else ""
    script = f"sh -c 'curl -sN -X {method} {data} -w %{{http_code}} $OLLAMA_HOST{path}'"
    recording, _, stdout = record_and_replay(send_raw(raw_of(name)), script, tmp_path)
    (lines,) = exchanges_of(recording)
    assert stdout.endswith(str(lines[0]["status"]).encode())
    assert lines[0]["request"].get("method", "POST") == method


def html(exchange: RequestHandler) -> None:
    exchange.send_body(200, "text/html", b"<html>\n<title>Log in</title>\n")


def cut(*parts: bytes) -> Callable[[RequestHandler], None]:
    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        for part in parts:
            exchange.chunk(part)
        exchange.truncate()

    return respond


def cut_inside_a_chunk(exchange: RequestHandler) -> None:
    exchange.head(200, "application/x-ndjson")
    exchange.raw(b"ff\r\n" + A + B[:20])
    exchange.truncate()


def short(exchange: RequestHandler) -> None:
    exchange.head(200, "application/json", 1000)
    exchange.raw(B[:-1])
    exchange.truncate()


def reset(exchange: RequestHandler) -> None:
    exchange.head(200, "application/x-ndjson")
    exchange.chunk(A)
    exchange.reset()


OURS = b'{"request":{}}\n'
# There send names an errno, or how far the answer had come by HTTP's count.
OTHER_TEXT = {"cut inside an HTTP chunk", "a reset"}
# (What the client does not wait for comes in one piece with what it leaves at, or the recording may be without it.)
FAILURES: dict[str, tuple[Callable[[RequestHandler], Any], int, list[dict[str, Any]]]] = {
    # what the server does: the status of send, the lines recorded behind the request
    "404": (
        send_lines(b'{"error":"no model"}', status=404, content_type="application/json"),
        1,
        [{"error": "no model"}],
    ),
    "503": (send_lines(status=503), 75, []),
    "an error line": (send_lines(A, b'{"error":"boom"}\n'), 1, [{"done": False}, {"error": "boom"}]),
    "an error line that claims a status": (
        send_lines(A, b'{"error":"boom","exit_status":75}\n'),
        1,
        [{"done": False}, {"partial": '{"error":"boom","exit_status":75}\n', "exit_status": 1}],
    ),
    "cut inside a line": (cut(A, B[:20]), 3, [{"done": False}, {"partial": B[:20].decode(), "exit_status": 3}]),
    "cut inside an HTTP chunk": (cut_inside_a_chunk, 3, [{"done": False}, {"partial": B[:20].decode()}]),
    "cut at an HTTP chunk's border": (cut(A), 3, [{"done": False}, {"error": "the server was cut", "exit_status": 3}]),
    "a short answer": (short, 0, [{"done": True}, {"error": "the server was cut", "exit_status": 3}]),
    "a reset": (reset, 3, [{"done": False}, {"exit_status": 3}]),
    "nothing": (send_lines(), 3, []),
    "HTML": (html, 1, [{"partial": "<html>\n<title>Log in</title>\n", "exit_status": 1}]),
    "garbage": (send_lines(A, b"what?\n" + B), 1, [{"done": False}, {"partial": "what?\n" + B.decode()}]),
    "server-sent events": (send_lines(b"data: {}\n\n"), 1, [{"partial": "data: {}\n\n"}]),
    "a line that looks like ours": (
        send_lines(b'{"request":{}}\n', A, B),
        0,
        [{"partial": b'{"request":{}}\n'.decode() + (A + B).decode()}],
    ),
}


@pytest.mark.parametrize("name", sample(FAILURES, 4))
def test_a_failure_is_the_same_on_replay(name: str, tmp_path: Path) -> None:
    respond, status, expected = FAILURES[name]
    script = "sh -c 'send -m m hi 2>/dev/null'"
    if name in OTHER_TEXT:
        script = "sh -c 'send -m m hi 2>/dev/null | grep -v \"^{.error\"; send -m m hi >/dev/null 2>&1'"
    recording, seen, _ = record_and_replay(respond, script, tmp_path)
    (_, *lines), *_ = exchanges_of(recording)
    assert seen == status
    assert len(lines) == len(expected)
    for line, some in zip(lines, expected):
        assert some.items() <= line.items()
        assert type(line["elapsed"]) is int


def hang_up(exchange: RequestHandler) -> None:
    exchange.reset()


def test_a_server_that_hangs_up(tmp_path: Path) -> None:
    script = "sh -c 'send -m m hi 2>&1 >/dev/null | sed s/:[0-9]*:/:/g'"
    recording, _, stdout = record_and_replay(hang_up, script, tmp_path)
    assert stdout == b"send: http://127.0.0.1: the server hung up without an answer\n"
    ((request, error),) = exchanges_of(recording)
    assert list(request) == ["request"]
    assert error["exit_status"] == 3


def test_a_server_that_is_not_there_is_a_502(tmp_path: Path) -> None:
    script = "sh -c 'curl -s -d {} -w %{http_code} $OLLAMA_HOST/api/chat'"
    env = {"OLLAMA_HOST": "127.0.0.1:1"}
    recorded = sh(f"{PYTHON} record r.ndjson -- {script}", cwd=tmp_path, env=env)
    replayed = sh(f"replay r.ndjson -- {script}", cwd=tmp_path)
    assert recorded.stdout == replayed.stdout == b'{"error":"127.0.0.1:1: connection refused"}502'
    assert recorded.stderr == b""
    ((request, error),) = exchanges_of((tmp_path / "r.ndjson").read_bytes())
    assert (request["status"], error["elapsed"]) == (502, 0)


def test_the_request_line_has_no_query_and_nothing_secret(tmp_path: Path) -> None:
    with serve(send_lines(A, B)) as server:
        env = {"OLLAMA_HOST": server.url, "OLLAMA_API_KEY": "ecret"}
        script = 'send -m m hi >out; curl -sH "X: ecret" -d "{}" "$OLLAMA_HOST/api/chat?key=ecret"'
        assert sh(f"record r.ndjson -- sh -c '{script}'", cwd=tmp_path, env=env).returncode == 0
        keys = [(each.path, each.headers.get("Authorization")) for each in server.requests]  # type: ignore[attr-defined]
    assert keys == [("/api/chat", "Bearer ecret"), ("/api/chat?key=ecret", None)]
    recording = (tmp_path / "r.ndjson").read_bytes()
    assert b"ecret" not in recording
    assert [lines[0]["request"]["path"] for lines in exchanges_of(recording)] == ["/api/chat"] * 2


# What happens to FILE.
SAY = ["--", "send", "-m", "m", "hi"]


@pytest.fixture
def url() -> Any:
    with serve(send_lines(A, B)) as server:
        yield server.url


def test_a_recording_is_not_lost_by_a_mistake(url: str, tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(A)
    result = call("record", tmp_path / "r", *SAY, env={"OLLAMA_HOST": url})
    message = f"record: {tmp_path}/r: holds something already; -a adds to it; or remove it first\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (2, b"", message)
    assert (tmp_path / "r").read_bytes() == A


@pytest.mark.parametrize("options", [[], ["-a"]])
@pytest.mark.parametrize("before", [None, b"", A, A[:-1]])
def test_what_was_there(options: list[str], before: bytes | None, url: str, tmp_path: Path) -> None:
    if before is not None:
        (tmp_path / "r").write_bytes(before)
    result = call("record", *options, tmp_path / "r", *SAY, env={"OLLAMA_HOST": url})
    if before and not options:
        assert result.returncode == 2
        return
    assert (result.returncode, result.stdout, result.stderr) == (0, A + B, b"")
    recorded = (tmp_path / "r").read_bytes()
    assert recorded.startswith(A + b'{"request":' if before else b'{"request":')
    assert len(recorded.splitlines()) == 3 + bool(before)


@pytest.mark.parametrize("cut", [b'{"mess', b'{"message":{"content":"' + b"x" * 100_000])
def test_a_torn_last_line_is_taken_out(cut: bytes, url: str, tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(A + B + cut)
    result = call("record", "-a", tmp_path / "r", *SAY, env={"OLLAMA_HOST": url})
    note = f"record: {tmp_path}/r: the last line was cut off; it is taken out\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (0, A + B, note)
    recorded = (tmp_path / "r").read_bytes()
    assert recorded.startswith(A + B + b'{"request":')
    assert len(recorded.splitlines()) == 5
    assert call("replay", tmp_path / "r", "--", "send", "hi").returncode == 0


def test_the_file_may_be_an_open_descriptor(url: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(A)
    script = "record /dev/stdout -- send -m m hi >> log"
    assert sh(script, cwd=tmp_path, env={"OLLAMA_HOST": url}).returncode == 0
    assert len((tmp_path / "log").read_bytes().splitlines()) == 6


WRONG = [
    ([], 2, "no FILE given; usage: record FILE -- COMMAND"),
    (["--", "true"], 2, "no FILE given; usage: record FILE -- COMMAND"),
    (["r", "true"], 2, "true: only one FILE can be given; usage: record FILE -- COMMAND"),
    (["-", "--", "true"], 2, "-: COMMAND writes there; say /dev/stdout if that is meant"),
    (["no/r", "--", "true"], 1, "no/r: No such file or directory"),
    (["/", "--", "true"], 1, "/: Is a directory"),
]


@pytest.mark.parametrize(("arguments", "status", "message"), WRONG)
def test_wrong_usage(arguments: list[str], status: int, message: str) -> None:
    result = call("record", *arguments)
    assert (result.returncode, result.stdout, result.stderr.decode()) == (status, b"", f"record: {message}\n")


def test_a_server_that_is_none_is_told_before_anything_is_done(tmp_path: Path) -> None:
    result = call("record", tmp_path / "r", "--", "true", env={"OLLAMA_HOST": "ftp://x"})
    assert (result.returncode, (tmp_path / "r").exists()) == (2, False)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize(("status", "expected"), [(0, 1), (75, 75)])
def test_a_full_disk_does_not_disturb_the_command(status: int, expected: int, url: str) -> None:
    script = f"send -m m hi; send -m m hi; exit {status}"
    result = call("record", "/dev/full", "--", "sh", "-c", script, env={"OLLAMA_HOST": url})
    assert (result.returncode, result.stdout) == (expected, (A + B) * 2)
    assert result.stderr.decode() == "record: /dev/full: No space left on device; what follows is not recorded\n"


TWICE = "for n in 1 2; do curl -s -d {} $OLLAMA_HOST/api/chat > /dev/null || exit; done"


@pytest.mark.parametrize(
    ("filler", "failed", "kept"), [(b"x" * 300, "r", 1), (b"x" * (SPOOL_SIZE + 9), "a temporary file", 0)]
)
def test_half_an_exchange_is_taken_back(
    filler: bytes, failed: str, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    respond = send_lines(b'{"response":"%b"}\n' % filler, B)
    with serve(respond) as server, small_files(1000 if kept else SPOOL_SIZE):
        result = call("record", "r", "--", "sh", "-c", TWICE, env={"OLLAMA_HOST": server.url})
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == f"record: {failed}: File too large; what follows is not recorded\n"
    assert len(exchanges_of((tmp_path / "r").read_bytes())) == kept


def test_an_answer_that_cannot_be_recorded_is_told(tmp_path: Path) -> None:
    gzip = http_answer(200, b"\x1f\x8b", "Content-Encoding: gzip")
    with tcp(Answers(gzip)) as port:
        command = ["curl", "-s", "-d", "{}", f"127.0.0.1:{port}/api/chat"]
        script = "curl -s -d {} $OLLAMA_HOST/api/chat"
        direct = subprocess.run(command, capture_output=True, check=True).stdout
        result = call("record", tmp_path / "r", "--", "sh", "-c", script, env={"OLLAMA_HOST": f"127.0.0.1:{port}"})
    assert (result.returncode, result.stdout) == (1, direct)
    why = "the answer is compressed (gzip), unasked; this exchange is not recorded"
    assert result.stderr.decode() == f"record: POST /api/chat: {why}\n"


def test_a_file_that_fails_when_it_is_closed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = File(str(tmp_path / "r"), False, Diagnostics("record"))
    assert file._out
    os.close(file._out.fd)
    file.close()
    assert file.has_failed
    message = f"record: {tmp_path}/r: Bad file descriptor; what follows is not recorded\n"
    assert capfd.readouterr().err == message


def test_a_reader_of_the_recording_that_leaves_ends_only_the_recording(url: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = run("record", f"/dev/fd/{writer}", *SAY, env={"OLLAMA_HOST": url}, pass_fds=[writer])
    assert (result.returncode, result.stdout) == (1, A + B)
    assert result.stderr.decode() == f"record: /dev/fd/{writer}: Broken pipe; what follows is not recorded\n"
    command = ["sh", "-c", "send -m m hi >&2"]
    process = start("record", "/dev/stdout", "--", *command, stdout=writer, env={"OLLAMA_HOST": url})
    os.close(writer)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"record: standard output: Broken pipe; what follows is not recorded\n" in stderr
    assert len(stderr.splitlines()) == 3


def test_the_recording_is_whole_when_the_command_has_ended(tmp_path: Path) -> None:
    """Also of what it left running, which is cut then."""
    go = threading.Event()

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        exchange.chunk(A)
        go.wait(60)

    with serve(respond) as server:
        script = "curl -sN -d '{}' $OLLAMA_HOST/api/chat > out & while ! test -s out; do sleep 0.05; done"
        env = {"OLLAMA_HOST": server.url, "SCRIPT": script}
        result = sh('record r -- sh -c "$SCRIPT"', cwd=tmp_path, env=env)
        go.set()
    assert (result.returncode, result.stderr) == (0, b"")
    ((_, *lines),) = exchanges_of((tmp_path / "r").read_bytes())
    assert [line.get("error") for line in lines] == [None, "the client left"]


def test_a_recording_is_for_its_owner_as_any_file(url: str, tmp_path: Path) -> None:
    result = sh("umask 077; record r -- send -m m hi", cwd=tmp_path, env={"OLLAMA_HOST": url})
    assert result.returncode == 0
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o600
