"""A response recorded line by line and read back; from the first line that is not a chunk on, it is kept as text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import IncompleteStream, OstreamError
from ostream.protocol.ndjson import split_lines
from ostream.recording.format import (
    COMPLETE,
    NDJSON,
    TRUNCATED,
    AnswerRecorder,
    RecordedExchange,
    decode_body,
    parse,
    request_line,
)

TRUNCATION = IncompleteStream("truncated")
RECORDED: list[tuple[str, bytes, OstreamError | None, bytes]] = [
    # a name, the body of the response, the failure that ended it, the lines recorded
    ("nothing", b"", None, b""),
    ("lines", b'{"a":1}\n{"done":true}\n', None, b'{"a":1,"elapsed":7}\n{"done":true,"elapsed":7}\n'),
    ("no newline at the end", b'{"a":1}', None, b'{"a":1,"elapsed":7}\n'),
    ("an elapsed of the server", b'{"elapsed":1}', None, b'{"elapsed":1,"elapsed":7}\n'),
    ("an error line", b'{"error":"boom"}\n', None, b'{"error":"boom","elapsed":7}\n'),
    ("blank lines", b'\n{"a":1}\r\n \n', None, b'{"a":1,"elapsed":7}\n'),
    (
        "a truncated response",
        b'{"a":1}\n',
        TRUNCATION,
        b'{"a":1,"elapsed":7}\n{"error":"truncated","exit_status":3,"elapsed":7}\n',
    ),
    ("a truncated line", b'{"a', TRUNCATION, b'{"error":"truncated","partial":"{\\"a","exit_status":3,"elapsed":7}\n'),
]
TORN = b'{"error":"the stream ended inside a line of the answer","partial":"{\\"a","exit_status":3,"elapsed":7}\n'
RECORDED.append(("a truncated line at a proper end", b'{"a', None, TORN))
REST = b'{"error":"the rest of the response is not NDJSON","partial":%b,"exit_status":1,"elapsed":7}\n'
TEXTS = [b"<html>\n<b>", b"[1]\n", b'{\n"a":1\n}\n', b"{}{}\n", b"x\xf0\x9f"]
# Lines that would be read back with a meaning of their own.
FORGED = [{"request": {"path": "/"}}, {"role": "user"}, {"error": "x", "exit_status": 3}, {"error": None, "request": 1}]
for text in (*TEXTS, *(json.dumps(line).encode() + b"\n" for line in FORGED)):
    lines = REST % json.dumps(text.decode("utf-8", "replace"), ensure_ascii=False).encode()
    RECORDED.append((repr(text), text, None, lines))
    RECORDED.append((f"{text!r} after a line", b'{"a":1}\n' + text, None, b'{"a":1,"elapsed":7}\n' + lines))


def recorded(body: bytes, failure: OstreamError | None = None) -> bytes:
    answer = AnswerRecorder()
    lines = [answer.line(line, 7) for batch in split_lines([body]) for line in batch]
    return b"".join(lines) + answer.end(7, failure)


@pytest.mark.parametrize(("body", "failure", "lines"), [row[1:] for row in RECORDED], ids=[row[0] for row in RECORDED])
def test_chunks_are_recorded_with_their_time_and_the_rest_as_text(
    body: bytes, failure: OstreamError | None, lines: bytes
) -> None:
    assert recorded(body, failure) == lines


def read_back(lines: bytes, content_type: str = NDJSON) -> RecordedExchange:
    begin = request_line("/api/chat", {}, 200, content_type)
    (exchange,) = parse((begin + lines).splitlines(keepends=True), "a recording")
    return exchange


@pytest.mark.parametrize(("body", "failure"), [row[1:3] for row in RECORDED], ids=[row[0] for row in RECORDED])
def test_the_same_response_is_read_back(body: bytes, failure: OstreamError | None) -> None:
    exchange = read_back(recorded(body, failure))
    same = b"".join(line for line, _ in exchange.lines)
    assert exchange.ending == (TRUNCATED if b'"exit_status":3' in recorded(body, failure) else COMPLETE)
    if body.startswith(b"\n"):
        assert same == b'{"a":1}\n'  # blank lines are not recorded
    else:
        assert same in (body.decode("utf-8", "replace").encode(), body + b"\n")
    assert exchange.is_text == (b"partial" in recorded(body, failure))


@given(st.binary())
def test_any_bytes_give_a_readable_recording(body: bytes) -> None:
    lines = recorded(body)
    assert all(isinstance(json.loads(line), dict) for line in lines.splitlines())
    read_back(lines)


def test_text_is_recorded_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostream.recording.format.TEXT_LIMIT", 5)
    (line,) = recorded(b"x\n" * 9).splitlines()
    assert json.loads(line)["partial"] == "x\nx\nx"


@pytest.mark.parametrize(("line", "is_done"), [(b'{"done":true}', True), (b'{"error":1}', True), (b"{}", False)])
def test_a_response_is_done_after_done_or_an_error(line: bytes, is_done: bool) -> None:
    answer = AnswerRecorder()
    answer.line(line, 0)
    assert answer.is_done is is_done


BODIES: list[tuple[bytes, Any]] = [
    (b"", {}),
    (b' {"a":1}\n', {"a": 1}),
    (b"[1]", [1]),
    (b"what?", None),
    (b'{"a":NaN}', None),
    (b'{"a":1}{', None),
    (b'"\xff"', "\ufffd"),
    (b"[" * 100_000, None),
]


@pytest.mark.parametrize(("body", "value"), BODIES, ids=[repr(row[0][:20]) for row in BODIES])
def test_a_request_body_is_decoded_or_none(body: bytes, value: Any) -> None:
    assert decode_body(body) == value
