"""replay: recordings served to a command, or until interrupted."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import time
from pathlib import Path
from typing import Any, Iterator
from urllib.parse import urlsplit

import pytest

from tests.process import BIN, call, expect, start
from tests.server import NAMES, STREAMS, body_of, raw_of, send_raw, serve

CHAT = body_of("chat-stream")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording.ndjson"
    path.write_bytes(CHAT)
    return path


@contextlib.contextmanager
def replaying(*arguments: str | Path) -> Iterator[str]:
    """The URL of a replay whose command waits."""
    command = ["sh", "-c", 'echo "$OLLAMA_HOST"; read x']
    with start("replay", *arguments, "--", *command) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            assert process.communicate(b"\n", timeout=60) == (b"", b"")
    assert process.returncode == 0


def test_without_a_command_it_says_where_and_serves_until_interrupted(recording: Path) -> None:
    with start("replay", recording) as process:
        expect(process.stderr, b"replay: serving 1 recordings; end with Ctrl-C\n")
        assert process.stdout
        url = process.stdout.readline().decode()
        assert call("send", "hi", "-m", "m", env={"OLLAMA_HOST": url}).stdout == CHAT
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == -signal.SIGINT


def asked(name: str) -> tuple[str, dict[str, Any]] | None:
    """The path and the body of a recorded request, if send could have sent it."""
    head, _, body = (STREAMS / f"{name}.req").read_bytes().partition(b"\r\n\r\n")
    method, path, _ = head.split(b" ", 2)
    with contextlib.suppress(ValueError):
        if method == b"POST":
            return path.decode(), json.loads(body)
    return None


ASKED = {name: request for name, request in ((name, asked(name)) for name in NAMES) if request}


@pytest.fixture(scope="module")
def sent() -> dict[str, tuple[int, bytes]]:
    """What send made of each recorded answer when it came from the server."""
    results = {}
    with serve(lambda exchange: send_raw(raw_of(name))(exchange)) as server:
        for name in ASKED:
            results[name] = send(server.url, name)
    return results


def send(url: str, name: str) -> tuple[int, bytes]:
    path, body = ASKED[name]
    options = ["-g"] if path == "/api/generate" else []
    result = call("send", *options, "--body", "-", stdin=json.dumps(body).encode(), env={"OLLAMA_HOST": url})
    return result.returncode, result.stdout


def test_the_recorded_requests_are_there() -> None:
    assert len(ASKED) > 30
    assert {path for path, _ in ASKED.values()} == {"/api/chat", "/api/generate"}


def test_what_send_printed_is_served_as_it_was(sent: dict[str, tuple[int, bytes]], tmp_path: Path) -> None:
    """Every recording as a file of its own, in the order of the requests."""
    files = [tmp_path / name for name in ASKED]
    for file in files:
        file.write_bytes(sent[file.name][1])
    for endpoint in ("/api/chat", "/api/generate"):
        names = [name for name in ASKED if ASKED[name][0] == endpoint and not is_bare_error(sent[name][1])]
        with replaying(*(tmp_path / name for name in names)) as url:
            assert {name: send(url, name) for name in names} == {name: sent[name] for name in names}


def is_bare_error(stream: bytes) -> bool:
    """It does not tell its endpoint: see the tests of the recordings themselves."""
    return stream.startswith(b'{"error"')


def test_request_lines_tell_the_answers_apart(sent: dict[str, tuple[int, bytes]], tmp_path: Path) -> None:
    file = tmp_path / "recording"
    with file.open("wb") as out:
        for name, (path, body) in ASKED.items():
            out.write(json.dumps({"request": {"path": path, "body": body}}).encode() + b"\n" + sent[name][1])
    with replaying(file) as url:
        assert {name: send(url, name) for name in ASKED} == sent


def test_a_recorded_body_may_come_straight_from_the_server(recording: Path) -> None:
    result = call("replay", STREAMS / "chat-load.ndjson", "--", "send", "--load")
    assert (result.returncode, result.stdout) == (0, body_of("chat-load") + b"\n")
    result = call("replay", "-", "--", "send", "hi", stdin=CHAT)
    assert (result.returncode, result.stdout, result.stderr) == (0, CHAT, b"")


def test_a_whole_object_is_served_whole(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("DELETE", 304)])
def test_an_answer_without_a_body_has_none(method: str, status: int, tmp_path: Path) -> None:
    line = {"request": {"method": method, "path": "/x", "body": {}}, "status": status, "content_type": "text/plain"}
    (tmp_path / "recording").write_text(json.dumps(line))
    with replaying(tmp_path / "recording") as url:
        assert ask(url, method, "/x") == (status, "text/plain", b"")


NDJSON, JSON = "application/x-ndjson", "application/json; charset=utf-8"
REQUESTS = [
    # method, path, body, headers, status, type, body of the answer
    ("POST", "/api/chat", b"{}", {}, 200, NDJSON, CHAT),
    ("POST", "/api/chat?x=1", b"not JSON", {}, 200, NDJSON, CHAT),
    ("POST", "/api/chat", b"[" * 100_000, {}, 200, NDJSON, CHAT),
    ("POST", "/api/generate", b"{}", {}, 404, JSON, b'{"error": "no recording answers this request to /api/generate"}'),
    ("GET", "/", b"", {}, 200, "text/plain; charset=utf-8", b"Ollama is running"),
    ("HEAD", "/", b"", {}, 200, "text/plain; charset=utf-8", b""),
    ("GET", "/api/version", b"", {}, 200, JSON, b'{"version":"0.0.0"}'),
    ("GET", "/?x=1", b"", {}, 404, "text/plain", b"404 page not found"),
    ("GET", "/api/chat", b"", {}, 404, "text/plain", b"404 page not found"),
    ("PUT", "/api/version", b"", {}, 404, "text/plain", b"404 page not found"),
    ("POST", "/api/chat", b"{}", {"Host": "evil.example"}, 403, None, b""),
    ("POST", "/api/chat", b"{}", {"Origin": "http://evil.example"}, 403, None, b""),
]


def test_every_kind_of_request_is_answered(recording: Path) -> None:
    with replaying(recording) as url:
        for method, path, body, headers, *answer in REQUESTS:
            assert list(ask(url, method, path, body, **headers)) == answer, (method, path)


def test_an_unmatched_request_fails_clearly(recording: Path) -> None:
    result = call("replay", recording, "--", "send", "-g", "hi")
    assert result.returncode == 1
    assert b"send: no recording answers this request to /api/generate (status code: 404)" in result.stderr


def test_a_recording_that_was_used_up_says_so(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b'{"request":{"path":"/api/chat","body":{"model":"x"}}}\n' + body_of("chat-stream"))
    result = call("replay", tmp_path / "r", "--", "sh", "-c", f"{BIN}/send one; {BIN}/send two")
    left = "no recording is left for this request to /api/chat: each answers one; name the file again"
    assert result.stderr.decode() == f"send: {left} (status code: 404)\n"
    assert (result.returncode, result.stdout.count(b'"done":true')) == (1, 1)


@pytest.mark.parametrize(
    ("env", "model"), [({}, "plain"), ({"OLLAMA_MODEL": ""}, "plain"), ({"OLLAMA_MODEL": "a"}, "a")]
)
def test_the_model_of_the_recording_is_set_where_none_is(recording: Path, env: dict[str, str], model: str) -> None:
    result = call("replay", recording, "--", "sh", "-c", 'echo "$OLLAMA_MODEL"', env=env)
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, f"{model}\n", b"")


def test_without_a_model_in_the_recording_none_is_set(tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(b'{"response":"","done":true}\n')
    result = call("replay", tmp_path / "recording", "--", "sh", "-c", 'echo "${OLLAMA_MODEL-unset}"')
    assert result.stdout == b"unset\n"


STAMPED = b"".join(
    b'{"response":"%d","done":%s,"elapsed":%d}\n' % (number, b"true" if number == 3 else b"false", number * 10**8)
    for number in range(1, 4)
)
WHOLE = (
    b'{"request":{"path":"/api/generate"},"content_type":"application/json"}\n' + STAMPED.splitlines(keepends=True)[-1]
)


@pytest.mark.parametrize("stream", [STAMPED, WHOLE])
@pytest.mark.parametrize(("speed", "at_least_s"), [("1", 0.3), ("2", 0.15), ("0", 0)])
def test_speed(stream: bytes, speed: str, at_least_s: float, tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(stream)
    with replaying("--speed", speed, tmp_path / "recording") as url:
        begin = time.monotonic()
        _, _, body = ask(url, "POST", "/api/generate", b"{}")
        assert time.monotonic() - begin >= at_least_s
    assert b"elapsed" not in body
    assert body.endswith(b'{"response":"3","done":true}' + b"\n" * (stream == STAMPED))


def test_as_fast_as_can_be_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(STAMPED.replace(b"300000000", b"999999999999999"))
    assert call("replay", tmp_path / "recording", "--", "send", "-g", "-m", "m", "hi").returncode == 0


WRONG = [
    ([], b"", "no recording; write 'replay FILE ... -- COMMAND'"),
    (["--", "true"], b"", "no recording; write 'replay FILE ... -- COMMAND'"),
    (["missing", "--", "true"], b"", "missing: No such file or directory"),
    (["-", "--", "true"], b"", "standard input: no recording in it"),
    (["-", "--", "true"], b'{"role":"user"}\n', "standard input: no recording in it"),
    (["-", "--", "true"], CHAT + b"what?\n", "standard input:21: not JSON: Expecting value at column 1"),
    (["-", "--", "/no/such/command"], CHAT, "/no/such/command: No such file or directory"),
    (["-", "--", "/"], CHAT, "/: Permission denied"),
    (["--speed", "fast", "-"], CHAT, "--speed: must be a number, 0 or more, not 'fast'; see 'replay --help'"),
    (["--speed=-1", "-"], CHAT, "--speed: must be a number, 0 or more, not '-1'; see 'replay --help'"),
    (["--speed=nan", "-"], CHAT, "--speed: must be a number, 0 or more, not 'nan'; see 'replay --help'"),
]


@pytest.mark.parametrize(("arguments", "stdin", "message"), WRONG)
def test_wrong_usage(arguments: list[str], stdin: bytes, message: str) -> None:
    result = call("replay", *arguments, stdin=stdin)
    assert (result.returncode, result.stdout, result.stderr.decode()) == (2, b"", f"replay: {message}\n")
