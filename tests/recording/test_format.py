"""Recordings: a response is recorded line by line and read back as an exchange, and every field is checked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import IncompleteStream, LengthError, NotNDJSON, OstreamError, ResponseError, StreamTimeout
from ostream.protocol.ndjson import encode_line, split_lines
from ostream.recording.format import (
    COMPLETE,
    JSON,
    NDJSON,
    TRUNCATED,
    AnswerRecorder,
    RecordedExchange,
    decode_body,
    parse,
    request_line,
    stamp,
    unstamp,
)

STAMPED = [
    # a line, the line as the server sent it, its elapsed
    (b'{"a":1,"elapsed":5}\n', b'{"a":1}\n', 5),
    (b'{"elapsed":5}\n', b"{}\n", 5),
    (b'{"elapsed":1,"elapsed":5}\n', b'{"elapsed":1}\n', 5),
    (b'{"a":1,"elapsed":9999999999999999999}\n', b'{"a":1}\n', 9999999999999999999),
    # only as the textual last key
    (b'{"a":1}\n', None, None),
    (b'{"elapsed":5,"a":1}\n', None, None),
    (b'{"a":{"elapsed":5}}\n', None, None),
    (b'{"a":1,"elapsed":99999999999999999999}\n', None, None),
    (b'{"a":"\\"elapsed\\":5}"}\n', None, None),
    (b"\n", None, None),
]


@pytest.mark.parametrize(("line", "sent", "elapsed_ns"), STAMPED)
def test_only_the_stamp_is_removed(line: bytes, sent: bytes | None, elapsed_ns: int | None) -> None:
    assert unstamp(line) == (line if sent is None else sent, elapsed_ns)


def test_a_stamp_is_the_last_key_and_a_blank_line_has_none() -> None:
    lines = (b"{ }\n", b'{"elapsed":5}', b" \r\n")
    assert [stamp(line, 7) for line in lines] == [b'{ "elapsed":7}\n', b'{"elapsed":5,"elapsed":7}\n', b" \r\n"]


def lines_of(*objects: Any) -> list[bytes]:
    return [each if isinstance(each, bytes) else encode_line(each) for each in objects]


def read(*objects: Any) -> list[RecordedExchange]:
    return parse(lines_of(*objects), "some.ndjson")


def request(path: str = "/api/chat", **more: Any) -> dict[str, Any]:
    return {"request": {"path": path, "body": {"model": "m"}}, "status": 200, "content_type": NDJSON, **more}


CHAT = {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": False}
CHAT_END = {**CHAT, "done": True}
GENERATE = {"model": "m", "response": "Hi", "done": False}
GENERATE_END = {**GENERATE, "done": True}
BOOM = {"error": "boom"}
GONE = ResponseError("gone", 404).error_line()

EXCHANGES: list[tuple[list[Any], list[tuple[str, list[Any]]]]] = [
    # lines, the exchanges: path and lines of each
    ([], []),
    ([request(), CHAT, CHAT_END], [("/api/chat", [CHAT, CHAT_END])]),
    ([request("/api/tags"), {"models": []}], [("/api/tags", [{"models": []}])]),
    # all lines after a request line belong to it
    ([request(), CHAT_END, b"\n", CHAT, BOOM], [("/api/chat", [CHAT_END, CHAT, BOOM])]),
    # without one, the keys name the endpoint, and done or an error ends an exchange
    ([GENERATE, GENERATE_END], [("/api/generate", [GENERATE, GENERATE_END])]),
    (
        [CHAT_END, GENERATE, GENERATE_END, CHAT_END],
        [("/api/chat", [CHAT_END]), ("/api/generate", [GENERATE, GENERATE_END]), ("/api/chat", [CHAT_END])],
    ),
    ([CHAT, BOOM, CHAT_END], [("/api/chat", [CHAT, BOOM]), ("/api/chat", [CHAT_END])]),
    ([GONE, CHAT_END], [("/api/chat", [{"error": "gone"}]), ("/api/chat", [CHAT_END])]),
    # message lines belong to no exchange
    ([{"role": "user", "content": "Hi"}, request(), {"role": "tool"}, CHAT_END], [("/api/chat", [CHAT_END])]),
    # an error line may have other keys
    ([request(), {"error": "boom", "request": 1, "role": "x"}], [("/api/chat", [{**BOOM, "request": 1, "role": "x"}])]),
]


@pytest.mark.parametrize(("given_lines", "exchanges"), EXCHANGES)
def test_lines_are_read_as_exchanges(given_lines: list[Any], exchanges: list[tuple[str, list[Any]]]) -> None:
    seen = read(*given_lines)
    assert [(each.path, [json.loads(line) for line, _ in each.lines]) for each in seen] == exchanges


def test_lines_are_kept_byte_for_byte_with_their_time() -> None:
    line = '{"message": {"content": "Zürich"}, "done":false}'.encode()
    (exchange,) = read(
        request(),
        b'{"a":0}\n',
        line[:-1] + b',"elapsed":1000}\n',
        b'{"a" : 1}\r\n',
        b'{"a":2,"elapsed":3000}\n',
        b'{"a":3}',
    )
    assert exchange.lines == [
        (b'{"a":0}\n', 0),
        (line + b"\n", 1000),
        (b'{"a" : 1}\r\n', 1000),
        (b'{"a":2}\n', 3000),
        (b'{"a":3}', 3000),
    ]
    assert exchange.ending == COMPLETE


LATE_GONE, LATE_BUSY = b'{"error":"gone","StatusCode":404}\n', b'{"error":"busy","StatusCode":503}\n'
FAILURES = [
    # the error that send wrote: status, type, lines and whether the response is truncated, if the error is the only
    # line; the same without type if it follows a chunk
    (ResponseError("gone", 404), (404, JSON, [b'{"error":"gone"}\n'], False), (200, [LATE_GONE], False)),
    (ResponseError("busy", 503), (503, JSON, [b'{"error":"busy"}\n'], False), (200, [LATE_BUSY], False)),
    (ResponseError("boom"), (200, NDJSON, [b'{"error":"boom"}\n'], False), (200, [b'{"error":"boom"}\n'], False)),
    (IncompleteStream("truncated"), (200, NDJSON, [], True), (200, [], True)),
    (IncompleteStream("truncated", b'{"mess'), (200, NDJSON, [b'{"mess'], True), (200, [b'{"mess'], True)),
    (IncompleteStream("truncated", b'{"a\xf0\x9f'), (200, NDJSON, [b'{"a\xef\xbf\xbd'], True), None),
    (StreamTimeout("slow", "idle"), (200, NDJSON, [], True), (200, [], True)),
]


@pytest.mark.parametrize(("error", "alone", "later"), FAILURES, ids=[str(row[0]) for row in FAILURES])
def test_an_error_line_of_send_is_converted_to_what_the_server_did(error: Any, alone: Any, later: Any) -> None:
    (exchange,) = read(error.error_line())
    assert (
        exchange.status,
        exchange.content_type,
        [line for line, _ in exchange.lines],
        exchange.ending == TRUNCATED,
    ) == alone
    if later:
        (exchange,) = read(CHAT, error.error_line())
        assert (exchange.status, [line for line, _ in exchange.lines[1:]], exchange.ending == TRUNCATED) == later


def test_errors_of_send_end_an_exchange_except_a_length_limit() -> None:
    lost, cut = IncompleteStream("lost", b'{"mess').error_line(), LengthError("limit").error_line()
    first, second = read(CHAT, lost, CHAT, CHAT_END, cut)
    assert (first.ending, second.ending, len(second.lines)) == (TRUNCATED, COMPLETE, 2)
    (third,) = read(rb'{"error":"lost","partial":"{\ud83d","exit_status":3}')
    assert third.lines == [(b"{?", 0)]


@pytest.mark.parametrize("status", ["1", True, 0, 70, 130, None])
def test_an_error_line_with_another_exit_status_is_the_servers(status: Any) -> None:
    line = {"error": "boom", "status_code": 404, "exit_status": status}
    (exchange,) = read(line)
    assert exchange.status == 200
    assert [json.loads(text) for text, _ in exchange.lines] == [line]


@pytest.mark.parametrize("code", [400, 599, 399, 600, 10**30, True, "404", 404.0, None])
def test_an_http_error_status_becomes_that_of_the_answer(code: Any) -> None:
    (exchange,) = read({"error": "boom", "status_code": code, "exit_status": 1})
    assert (exchange.status, exchange.content_type) == ((code, JSON) if code in (400, 599) else (200, NDJSON))


REQUESTS = [
    # the request line, path, body, status, content type
    (request(), "/api/chat", {"model": "m"}, 200, NDJSON),
    (request("/api/generate", status=404, content_type=JSON), "/api/generate", {"model": "m"}, 404, JSON),
    ({"request": {}}, "/api/chat", {}, 200, NDJSON),
    ({"request": {"path": 1, "body": [1]}}, "/api/chat", [1], 200, NDJSON),
    (request(status=600), "/api/chat", {"model": "m"}, 200, NDJSON),
    (request(content_type="text/x\r\nSet-Cookie: a"), "/api/chat", {"model": "m"}, 200, NDJSON),
    (request(content_type="x" * 201), "/api/chat", {"model": "m"}, 200, NDJSON),
]


@pytest.mark.parametrize(("line", "path", "body", "status", "content_type"), REQUESTS)
def test_the_fields_of_a_request_line_are_checked(
    line: Any, path: str, body: Any, status: int, content_type: str
) -> None:
    (exchange,) = read(line, CHAT_END)
    assert (exchange.path, exchange.body, exchange.status, exchange.content_type) == (path, body, status, content_type)


def test_the_error_for_a_line_that_is_not_an_object_has_file_and_line() -> None:
    with pytest.raises(NotNDJSON, match=r"^some.ndjson:3: not a JSON object but an array$") as caught:
        read(CHAT, b"\n", b"[1]\n")
    assert (caught.value.line, caught.value.lineno) == (b"[1]\n", 3)


INCOMPLETE = [
    # lines, of which the last is incomplete; the number of exchanges, and how the last one ends
    ([request(), CHAT, b'{"mess'], 1, TRUNCATED),
    # may be a chunk or the next request line: without done, this response is incomplete in either case
    ([request(), CHAT, b"{"], 1, COMPLETE),
    ([CHAT_END, b'{"mess'], 1, COMPLETE),
    ([request(), CHAT_END, b'{"request":{'], 1, COMPLETE),
    ([request("/api/tags"), {"models": []}, b'{"request":{'], 1, COMPLETE),
]


@pytest.mark.parametrize(("lines", "count", "ending"), INCOMPLETE)
def test_an_incomplete_last_line_truncates_the_response(lines: list[Any], count: int, ending: str) -> None:
    exchanges = read(*lines)
    assert (len(exchanges), exchanges[-1].ending) == (count, ending)


@pytest.mark.parametrize("lines", [[b'{"mess'], [CHAT, b"mess"], [CHAT, b'{"mess\n'], [CHAT, b"[1]"]])
def test_other_damage_is_an_error(lines: list[Any]) -> None:
    with pytest.raises(NotNDJSON):
        read(*lines)


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
