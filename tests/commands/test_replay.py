"""replay: recordings served to a command or until interrupted, and faults injected as a server causes them."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import time
from pathlib import Path
from typing import Iterator
from urllib.parse import urlsplit

import pytest

from ostream.recording.faults import parse_fault
from ostream.testing import replay
from tests.process import BIN, call, expect, start
from tests.server import STREAMS, body_of
from tests.tiers import sample

CHAT = body_of("chat-stream")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording.ndjson"
    path.write_bytes(CHAT)
    return path


@contextlib.contextmanager
def replaying(*arguments: str | Path) -> Iterator[str]:
    """Run replay with a command that waits, and yield the URL of the server."""
    command = ["sh", "-c", 'echo "$OLLAMA_HOST"; read x']
    with start("replay", *arguments, "--", *command) as process:
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            assert process.communicate(b"\n", timeout=60) == (b"", b"")
    assert process.returncode == 0


def test_without_a_command_it_prints_its_url_and_serves_until_interrupted(recording: Path) -> None:
    with start("replay", recording) as process:
        expect(
            process.stderr, b"replay: serving 1 recording; set OLLAMA_HOST to the printed address; stop with Ctrl-C\n"
        )
        url = process.stdout.readline().decode()
        assert call("send", "hi", "-m", "m", env={"OLLAMA_HOST": url}).stdout == CHAT
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == -signal.SIGINT


def test_the_body_of_a_response_is_a_recording(recording: Path) -> None:
    result = call("replay", STREAMS / "chat-load.ndjson", "--", "send", "--load")
    assert (result.returncode, result.stdout) == (0, body_of("chat-load") + b"\n")
    result = call("replay", "-", "--", "send", "hi", stdin=CHAT)
    assert (result.returncode, result.stdout, result.stderr) == (0, CHAT, b"")


def test_an_object_is_served_without_its_newline(tmp_path: Path) -> None:
    request = {"request": {"path": "/api/chat", "body": {}}, "status": 200, "content_type": "application/json"}
    for body in (b'{"done":true}\n', b'{"done":true}', b""):
        (tmp_path / "recording").write_bytes(json.dumps(request).encode() + b"\n" + body)
        with replaying(tmp_path / "recording") as url:
            answer = ask(url, "POST", "/api/chat", b"{}")
        assert answer == (200, "application/json", body.rstrip(b"\n"))


def ask(url: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type"), response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 101), ("GET", 204), ("DELETE", 304)])
def test_a_response_without_a_body_has_none(method: str, status: int, tmp_path: Path) -> None:
    line = {"request": {"method": method, "path": "/x", "body": {}}, "status": status, "content_type": "text/plain"}
    (tmp_path / "recording").write_text(json.dumps(line))
    with replaying(tmp_path / "recording") as url:
        assert ask(url, method, "/x") == (status, "text/plain", b"")


NDJSON, JSON = "application/x-ndjson", "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
FOLDED = {"role": "assistant", "content": json.loads(body_of("chat-nostream"))["message"]["content"]}
INFORMATION = [
    # method, path, body, headers, status, type, and a part of the body of the response
    ("POST", "/api/chat?x=1", b"not JSON", {}, 200, NDJSON, CHAT),
    ("POST", "/api/chat", b"[" * 100_000, {}, 200, NDJSON, CHAT),
    (
        "POST",
        "/api/chat",
        b'{"stream":false}',
        {},
        200,
        JSON,
        json.dumps(FOLDED, ensure_ascii=False, separators=(",", ":")).encode(),
    ),
    ("GET", "/", b"", {}, 200, TEXT, b"Ollama is running"),
    ("HEAD", "/", b"", {}, 200, TEXT, b""),
    ("GET", "/api/version", b"", {}, 200, JSON, b'{"version":"0.0.0"}'),
    ("GET", "/api/tags", b"", {}, 200, JSON, b'{"models":[{"name":"plain:latest","model":"plain:latest",'),
    ("GET", "/api/ps", b"", {}, 200, JSON, b'"expires_at"'),
    ("POST", "/api/show", b'{"model":"plain"}', {}, 200, JSON, b'"capabilities":["completion",'),
    ("POST", "/api/show", b'{"name":"plain:latest"}', {}, 200, JSON, b'"capabilities"'),
    ("POST", "/api/show", b'{"model":"x"}', {}, 404, JSON, b'{"error":"model \'x\' not found"}'),
    ("POST", "/api/chat", b"{}", {"Host": "evil.example"}, 403, None, b""),
    ("GET", "/api/tags", b"", {"Sec-Fetch-Site": "cross-site"}, 403, None, b""),
]


def test_requests_about_the_server_are_answered_and_web_pages_refused(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with replay(recording, recording, recording) as server:  # raises for a mismatch
        for method, path, body, headers, status, content_type, part in INFORMATION:
            seen = ask(server.url, method, path, body, **headers)
            assert seen[:2] == (status, content_type), (method, path)
            assert part in seen[2]
    assert capsys.readouterr().err.splitlines() == [
        "ostream.testing: refused POST /api/chat: the Host header 'evil.example' is not a name of this machine",
        "ostream.testing: refused GET /api/tags: sent by a web page (cross-site)",
    ]


@pytest.fixture
def stamped(tmp_path: Path) -> Path:
    """A recording with its request: "hi" to the model m."""
    path = tmp_path / "stamped.ndjson"
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    path.write_bytes(json.dumps({"request": {"path": "/api/chat", "body": body}}).encode() + b"\n" + CHAT)
    return path


@pytest.mark.parametrize(("script", "status"), [("send no", 1), ("send no || true", 1), ("send no; exit 7", 7)])
def test_a_mismatch_shows_the_nearest_recording_and_fails_the_run(script: str, status: int, stamped: Path) -> None:
    result = call("replay", stamped, "--", "sh", "-c", f"PATH={BIN}:$PATH; {script} > /dev/null")
    difference = 'messages[0].content: recorded "hi", requested "no"'
    text = f"no recording matches POST /api/chat; the most similar is {stamped}:1: {difference}"
    assert result.stderr.decode().splitlines() == [
        f"replay: {text}",
        f"send: {text} (status code: 404)",
        "replay: 1 request matched no recording",
    ]
    assert result.returncode == status


def test_an_openai_client_gets_the_mismatch_as_an_error_object(stamped: Path) -> None:
    with start("replay", stamped) as process:
        url = process.stdout.readline().decode().strip()
        status, _, body = ask(url, "POST", "/v1/chat/completions", b"{}")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 1
    text = "no recording of POST /v1/chat/completions; recorded: POST /api/chat"
    assert (status, json.loads(body)) == (404, {"error": {"message": text, "type": "not_found_error"}})


OPTIONS: list[tuple[list[str], str, int, list[str]]] = [
    # options, a script, the status, stderr ("F" is the recording)
    ([], "send hi; send hi", 1, ["no recording is left for POST /api/chat: its one recording has been used;"]),
    (["--repeat"], "send hi; send hi", 0, []),
    (["--match", "path"], "send no", 0, ["1 request differed from the recorded request"]),
    (["--match", "model"], "send -m m no", 0, ["1 request differed from the recorded request"]),
    (["--match", "model"], "send -m x hi", 1, ['model: recorded "m", requested "x"']),
    (["--strict"], "true", 1, ["1 of 1 recording not used; the first is F:1"]),
    (["--strict"], "send hi", 0, []),
    (["--strict", "-q"], "exit 3", 3, []),
    (
        ["-v"],
        "send hi",
        0,
        ["POST /api/chat: F:1", "1 request answered from 1 of 1 recording, 0 without a match, 0 inj"],
    ),
    (
        ["-v", "--match=path"],
        "send no",
        0,
        ['POST /api/chat: F:1 (messages[0].content: recorded "hi", requested "no")'],
    ),
    (["--fault", "status:503@1"], "send --retry 1 hi", 0, []),
    (["--fault=eof:3@1", "--strict"], "send hi; [ $? = 3 ] && send hi", 0, []),
    (["--fault=reset@1", "-v"], "send hi; send hi", 0, ["POST /api/chat: injected reset:0@1"]),
    (["--fault=error:1", "-v"], "send hi; send hi; [ $? = 1 ]", 0, ["POST /api/chat: F:1, injected error:1"]),
    (["--fault=error:999"], "send hi", 0, []),
]


@pytest.mark.parametrize(("options", "script", "status", "lines"), OPTIONS)
def test_options(options: list[str], script: str, status: int, lines: list[str], stamped: Path) -> None:
    result = call("replay", *options, stamped, "--", "sh", "-c", f"PATH={BIN}:$PATH; {{ {script}; }} 2>/dev/null >&2")
    assert result.returncode == status
    stderr = result.stderr.decode()
    assert bool(stderr) == bool(lines)
    for line in lines:
        assert f"replay: {line.replace('F:', f'{stamped}:')}" in stderr or (not line[0].isdigit() and line in stderr)


@pytest.mark.parametrize(
    ("env", "model"), [({}, "plain"), ({"OLLAMA_MODEL": ""}, "plain"), ({"OLLAMA_MODEL": "a"}, "a")]
)
def test_the_model_of_the_recording_is_the_default(recording: Path, env: dict[str, str], model: str) -> None:
    result = call("replay", recording, "--", "sh", "-c", 'echo "$OLLAMA_MODEL"', env=env)
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, f"{model}\n", b"")


def test_a_recording_without_a_model_sets_none(tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(b'{"response":"","done":true}\n')
    result = call("replay", tmp_path / "recording", "--", "sh", "-c", 'echo "${OLLAMA_MODEL-unset}"')
    assert result.stdout == b"unset\n"


STAMPED = b"".join(
    b'{"response":"%d","done":%s,"elapsed":%d}\n' % (number, b"true" if number == 3 else b"false", number * 10**8)
    for number in range(1, 4)
)
OBJECT = (
    b'{"request":{"path":"/api/generate"},"content_type":"application/json"}\n' + STAMPED.splitlines(keepends=True)[-1]
)


@pytest.mark.parametrize("stream", [STAMPED, OBJECT])
@pytest.mark.parametrize(("speed", "at_least_s"), sample([("2", 0.15), ("1", 0.3), ("0", 0)], 3))
def test_lines_are_sent_at_the_recorded_times(stream: bytes, speed: str, at_least_s: float, tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(stream)
    with replaying("--speed", speed, tmp_path / "recording") as url:
        begin = time.monotonic()
        _, _, body = ask(url, "POST", "/api/generate", b"{}")
        assert time.monotonic() - begin >= at_least_s
    assert b"elapsed" not in body
    assert body.endswith(b'{"response":"3","done":true}' + b"\n" * (stream == STAMPED))


def test_by_default_nothing_is_delayed(tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(STAMPED.replace(b"300000000", b"999999999999999"))
    assert call("replay", tmp_path / "recording", "--", "send", "-g", "-m", "m", "hi").returncode == 0


LINES = CHAT.splitlines(keepends=True)
RESET = "connection lost: Connection reset by peer"
CASES = [
    # the fault; the status, the number of lines and the error line of send
    ("eof:0", 3, 0, {"error": "the response is empty"}),
    ("eof:3", 3, 3, {"error": 'the stream ended early (no "done": true)'}),
    (f"eof:{len(LINES)}", 0, len(LINES), None),
    ("eof:1000", 0, len(LINES), None),
    ("reset:3", 3, 3, {"error": RESET}),
    (f"reset:{len(LINES) - 1}", 3, len(LINES) - 1, {"error": RESET}),
    ("error:0", 1, 0, {"error": "an injected error"}),
    ("error:3", 1, 3, {"error": "an injected error"}),
    (f"error:{len(LINES)}", 1, len(LINES), {"error": "an injected error"}),
    ("stall:3", 75, 3, {}),
    ("status:404", 1, 0, {"error": "an injected HTTP status", "status_code": 404}),
    ("status:503", 75, 0, {"error": "an injected HTTP status", "status_code": 503}),
]


@pytest.mark.parametrize(("fault", "status", "count", "error"), CASES, ids=[row[0] for row in CASES])
def test_send_fails_as_with_a_real_server(
    fault: str, status: int, count: int, error: dict[str, object] | None, recording: Path
) -> None:
    options = ["--idle-timeout", "1"] if "stall" in fault else []
    result = call("replay", "--fault", fault, recording, "--", "send", "-m", "m", *options, "hi")
    lines = result.stdout.splitlines(keepends=True)
    assert (result.returncode, lines[:count]) == (status, LINES[:count])
    if error is None:
        assert len(lines) == count
    else:
        (last,) = lines[count:]
        assert {**error, "exit_status": status}.items() <= json.loads(last).items()


def test_a_reset_before_the_first_line_closes_the_connection(recording: Path) -> None:
    result = call("replay", "--fault", "reset:0", recording, "--", "send", "-m", "m", "hi")
    assert (result.returncode, result.stdout.count(b"\n")) == (3, 1)
    assert b"the server closed the connection without a response" in result.stdout


@pytest.mark.parametrize("fault", ["stall:0", "stall:3"])
def test_a_stall_lasts_until_the_client_leaves(fault: str, recording: Path) -> None:
    count = int(fault[-1])
    with replaying("--fault", fault, recording) as url:
        with start("send", "-m", "m", "hi", env={"OLLAMA_HOST": url}) as send:
            expect(send.stdout, b"".join(LINES[:count]))
            send.terminate()
        with socket.create_connection(tuple(urlsplit(url).netloc.split(":")), timeout=60) as client:  # type: ignore
            client.sendall(b"POST /api/chat HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
            client.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert received.count(b"\n{") == count
    assert not received.endswith(b"0\r\n\r\n")


NOTATION = [
    ("eof:0", "eof", 0, None),
    ("reset:12", "reset", 12, None),
    ("error:999999999@1", "error", 999_999_999, 1),
    ("stall@20", "stall", 0, 20),
    ("status:599@3", "status", 599, 3),
]


@pytest.mark.parametrize(("text", "kind", "number", "request_number"), NOTATION)
def test_a_fault_is_a_kind_a_number_and_a_request(
    text: str, kind: str, number: int, request_number: int | None
) -> None:
    fault = parse_fault(text)
    assert (fault.kind, fault.number, fault.request) == (kind, number, request_number)


WRONG = ["", "eof:", "eof:-1", "eof:1.5", " eof:1", "eof:1\n", "EOF:1", "eof:²", "eof:1:2", "eof@0", "eof:9999999999"]
WRONG += ["halt:1", "status", "status:399", "status:600", "status:40", "eof@x"]


@pytest.mark.parametrize("text", WRONG)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_fault(text)
