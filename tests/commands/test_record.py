"""record: a script gets the same bytes from the replayed recording, and no credentials are recorded."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import call, sh
from tests.server import (
    NAMES,
    STREAMS,
    Answers,
    certificate,
    http_answer,
    raw_of,
    send_lines,
    send_raw,
    serve,
    server_context,
    tcp,
)
from tests.tiers import sample

A = b'{"message":{"role":"assistant","content":"a"},"done":false}\n'
B = b'{"message":{"role":"assistant","content":"b"},"done":true,"done_reason":"stop"}\n'


@pytest.fixture(autouse=True)
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def record_and_replay(respond: Callable[[RequestHandler], Any], script: str) -> tuple[bytes, int, bytes]:
    """Record a script, and return the recording, its status and its stdout, which are the same under replay."""
    with serve(respond) as server:
        recorded = call("record", "r", "--", "sh", "-c", script, env={"OLLAMA_HOST": server.url})
    replayed = call("replay", "r", "--", "sh", "-c", script)
    assert recorded.stderr == replayed.stderr
    assert (recorded.returncode, recorded.stdout) == (replayed.returncode, replayed.stdout)
    return Path("r").read_bytes(), recorded.returncode, recorded.stdout


def exchanges_of(recording: bytes) -> list[list[dict[str, Any]]]:
    """Return the lines of each exchange."""
    exchanges: list[list[dict[str, Any]]] = []
    for line in map(json.loads, recording.splitlines()):
        if "request" in line:
            exchanges.append([])
        exchanges[-1].append(line)
    return exchanges


@pytest.mark.parametrize("name", sample(NAMES, ["generate-nostream", "kill-chat"]))
def test_curl_gets_the_same_on_replay(name: str) -> None:
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    head, _, body = (STREAMS / f"{name}.req").read_bytes().partition(b"\r\n\r\n")
    method, path, _ = head.decode().split(" ", 2)
    Path("body").write_bytes(body)
    data = "--data-binary @body" if body else ""
    script = f"curl -sN -X {method} {data} -w %{{http_code}} $OLLAMA_HOST{path}"
    recording, _, stdout = record_and_replay(send_raw(raw_of(name)), script)
    (lines,) = exchanges_of(recording)
    assert stdout.endswith(str(lines[0]["status"]).encode())
    assert lines[0]["request"].get("method", "POST") == method


def html(exchange: RequestHandler) -> None:
    exchange.send_body(200, "text/html", b"<html>\n<title>Log in</title>\n")


def truncate(*parts: bytes) -> Callable[[RequestHandler], None]:
    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        for part in parts:
            exchange.chunk(part)
        exchange.truncate()

    return respond


def truncate_inside_a_chunk(exchange: RequestHandler) -> None:
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


# There the message of send contains an errno, or the number of bytes received.
OTHER_TEXT = {"truncated inside an HTTP chunk", "a reset"}
# (Lines after the one at which the client leaves are sent together with it, or the recording may lack them.)
CLOSED = {"error": "the server closed the connection", "exit_status": 3}
FAILURES: dict[str, tuple[Callable[[RequestHandler], Any], int, list[dict[str, Any]]]] = {
    # what the server does: the status of send, the lines recorded after the request
    "404": (send_lines(b'{"error":"no"}', status=404, content_type="application/json"), 1, [{"error": "no"}]),
    "503": (send_lines(status=503), 75, []),
    "an error line": (send_lines(A, b'{"error":"boom"}\n'), 1, [{"done": False}, {"error": "boom"}]),
    "truncated inside a line": (truncate(A, B[:20]), 3, [{"done": False}, {"partial": B[:20].decode()}]),
    "truncated inside an HTTP chunk": (truncate_inside_a_chunk, 3, [{"done": False}, {"partial": B[:20].decode()}]),
    "truncated after an HTTP chunk": (truncate(A), 3, [{"done": False}, CLOSED]),
    "a body shorter than its length": (short, 0, [{"done": True}, CLOSED]),
    "a reset": (reset, 3, [{"done": False}, {"exit_status": 3}]),
    "nothing": (send_lines(), 3, []),
    "a response that is not HTTP": (send_raw(b"SSH-2.0-x\r\n"), 1, [{}]),
    "HTML": (html, 1, [{"partial": "<html>\n<title>Log in</title>\n", "exit_status": 1}]),
}


@pytest.mark.parametrize("name", sample(FAILURES, 4))
def test_a_failure_is_the_same_on_replay(name: str) -> None:
    respond, status, expected = FAILURES[name]
    script = "send -m m hi 2>/dev/null"
    if name in OTHER_TEXT:
        script = "send -m m hi 2>/dev/null | grep -v '^{.error'; send -m m hi >/dev/null 2>&1"
    recording, seen, _ = record_and_replay(respond, script)
    (_, *lines), *_ = exchanges_of(recording)
    assert seen == status
    assert len(lines) == len(expected)
    for line, some in zip(lines, expected):
        assert some.items() <= line.items()
        assert type(line["elapsed"]) is int


def test_a_server_that_hangs_up() -> None:
    script = "send -m m hi 2>&1 >/dev/null | sed s/:[0-9]*:/:/g"
    recording, _, stdout = record_and_replay(RequestHandler.reset, script)
    assert stdout.startswith(b"send: http://127.0.0.1: the server closed the connection without a response;")
    ((request, error),) = exchanges_of(recording)
    assert list(request) == ["request"]
    assert error["exit_status"] == 3


def test_a_refused_connection_becomes_a_502() -> None:
    command = ["r", "--", "sh", "-c", "curl -s -d {} -w %{http_code} $OLLAMA_HOST/api/chat"]
    recorded = call("record", *command, env={"OLLAMA_HOST": "127.0.0.1:1"})
    assert (recorded.stdout, recorded.stderr) == (b'{"error":"127.0.0.1:1: connection refused"}502', b"")
    assert call("replay", *command).stdout == recorded.stdout
    ((request, error),) = exchanges_of(Path("r").read_bytes())
    assert (request["status"], error["elapsed"]) == (502, 0)


def test_queries_and_headers_are_not_recorded() -> None:
    with serve(send_lines(A, B)) as server:
        env = {"OLLAMA_HOST": server.url, "OLLAMA_API_KEY": "ecret"}
        script = 'send -m m hi >out; curl -sH "X: ecret" -d "{}" "$OLLAMA_HOST/api/chat?key=ecret"'
        assert call("record", "r", "--", "sh", "-c", script, env=env).returncode == 0
        keys = [(each.path, each.headers.get("Authorization")) for each in server.requests]  # type: ignore[attr-defined]
    assert keys == [("/api/chat", "Bearer ecret"), ("/api/chat?key=ecret", None)]
    recording = Path("r").read_bytes()
    assert b"ecret" not in recording
    assert [lines[0]["request"]["path"] for lines in exchanges_of(recording)] == ["/api/chat"] * 2


def test_a_response_that_cannot_be_recorded_is_reported() -> None:
    gzip = http_answer(200, b"\x1f\x8b", "Content-Encoding: gzip")
    with tcp(Answers(gzip)) as port:
        command = ["curl", "-s", "-d", "{}", f"127.0.0.1:{port}/api/chat"]
        script = "curl -s -d {} $OLLAMA_HOST/api/chat"
        direct = subprocess.run(command, capture_output=True, check=True).stdout
        result = call("record", "r", "--", "sh", "-c", script, env={"OLLAMA_HOST": f"127.0.0.1:{port}"})
    assert (result.returncode, result.stdout) == (1, direct)
    why = "the server sent an unrequested Content-Encoding: gzip; this exchange is not recorded"
    assert result.stderr.decode() == f"record: POST /api/chat: {why}\n"


def test_running_exchanges_are_recorded_when_the_command_ends() -> None:
    """A client that the command left running is disconnected."""
    go = threading.Event()

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        exchange.chunk(A)
        go.wait(60)

    with serve(respond) as server:
        script = "curl -sN -d '{}' $OLLAMA_HOST/api/chat > out & while ! test -s out; do sleep 0.05; done"
        env = {"OLLAMA_HOST": server.url, "SCRIPT": script}
        result = sh('record r -- sh -c "$SCRIPT"', env=env)
        go.set()
    assert (result.returncode, result.stderr) == (0, b"")
    ((_, *lines),) = exchanges_of(Path("r").read_bytes())
    assert [line.get("error") for line in lines] == [None, "the client disconnected"]


def test_tls_is_verified_with_cacert(tmp_path: Path) -> None:
    pem = certificate(tmp_path, "server", "DNS:localhost")
    answers = Answers(http_answer(200, B[:-1]), tls=server_context(pem))
    with tcp(answers) as port:
        env = {"OLLAMA_HOST": f"https://localhost:{port}"}
        good = call("record", "--cacert", pem, "r", "--", "send", "-m", "m", "hi", env=env)
        assert (good.returncode, good.stderr) == (0, b"")
        bad = call("record", "--cacert", "missing", "s", "--", "true", env=env)
    assert (bad.returncode, Path("s").exists()) == (2, False)
    assert b"missing: No such file or directory" in bad.stderr


def test_a_wrong_host_is_reported_before_file_is_created() -> None:
    result = call("record", "r", "--", "true", env={"OLLAMA_HOST": "ftp://x"})
    assert (result.returncode, Path("r").exists()) == (2, False)
