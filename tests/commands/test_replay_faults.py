"""replay --fault: the notation, and send fails as it does when a server fails in the same way."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ostream.recording.faults import parse_fault
from tests.commands.test_replay import replaying
from tests.process import call, expect, start
from tests.server import body_of

CHAT = body_of("chat-stream")
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


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording.ndjson"
    path.write_bytes(CHAT)
    return path


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
