"""An answer turned into a recording, and back: what is no line of one is kept as text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import IncompleteStream, OstreamError, StreamTimeout
from ostream.protocol.ndjson import split_lines
from ostream.recording.format import (
    JSON,
    NDJSON,
    TEXT_LIMIT,
    AnswerRecorder,
    RecordedExchange,
    Recordings,
    decode_body,
    parse,
    request_line,
)
from tests.server import NAMES, body_of

CUT = IncompleteStream("cut")
KEPT: list[tuple[str, bytes, OstreamError | None, bytes]] = [
    # what, the body, what ended it, the lines written down
    ("nothing", b"", None, b""),
    ("lines", b'{"a":1}\n{"done":true}\n', None, b'{"a":1,"elapsed":7}\n{"done":true,"elapsed":7}\n'),
    ("no last newline", b'{"a":1}', None, b'{"a":1,"elapsed":7}\n'),
    ("stamped already", b'{"elapsed":1}', None, b'{"elapsed":1}\n'),
    ("an error line", b'{"error":"boom"}\n', None, b'{"error":"boom","elapsed":7}\n'),
    ("blank lines", b'\n{"a":1}\r\n \n', None, b'{"a":1,"elapsed":7}\n'),
    ("a cut", b'{"a":1}\n', CUT, b'{"a":1,"elapsed":7}\n{"error":"cut","exit_status":3,"elapsed":7}\n'),
    ("a cut line", b'{"a', CUT, b'{"error":"cut","partial":"{\\"a","exit_status":3,"elapsed":7}\n'),
]
REST = b'{"error":"what follows is not NDJSON","partial":%b,"exit_status":1,"elapsed":7}\n'
TEXTS = [
    b"<html>\n<b>",
    b"404 page not found",
    b"[1]\n",
    b'{\n"a":1\n}\n',
    b'data: {"a":1}\n\n',
    b"{}{}\n",
    b"x\xf0\x9f",
]
# What would be read back as a line of ours.
FORGED = [
    {"request": {"path": "/"}},
    {"role": "user"},
    {"error": "x", "exit_status": 3},
    {"error": None, "request": 1},
    {"error": "", "message": {}, "role": "x"},
]
for text in (*TEXTS, *(json.dumps(line).encode() + b"\n" for line in FORGED)):
    kept = REST % json.dumps(text.decode("utf-8", "replace"), ensure_ascii=False).encode()
    KEPT.append((repr(text), text, None, kept))
    KEPT.append((f"{text!r} behind a line", b'{"a":1}\n' + text, None, b'{"a":1,"elapsed":7}\n' + kept))


def written(body: bytes, failure: OstreamError | None = None) -> bytes:
    answer = AnswerRecorder()
    lines = [answer.line(line, 7) for batch in split_lines([body]) for line in batch]
    return b"".join(lines) + answer.end(7, failure)


@pytest.mark.parametrize(("body", "failure", "lines"), [row[1:] for row in KEPT], ids=[row[0] for row in KEPT])
def test_what_is_written_down(body: bytes, failure: OstreamError | None, lines: bytes) -> None:
    assert written(body, failure) == lines


def read_back(lines: bytes, content_type: str = NDJSON) -> RecordedExchange:
    begin = request_line("/api/chat", {}, 200, content_type)
    (exchange,) = parse((begin + lines).splitlines(keepends=True), "a recording")
    return exchange


@pytest.mark.parametrize(("body", "failure"), [row[1:3] for row in KEPT], ids=[row[0] for row in KEPT])
def test_it_is_read_back_as_it_was(body: bytes, failure: OstreamError | None) -> None:
    exchange = read_back(written(body, failure))
    same = b"".join(line for line, _ in exchange.lines)
    assert exchange.ending == ("cut" if failure else "end")
    if body.startswith(b"\n"):
        assert same == b'{"a":1}\n'  # spaces between objects are nobody's
    elif body == b'{"elapsed":1}':
        assert same == b"{}\n"
    else:
        assert same in (body.decode("utf-8", "replace").encode(), body + b"\n")
    assert exchange.is_text == (b"partial" in written(body, failure))


@pytest.mark.parametrize("name", NAMES)
def test_what_a_real_server_sent_is_read_back_as_it_was(name: str) -> None:
    body = body_of(name)
    same = b"".join(line for line, _ in read_back(written(body)).lines)
    assert same in (body, body + b"\n")


@given(st.binary())
def test_whatever_comes_the_recording_can_be_read(body: bytes) -> None:
    lines = written(body)
    assert all(isinstance(json.loads(line), dict) for line in lines.splitlines())
    read_back(lines)


def test_a_text_is_kept_up_to_a_limit() -> None:
    (line,) = written(b"x\n" * TEXT_LIMIT).splitlines()
    assert json.loads(line)["partial"] == "x\n" * (TEXT_LIMIT // 2)


@pytest.mark.parametrize(("line", "is_over"), [(b'{"done":true}', True), (b'{"error":1}', True), (b"{}", False)])
def test_an_answer_knows_that_it_is_over(line: bytes, is_over: bool) -> None:
    answer = AnswerRecorder()
    answer.line(line, 0)
    assert answer.is_over is is_over


def test_a_clock_of_ours_is_read_back_as_a_cut() -> None:
    assert read_back(written(b'{"a":1}\n', StreamTimeout("late", "idle"))).ending == "cut"


def test_a_text_keeps_the_status_and_the_type_of_its_answer() -> None:
    line = request_line("/", {}, 404, "text/plain") + written(b"404 page not found")
    (exchange,) = parse(line.splitlines(keepends=True), "a recording")
    assert (exchange.status, exchange.content_type) == (404, "text/plain")


BODIES: list[tuple[bytes, Any]] = [
    (b"", {}),
    (b'{"a":1}', {"a": 1}),
    (b' {"a":1}\n', {"a": 1}),
    (b"[1]", [1]),
    (b"null", None),
    (b"what?", None),
    (b'{"a":NaN}', None),
    (b'{"a":1}{', None),
    (b'"\xff"', "\ufffd"),
    (b"[" * 100_000, None),
]


@pytest.mark.parametrize(("body", "value"), BODIES, ids=[repr(row[0][:20]) for row in BODIES])
def test_the_body_of_a_request(body: bytes, value: Any) -> None:
    assert decode_body(body) == value


def test_a_method_is_part_of_a_request() -> None:
    lines = [request_line("/x", {}, 200, JSON, method) for method in ("GET", "POST", "DELETE")]
    exchanges = parse(lines, "a recording")
    assert [exchange.method for exchange in exchanges] == ["GET", "POST", "DELETE"]
    assert json.loads(lines[1])["request"] == {"path": "/x", "body": {}}
    recordings = Recordings(exchanges)
    for method, found in (("DELETE", exchanges[2]), ("POST", exchanges[1]), ("GET", exchanges[0]), ("PUT", None)):
        assert recordings.find("/x", {}, method) is found
    assert parse([b'{"request":{"path":"/x","method":7}}\n'], "a recording")[0].method == "POST"
