"""Recordings read as exchanges, and which of them answers a request. Nothing in one is trusted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostream.errors import ConnectError, IncompleteStream, LengthError, NotNDJSON, ResponseError, StreamTimeout
from ostream.protocol.ndjson import encode_line
from ostream.recording.format import JSON, NDJSON, RecordedExchange, Recordings, parse, unstamp
from tests.server import body_of

STAMPED = [
    # a line, the line as it was sent, its elapsed
    (b'{"a":1,"elapsed":5}\n', b'{"a":1}\n', 5),
    (b'{"a":1,"elapsed":5}', b'{"a":1}\n', 5),
    (b'{"a":1,"elapsed":5}\r\n', b'{"a":1}\n', 5),
    (b'{"elapsed":5}\n', b"{}\n", 5),
    (b'{"elapsed":1,"elapsed":5}\n', b'{"elapsed":1}\n', 5),
    (b'{"a":1,"elapsed":9999999999999999999}\n', b'{"a":1}\n', 9999999999999999999),
    # only the textual last key, as it is written here
    (b'{"a":1}\n', None, None),
    (b'{"elapsed":5,"a":1}\n', None, None),
    (b'{"a":{"elapsed":5}}\n', None, None),
    (b'{"a":1,"elapsed":-5}\n', None, None),
    (b'{"a":1,"elapsed":5.0}\n', None, None),
    (b'{"a":1,"elapsed":"5"}\n', None, None),
    (b'{"a":1,"elapsed":99999999999999999999}\n', None, None),
    (b'{"a":"\\"elapsed\\":5}"}\n', None, None),
    (b"\n", None, None),
]


@pytest.mark.parametrize(("line", "sent", "elapsed_ns"), STAMPED)
def test_the_stamp_is_taken_off_and_nothing_else(line: bytes, sent: bytes | None, elapsed_ns: int | None) -> None:
    assert unstamp(line) == (line if sent is None else sent, elapsed_ns)


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.text() | st.integers()), st.integers(0, 10**19 - 1))
def test_a_stamped_line_gives_the_line_back(chunk: dict[str, Any], elapsed_ns: int) -> None:
    line = encode_line(chunk)
    comma = b"," if chunk else b""
    assert unstamp(line[:-2] + comma + b'"elapsed":%d}\n' % elapsed_ns) == (line, elapsed_ns)


def lines_of(*objects: Any) -> list[bytes]:
    return [each if isinstance(each, bytes) else encode_line(each) for each in objects]


def read(*objects: Any) -> list[RecordedExchange]:
    return parse(lines_of(*objects), "some.ndjson")


def asked(path: str = "/api/chat", **more: Any) -> dict[str, Any]:
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
    ([b"\n", b" \r\n"], []),
    ([asked(), CHAT, CHAT_END], [("/api/chat", [CHAT, CHAT_END])]),
    ([asked("/api/generate"), GENERATE_END], [("/api/generate", [GENERATE_END])]),
    ([asked("/api/tags"), {"models": []}], [("/api/tags", [{"models": []}])]),
    ([asked(), asked(), CHAT_END], [("/api/chat", []), ("/api/chat", [CHAT_END])]),
    # all that follows a request line belongs to it
    ([asked(), CHAT_END, b"\n", CHAT, BOOM], [("/api/chat", [CHAT_END, CHAT, BOOM])]),
    # without one, the lines tell their endpoint, and done or an error tells where the next begins
    ([CHAT, CHAT_END], [("/api/chat", [CHAT, CHAT_END])]),
    ([GENERATE, GENERATE_END], [("/api/generate", [GENERATE, GENERATE_END])]),
    (
        [CHAT_END, GENERATE, GENERATE_END, CHAT_END],
        [("/api/chat", [CHAT_END]), ("/api/generate", [GENERATE, GENERATE_END]), ("/api/chat", [CHAT_END])],
    ),
    ([BOOM, CHAT_END], [("/api/chat", [BOOM]), ("/api/chat", [CHAT_END])]),
    ([CHAT, BOOM, CHAT_END], [("/api/chat", [CHAT, BOOM]), ("/api/chat", [CHAT_END])]),
    ([GONE, CHAT_END], [("/api/chat", [{"error": "gone"}]), ("/api/chat", [CHAT_END])]),
    # message lines are nobody's answer
    ([{"role": "user", "content": "Hi"}, asked(), {"role": "tool"}, CHAT_END], [("/api/chat", [CHAT_END])]),
    # an error line is one, whatever else stands in it
    ([asked(), {"error": "boom", "request": 1, "role": "x"}], [("/api/chat", [{**BOOM, "request": 1, "role": "x"}])]),
    ([{**asked(), "error": None}, CHAT_END], [("/api/chat", [CHAT_END])]),
]


@pytest.mark.parametrize(("given_lines", "exchanges"), EXCHANGES)
def test_lines_are_read_as_exchanges(given_lines: list[Any], exchanges: list[tuple[str, list[Any]]]) -> None:
    seen = read(*given_lines)
    assert [(each.path, [json.loads(line) for line, _ in each.lines]) for each in seen] == exchanges


def test_lines_are_answered_byte_for_byte_each_at_its_time() -> None:
    line = '{"message": {"content": "Zürich"}, "done":false}'.encode()
    (exchange,) = read(
        asked(),
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
    assert exchange.ending == "end"


GONE_LATE, BUSY_LATE = b'{"error":"gone","StatusCode":404}\n', b'{"error":"busy","StatusCode":503}\n'
FAILURES = [
    # the failure that send wrote, status, type, lines after the chunk, is the connection cut: first as the only line,
    # then behind a chunk
    (ResponseError("gone", 404), (404, JSON, [b'{"error":"gone"}\n'], False), (200, [GONE_LATE], False)),
    (ResponseError("busy", 503), (503, JSON, [b'{"error":"busy"}\n'], False), (200, [BUSY_LATE], False)),
    (ResponseError("boom"), (200, NDJSON, [b'{"error":"boom"}\n'], False), (200, [b'{"error":"boom"}\n'], False)),
    (ResponseError("odd", 200), (200, NDJSON, [b'{"error":"odd"}\n'], False), (200, [b'{"error":"odd"}\n'], False)),
    (IncompleteStream("cut"), (200, NDJSON, [], True), (200, [], True)),
    (IncompleteStream("cut", b'{"mess'), (200, NDJSON, [b'{"mess'], True), (200, [b'{"mess'], True)),
    (IncompleteStream("cut", b'{"a\xf0\x9f'), (200, NDJSON, [b'{"a\xef\xbf\xbd'], True), None),
    (StreamTimeout("slow", "idle"), (200, NDJSON, [], True), (200, [], True)),
    (ConnectError("refused"), (200, NDJSON, [], True), (200, [], True)),
]


@pytest.mark.parametrize(("error", "alone", "behind"), FAILURES, ids=[str(row[0]) for row in FAILURES])
def test_a_failure_that_send_wrote_stands_for_what_the_server_did(error: Any, alone: Any, behind: Any) -> None:
    (exchange,) = read(error.error_line())
    assert (
        exchange.status,
        exchange.content_type,
        [line for line, _ in exchange.lines],
        exchange.ending == "cut",
    ) == alone
    if behind:
        (exchange,) = read(CHAT, error.error_line())
        assert (exchange.status, [line for line, _ in exchange.lines[1:]], exchange.ending == "cut") == behind


def test_a_partial_line_that_no_utf8_can_say_is_cut_as_well() -> None:
    (exchange,) = read(rb'{"error":"cut","partial":"{\ud83d","exit_status":3}')
    assert exchange.lines == [(b"{?", 0)]


def test_an_answer_that_was_cut_by_a_limit_was_whole_for_the_server() -> None:
    (exchange,) = read(CHAT, CHAT_END, LengthError("cut by a limit").error_line())
    assert len(exchange.lines) == 2
    assert exchange.ending == "end"


def test_an_answer_after_one_that_was_cut_is_an_exchange_of_its_own() -> None:
    cut, whole = read(CHAT, IncompleteStream("cut", b'{"mess').error_line(), CHAT, CHAT_END)
    assert cut.ending == "cut"
    assert len(whole.lines) == 2


@pytest.mark.parametrize("status", ["1", True, 0, 70, 130, None])
def test_an_exit_status_nobody_may_claim_makes_no_error_line_of_ours(status: Any) -> None:
    line = {"error": "boom", "status_code": 404, "exit_status": status}
    (exchange,) = read(line)
    assert exchange.status == 200
    assert [json.loads(text) for text, _ in exchange.lines] == [line]


@pytest.mark.parametrize("code", [400, 599])
def test_an_http_error_status_becomes_that_of_the_answer(code: int) -> None:
    (exchange,) = read({"error": "boom", "status_code": code, "exit_status": 1})
    assert (exchange.status, exchange.content_type) == (code, "application/json; charset=utf-8")


@pytest.mark.parametrize("code", [399, 600, 10**30, True, "404", 404.0, None])
def test_only_an_http_error_status_becomes_one(code: Any) -> None:
    (exchange,) = read({"error": "boom", "status_code": code, "exit_status": 1})
    assert (exchange.status, exchange.content_type) == (200, NDJSON)


REQUESTS = [
    # the request line, path, body, status, content type
    (asked(), "/api/chat", {"model": "m"}, 200, NDJSON),
    (asked("/api/generate", status=404, content_type=JSON), "/api/generate", {"model": "m"}, 404, JSON),
    (asked(status=599), "/api/chat", {"model": "m"}, 599, "application/x-ndjson"),
    ({"request": {}}, "/api/chat", {}, 200, NDJSON),
    ({"request": 1}, "/api/chat", {}, 200, NDJSON),
    ({"request": {"path": 1, "body": [1]}}, "/api/chat", {}, 200, NDJSON),
    (asked(status=199), "/api/chat", {"model": "m"}, 200, NDJSON),
    (asked(status=600), "/api/chat", {"model": "m"}, 200, NDJSON),
    (asked(status=True), "/api/chat", {"model": "m"}, 200, NDJSON),
    (asked(status="404"), "/api/chat", {"model": "m"}, 200, NDJSON),
    (asked(content_type="text/x\r\nSet-Cookie: a"), "/api/chat", {"model": "m"}, 200, NDJSON),
    (asked(content_type="text/x\n"), "/api/chat", {"model": "m"}, 200, NDJSON),
    (asked(content_type="text/ü"), "/api/chat", {"model": "m"}, 200, NDJSON),
    (asked(content_type=""), "/api/chat", {"model": "m"}, 200, NDJSON),
    (asked(content_type="x" * 201), "/api/chat", {"model": "m"}, 200, NDJSON),
    (asked(content_type=7), "/api/chat", {"model": "m"}, 200, NDJSON),
]


@pytest.mark.parametrize(("line", "path", "body", "status", "content_type"), REQUESTS)
def test_what_a_request_line_says_is_checked(line: Any, path: str, body: Any, status: int, content_type: str) -> None:
    (exchange,) = read(line, CHAT_END)
    assert (exchange.path, exchange.body, exchange.status, exchange.content_type) == (path, body, status, content_type)


def test_a_line_that_is_no_object_names_file_and_line() -> None:
    with pytest.raises(NotNDJSON, match=r"^some.ndjson:3: not a JSON object but an array$") as caught:
        read(CHAT, b"\n", b"[1]\n")
    assert (caught.value.line, caught.value.lineno) == (b"[1]\n", 3)


TORN = [
    # lines, the last of which was not written whole; how many exchanges, and how the last of them ends
    ([CHAT, b'{"mess'], 1, "cut"),
    ([asked(), CHAT, b'{"mess'], 1, "cut"),
    ([asked(), b'{"mo'], 1, "cut"),
    # As well the next request as a chunk: without its done, this answer is incomplete in any case.
    ([asked(), CHAT, b"{"], 1, "end"),
    ([CHAT_END, b'{"mess'], 1, "end"),
    ([asked(), CHAT_END, b'{"request":{'], 1, "end"),
    ([asked("/api/tags"), {"models": []}, b'{"request":{'], 1, "end"),
    ([asked("/api/tags"), {"models": []}, b'{"req'], 1, "end"),
]


@pytest.mark.parametrize(("lines", "count", "ending"), TORN)
def test_a_torn_last_line_is_where_its_writer_was_killed(lines: list[Any], count: int, ending: str) -> None:
    exchanges = read(*lines)
    assert (len(exchanges), exchanges[-1].ending) == (count, ending)


@pytest.mark.parametrize("lines", [[b'{"mess'], [CHAT, b"mess"], [CHAT, b'{"mess\n'], [CHAT, b"[1]"]])
def test_other_damage_is_no_end(lines: list[Any]) -> None:
    with pytest.raises(NotNDJSON):
        read(*lines)


def exchange(body: Any, path: str = "/api/chat") -> RecordedExchange:
    return RecordedExchange(path, body)


A, B = {"prompt": "a"}, {"prompt": "b"}
FINDS: list[tuple[list[RecordedExchange], list[tuple[str, Any, int | None]]]] = [
    # exchanges, then requests and which exchange answers each
    # its path and body: the next of them each time, the last one for ever
    ([exchange(A), exchange(B), exchange(A)], [("/api/chat", request, n) for request, n in [(A, 0), (A, 2), (A, 2)]]),
    ([exchange(A), exchange(B)], [("/api/chat", request, n) for request, n in [(B, 1), (A, 0), (B, 1), (A, 0)]]),
    # the path alone: the next one that is unused, until there is none
    ([exchange(A), exchange(B)], [("/api/chat", request, n) for request, n in [({}, 0), ({}, 1), ({}, None), (A, 0)]]),
    ([exchange(A)], [("/api/generate", A, None), ("/api/chat/", A, None), ("", A, None)]),
    ([exchange(A), exchange(A, "/api/generate")], [("/api/generate", A, 1), ("/api/chat", A, 0)]),
    # without a request line: any body, again and again
    ([exchange(None)], [("/api/chat", A, 0), ("/api/chat", B, 0), ("/api/chat", None, 0), ("/api/generate", A, None)]),
    ([exchange(None), exchange(None)], [("/api/chat", A, n) for n in (0, 1, 1)]),
    ([exchange(None), exchange(A)], [("/api/chat", A, 1), ("/api/chat", B, 0)]),
    # to stream is the default
    ([exchange({**A, "stream": True}), exchange({})], [("/api/chat", A, 0), ("/api/chat", A, 0)]),
    ([exchange({}), exchange(A)], [("/api/chat", {**A, "stream": True}, 1)]),
    ([exchange(A), exchange({**A, "stream": False})], [("/api/chat", {**A, "stream": False}, 1)]),
    # a body that is no object
    ([exchange({})], [("/api/chat", [1], 0), ("/api/chat", "x", None)]),
    ([], [("/api/chat", A, None)]),
]


@pytest.mark.parametrize(("exchanges", "requests"), FINDS)
def test_a_request_finds_its_exchange(
    exchanges: list[RecordedExchange], requests: list[tuple[str, Any, int | None]]
) -> None:
    recordings = Recordings(exchanges)
    for path, body, index in requests:
        assert recordings.find(path, body) is (None if index is None else exchanges[index]), (path, body)


MODELS = [
    # lines, the model
    ([asked(), CHAT_END], "m"),
    ([{"request": {"body": {"model": "asked"}}}, CHAT_END], "asked"),
    ([{"request": {"body": {"model": 1}}}, {"model": 2}, {"model": "answered"}, CHAT_END], "answered"),
    ([{"request": {"path": "/api/tags"}}, {"models": []}, asked()], "m"),
    ([BOOM, CHAT_END], "m"),
    ([BOOM], None),
    ([], None),
]


@pytest.mark.parametrize(("lines", "model"), MODELS)
def test_the_model_is_the_one_first_asked_for_or_answered_by(lines: list[Any], model: str | None) -> None:
    assert Recordings(read(*lines)).model == model


@pytest.mark.parametrize(("name", "path"), [("chat-stream", "/api/chat"), ("generate-nostream", "/api/generate")])
def test_what_a_real_server_sent_is_a_recording_of_one_exchange(name: str, path: str) -> None:
    (seen,) = parse(body_of(name).splitlines(keepends=True), name)
    assert (seen.path, seen.body, seen.model, seen.ending) == (path, None, "plain", "end")
    assert b"".join(line for line, _ in seen.lines) == body_of(name)
