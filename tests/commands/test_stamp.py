"""send --stamp: lines with their arrival times, which are a recording."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from ostream.recording.format import unstamp
from ostream.recording.http_server import RequestHandler
from tests.process import call
from tests.server import NAMES, SOME_NAMES, raw_of, send_lines, send_raw, serve
from tests.tiers import sample

A = b'{"message":{"role":"assistant","content":"a"},"done":false}\n'
B = b'{"message":{"role":"assistant","content":"b"},"done":true,"done_reason":"stop"}\n'
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def send(
    respond: Callable[[RequestHandler], Any], *options: str, **env: str
) -> tuple[int, list[dict[str, Any]], bytes]:
    """Status, the objects that send writes, and the bytes."""
    with serve(respond) as server:
        result = call("send", "-m", "m", "--stamp", *options, "hi", env={"OLLAMA_HOST": server.url, **env})
    return result.returncode, [json.loads(line) for line in result.stdout.splitlines() if line.strip()], result.stdout


def test_the_request_without_secrets_is_followed_by_the_lines_with_their_times() -> None:
    status, (request, *chunks), stdout = send(
        send_lines(A, B), "--header", "X-Secret: header", OLLAMA_API_KEY="secret-key"
    )
    assert status == 0
    assert request == {
        "request": {"path": "/api/chat", "body": BODY},
        "status": 200,
        "content_type": "application/x-ndjson",
    }
    assert b"ecret" not in stdout
    assert [list(chunk)[-1] for chunk in chunks] == ["elapsed"] * 2
    times = [chunk["elapsed"] for chunk in chunks]
    assert all(type(elapsed) is int for elapsed in times)
    assert 0 < times[0] <= times[1] < 60 * 10**9
    assert b"".join(unstamp(line)[0] for line in stdout.splitlines(keepends=True)[1:]) == A + B


def test_elapsed_counts_from_the_last_retry() -> None:
    tries: list[int] = []

    def busy_once(exchange: RequestHandler) -> None:
        tries.append(time.monotonic_ns())
        if len(tries) == 1:
            exchange.send_body(503, "application/json", b"{}")
        else:
            send_lines(A, B)(exchange)

    _, (request, *chunks), _ = send(busy_once, "--retry", "1")
    assert (len(tries), request["status"]) == (2, 200)
    # The pause before a second try is a quarter of a second at the least.
    assert 0 < chunks[0]["elapsed"] <= chunks[1]["elapsed"] < time.monotonic_ns() - tries[0] - 250_000_000


SUCCESSFUL = [name for name in NAMES if raw_of(name).startswith(b"HTTP/1.1 200")]


@pytest.mark.parametrize("name", sample(SUCCESSFUL, SOME_NAMES[::2]))
def test_the_output_is_a_recording_of_the_response(name: str, tmp_path: Path) -> None:
    recording = tmp_path / "recording.ndjson"
    with serve(send_raw(raw_of(name))) as server:
        env = {"OLLAMA_HOST": server.url}
        plain = call("send", "-m", "m", "hi", env=env)
        stamped = call("send", "-m", "m", "--stamp", "hi", env=env)
    assert (stamped.returncode, stamped.stderr) == (plain.returncode, plain.stderr)
    recording.write_bytes(stamped.stdout)
    replayed = call("replay", recording, "--", "send", "-m", "m", "hi")
    assert (replayed.returncode, replayed.stdout) == (plain.returncode, plain.stdout)
    for command in ("extract-content", "extract-thinking", "collect"):
        read, expected = (call(command, stdin=stream) for stream in (stamped.stdout, plain.stdout))
        assert read.returncode == expected.returncode
        if command != "collect":
            assert read.stdout == expected.stdout


def hang_up(exchange: RequestHandler) -> None:
    exchange.connection.shutdown(socket.SHUT_RDWR)
    exchange.close_connection = True


def cut_inside(exchange: RequestHandler) -> None:
    exchange.head(200, "application/x-ndjson")
    exchange.chunk(A + B[:20])
    exchange.truncate()


FAILURES: dict[str, tuple[Callable[[RequestHandler], Any], int | None, int, dict[str, Any]]] = {
    # what the server does: the status in the request line, how many chunks, of the error line
    "404": (
        send_lines(b'{"error":"no such model"}', status=404, content_type="application/json"),
        404,
        0,
        {"status_code": 404, "exit_status": 1},
    ),
    "503": (send_lines(b"", status=503), 503, 0, {"status_code": 503, "exit_status": 75}),
    "hangs up": (hang_up, None, 0, {"exit_status": 3}),
    "cut": (send_lines(A), 200, 1, {"exit_status": 3}),
    "cut inside a line": (cut_inside, 200, 1, {"exit_status": 3, "partial": B[:20].decode()}),
    "an error line": (send_lines(A, b'{"error":"boom"}\n'), 200, 1, {"error": "boom", "exit_status": 1}),
    "garbage": (send_lines(A, b"what?\n"), 200, 1, {"exit_status": 1}),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_stream_ends_with_one_error_line_and_can_be_replayed(name: str, tmp_path: Path) -> None:
    respond, code, count, error = FAILURES[name]
    status, (request, *chunks, last), stdout = send(respond)
    assert (status, request["request"], request.get("status")) == (
        last["exit_status"],
        {"path": "/api/chat", "body": BODY},
        code,
    )
    assert len(chunks) == count
    assert all(list(chunk)[-1] == "elapsed" and "error" not in chunk for chunk in chunks)
    assert error.items() <= last.items()
    (tmp_path / "recording").write_bytes(stdout)
    replayed = call("replay", tmp_path / "recording", "--", "send", "-m", "m", "hi")
    again = json.loads(replayed.stdout.splitlines()[-1])
    assert (replayed.stdout.count(b"\n"), again["exit_status"]) == (count + 1, status)


def test_a_refused_connection_is_a_request_line_and_an_error_line() -> None:
    result = call("send", "-m", "m", "--stamp", "hi", env={"OLLAMA_HOST": "127.0.0.1:1"})
    first, last = map(json.loads, result.stdout.splitlines())
    assert first == {"request": {"path": "/api/chat", "body": BODY}}
    assert (result.returncode, last["exit_status"]) == (69, 69)


def test_a_request_that_was_not_sent_is_not_recorded() -> None:
    result = call("send", "--stamp", "hi")
    assert (result.returncode, result.stdout.count(b"\n")) == (2, 1)
    assert "request" not in json.loads(result.stdout)
