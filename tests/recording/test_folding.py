"""A recorded response is converted to the form that a request with another `stream` gets from the server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ostream.protocol.ndjson import encode_line
from ostream.recording.folding import converted
from ostream.recording.format import JSON, NDJSON, TRUNCATED, RecordedExchange
from tests.server import body_of

STREAMED, WHOLE = {"stream": True}, {"stream": False}


def exchange(
    path: str, lines: bytes | list[Any], content_type: str = NDJSON, body: Any = None, status: int = 200
) -> RecordedExchange:
    given = RecordedExchange(path, STREAMED if body is None else body, status, content_type)
    texts = lines.splitlines(keepends=True) if isinstance(lines, bytes) else map(encode_line, lines)
    given.lines = [(line, number) for number, line in enumerate(texts)]
    return given


def value(given: RecordedExchange) -> Any:
    return json.loads(b"".join(line for line, _ in given.lines))


BOOM = {"error": "boom"}
ZERO = {"model": "", "created_at": "0001-01-01T00:00:00Z", "done": False}
FAILED: list[tuple[str, list[Any], tuple[int, Any]]] = [
    ("/api/chat", [{"message": {"content": "a"}}, BOOM], (500, BOOM)),
    ("/api/chat", [{"error": "busy", "StatusCode": 503}], (503, {"error": "busy"})),
    ("/api/chat", [{"done": True}], (200, {"done": True})),
    ("/api/chat", [], (200, {**ZERO, "message": {"role": "", "content": ""}})),
    ("/api/generate", [], (200, {**ZERO, "response": ""})),
]


@pytest.mark.parametrize(("path", "lines", "expected"), FAILED)
def test_an_error_in_a_stream_becomes_a_status(path: str, lines: list[Any], expected: tuple[int, Any]) -> None:
    folded = converted(exchange(path, lines), WHOLE)
    assert (folded.status, value(folded)) == expected


@pytest.mark.parametrize("ending", [TRUNCATED, "reset", "stall"])
def test_a_truncated_stream_sends_nothing_when_folded(ending: str) -> None:
    recorded = exchange("/api/chat", b'{"message":{}}\n{"mess')
    recorded.ending = ending
    folded = converted(recorded, WHOLE)
    assert (folded.lines, folded.ending) == ([], ending)


def test_an_object_becomes_a_stream_of_one_line() -> None:
    recorded = exchange("/api/chat", b'{"done":true}', JSON, WHOLE)
    for body in (STREAMED, {}, None):
        line = converted(recorded, body)
        assert (line.content_type, line.lines) == (NDJSON, [(b'{"done":true}\n', 0)])


UNCHANGED = [
    # recorded, and the body of the request
    (exchange("/api/chat", body_of("chat-stream")), STREAMED),
    (exchange("/api/chat", body_of("chat-load"), JSON), STREAMED),  # an object, although streaming was requested
    (exchange("/api/chat", b'{"error":"no"}', JSON, STREAMED, 404), WHOLE),
    (exchange("/api/chat", b"<html>"), WHOLE),
    (exchange("/api/tags", b'{"models":[]}'), WHOLE),
    (exchange("/v1/completions", b'{"error":{}}', JSON), STREAMED),
    (exchange("/v1/completions", b"data: ?\n\ndata: [DONE]\n\n", "text/event-stream"), {}),
    (exchange("/v1/completions", b'data: {"choices":[1]}\n\ndata: [DONE]\n\n', "text/event-stream"), {}),
]


@pytest.mark.parametrize(("recorded", "body"), UNCHANGED)
def test_a_response_in_the_requested_form_is_unchanged(recorded: RecordedExchange, body: Any) -> None:
    assert converted(recorded, body) is recorded


def events(*objects: Any) -> bytes:
    return b"".join(b"data: " + encode_line(each) + b"\n" for each in objects) + b"data: [DONE]\n\n"


def openai_chunk(delta: Any, **more: Any) -> Any:
    choice = {"index": 0, "delta": delta, "finish_reason": None, **more}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
EVENTS = events(
    openai_chunk({"role": "assistant", "content": ""}),
    openai_chunk({"role": "assistant", "content": "Hel"}),
    openai_chunk({"content": "lo", "tool_calls": [CALL]}),
    openai_chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
    openai_chunk({"content": None}, finish_reason="stop"),
    {"id": "c1", "choices": [], "usage": {"total_tokens": 3}},
)
MESSAGE = {
    "role": "assistant",
    "content": "Hello",
    "tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"a":1}'}}],
}
COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "model": "m",
    "usage": {"total_tokens": 3},
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
}


def sse(text: bytes, path: str = "/v1/chat/completions") -> RecordedExchange:
    given = RecordedExchange(path, STREAMED, content_type="text/event-stream; charset=utf-8")
    given.lines, given.is_text = [(text, 5)], True
    return given


def test_server_sent_events_are_folded() -> None:
    folded = converted(sse(EVENTS), {})
    assert (folded.content_type, folded.elapsed_ns, value(folded)) == (JSON, 5, COMPLETION)
    text = [{"object": "text_completion", "choices": [{"index": 0, "text": each}]} for each in ("a", "b")]
    folded = converted(sse(events(*text), "/v1/completions"), {})
    assert value(folded) == {"object": "text_completion", "choices": [{"index": 0, "text": "ab"}]}


def test_server_sent_events_without_their_end_are_truncated() -> None:
    folded = converted(sse(EVENTS.replace(b"data: [DONE]\n\n", b"")), WHOLE)
    assert (folded.lines, folded.ending) == ([], TRUNCATED)


def test_a_completion_becomes_server_sent_events() -> None:
    path = "/v1/chat/completions"
    streamed = converted(exchange(path, [COMPLETION], JSON, {}), STREAMED)
    first, done = [line for line in streamed.lines[0][0].split(b"\n") if line]
    assert done == b"data: [DONE]"
    assert json.loads(first[6:])["choices"] == [{"index": 0, "finish_reason": "stop", "delta": MESSAGE}]
    assert value(converted(sse(streamed.lines[0][0]), {})) == COMPLETION
    text = converted(exchange("/v1/completions", [{"choices": [{"text": "a"}]}], JSON, {}), STREAMED)
    assert text.lines[0][0] == b'data: {"choices":[{"text":"a"}]}\n\ndata: [DONE]\n\n'
