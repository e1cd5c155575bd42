"""Convert a recorded stream to a single object, or a recorded object to a stream.

A recorded exchange can then answer a request with either value of `stream`.
"""

from __future__ import annotations

import json

from ostream.errors import NotNDJSON
from ostream.protocol.accumulator import Accumulator
from ostream.protocol.error_lines import is_error, response_error
from ostream.protocol.ndjson import decode_line, encode_line
from ostream.protocol.request import CHAT, GENERATE
from ostream.recording.format import COMPLETE, JSON, NDJSON, RecordedExchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SSE = "text/event-stream"
OPENAI_CHAT, OPENAI_TEXT = "/v1/chat/completions", "/v1/completions"


def converted(exchange: RecordedExchange, body: Any) -> RecordedExchange:
    """Return the exchange in the form that a request with this body asks for: a stream or a single object.

    `body` is the decoded JSON of the request. An exchange that has this form already, or that cannot be converted, is
    returned unchanged.
    """
    path = exchange.path
    if exchange.status != 200 or path not in (CHAT, GENERATE, OPENAI_CHAT, OPENAI_TEXT):
        return exchange
    requested = body.get("stream") if isinstance(body, dict) else None
    content_type = exchange.content_type.partition(";")[0].strip().lower()
    if path in (OPENAI_CHAT, OPENAI_TEXT):
        if requested is True and content_type == "application/json" and exchange.ending == COMPLETE:
            return _as_events(exchange)
        return _fold_events(exchange) if requested is not True and content_type == SSE else exchange
    was_streaming = not (isinstance(exchange.body, dict) and exchange.body.get("stream") is False)
    if requested is False:
        return _fold_lines(exchange) if content_type == NDJSON and was_streaming else exchange
    if content_type == "application/json" and not was_streaming and not exchange.is_text:
        return _like(exchange, 200, NDJSON, b"".join(line for line, _ in exchange.lines).rstrip(b"\n") + b"\n")
    return exchange


def _like(exchange: RecordedExchange, status: int, content_type: str, *lines: bytes) -> RecordedExchange:
    """Return an exchange with the same request and the response `lines`.

    Each of these lines gets the arrival time of the last line of `exchange`.
    """
    other = RecordedExchange(exchange.path, exchange.body, status, content_type, exchange.method, exchange.any_body)
    other.lines = [(line, exchange.elapsed_ns) for line in lines]
    other.ending, other.where = exchange.ending, exchange.where
    return other


def _fold_lines(exchange: RecordedExchange) -> RecordedExchange:
    """Return an exchange whose response is one object with the complete text. An error line becomes an HTTP status.

    Without streaming, a server sends nothing before the response is complete. If the connection was lost in the middle
    of the stream, the new response therefore ends before its status line.
    """
    if exchange.ending != COMPLETE:
        return _like(exchange, 200, JSON)
    response = Accumulator()
    try:
        for line, _ in exchange.lines:
            chunk = decode_line(line) or {}
            if is_error(chunk):
                code = response_error(chunk).status_code
                status = code if 400 <= code <= 599 else 500
                return _like(exchange, status, JSON, encode_line({"error": chunk["error"]}))
            response.add(chunk)
    except NotNDJSON:
        return exchange  # not a stream of Ollama, for example a web page
    if response.chunks == 1:
        return _like(exchange, 200, JSON, *(line for line, _ in exchange.lines))  # keep the server's bytes
    empty = {"message": {"role": "", "content": ""}} if exchange.path == CHAT else {"response": ""}
    zero = {"model": "", "created_at": "0001-01-01T00:00:00Z", **empty, "done": False}
    return _like(exchange, 200, JSON, encode_line(response.response if response.chunks else zero))


def _fold_events(exchange: RecordedExchange) -> RecordedExchange:
    """Return an exchange whose response is the object that OpenAI's API sends without streaming.

    The object is made from the recorded server-sent events.
    """
    events = [line[5:].strip() for text, _ in exchange.lines for line in text.split(b"\n") if line[:5] == b"data:"]
    if exchange.ending != COMPLETE or b"[DONE]" not in events:
        truncated = _like(exchange, 200, JSON)
        truncated.ending = exchange.ending if exchange.ending != COMPLETE else "truncated"
        return truncated
    try:
        folded = _folded([decode_line(event) or {} for event in events[: events.index(b"[DONE]")]])
    except (NotNDJSON, AttributeError, TypeError):
        return exchange  # these are not events of OpenAI's API
    if exchange.path == OPENAI_CHAT:
        folded["object"] = "chat.completion"
    return _like(exchange, 200, JSON, encode_line(folded))


def _folded(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    folded: dict[str, Any] = {}
    choices: dict[Any, dict[str, Any]] = {}
    for chunk in chunks:
        parts = chunk.pop("choices", None) or []
        folded.update({key: value for key, value in chunk.items() if value is not None})
        for part in parts:
            choice = choices.setdefault(part.get("index", 0), {})
            for key, value in part.items():
                if key == "delta":
                    _add_delta(choice.setdefault("message", {}), value)
                elif key == "text":
                    choice[key] = choice.get(key, "") + value
                elif value is not None or key not in choice:
                    choice[key] = value
    return {**folded, "choices": list(choices.values())}


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a fragment to a message. Texts are concatenated; parts of a tool call are matched by their `index`."""
    for key, value in delta.items():
        if key == "tool_calls" and isinstance(value, list):
            calls = message.setdefault(key, [])
            for call in value:
                same = next((each for each in calls if each.get("index") == call.get("index")), None)
                if same is None:
                    calls.append(call)
                else:
                    _add_delta(same.setdefault("function", {}), call.get("function") or {})
        elif isinstance(value, str) and isinstance(message.get(key), str) and key != "role":
            message[key] += value
        elif value is not None or key not in message:
            message[key] = value


def _as_events(exchange: RecordedExchange) -> RecordedExchange:
    """Return an exchange whose response is the server-sent events of OpenAI's API.

    The events are made from the recorded object, which the API sends without streaming.
    """
    body = b"".join(line for line, _ in exchange.lines)
    try:
        value = json.loads(body)
        choices = [dict(choice) for choice in value["choices"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return exchange
    for choice in choices:
        if "message" in choice:
            choice["delta"] = choice.pop("message")
    event = {**value, "choices": choices}
    if exchange.path == OPENAI_CHAT:
        event["object"] = "chat.completion.chunk"
    text = b"data: " + encode_line(event) + b"\ndata: [DONE]\n\n"
    events = _like(exchange, 200, SSE, text)
    events.is_text = True
    return events
