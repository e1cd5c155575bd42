"""Read the text and the tool calls of a chunk, from any endpoint and any version of the server.

A chunk is one object of a response. The text of /api/chat is in `message`; the text of /api/generate is at the top
level. `content`, `thinking` and `tool_calls` accept any mapping and never raise an error. They return "" or [] if the
value is missing or null.
"""

from __future__ import annotations

from _operator import itemgetter  # importing `operator` takes 4 % of a filter's start-up instructions

from ostream.protocol.json_codec import strict_decoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence


_message, _content, _response = itemgetter("message"), itemgetter("content"), itemgetter("response")
_has_no_message = frozenset(("message",)).isdisjoint
_has_only_content = frozenset(("thinking", "tool_calls")).isdisjoint
_has_only_response = frozenset(("message", "thinking", "tool_calls")).isdisjoint


def content(chunk: Mapping[str, Any]) -> str:
    """Return the answer text in a chunk of /api/chat or /api/generate; "" if there is none.

    If the value is not text, its JSON text is returned, so that no data is lost. null, [] and {} count as empty.
    """
    message = chunk.get("message")
    text = message.get("content") if isinstance(message, dict) else chunk.get("response")
    return text if isinstance(text, str) else _as_text(text)


def thinking(chunk: Mapping[str, Any]) -> str:
    """Return the thinking text in a chunk of /api/chat or /api/generate; "" if there is none.

    A value that is not text is treated as in `content`.
    """
    message = chunk.get("message")
    text = (message if isinstance(message, dict) else chunk).get("thinking")
    return text if isinstance(text, str) else _as_text(text)


def _as_text(value: Any) -> str:
    if value in (None, [], {}):
        return ""
    import json

    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return ""


def tool_calls(chunk: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tool calls in a chunk of /api/chat or /api/generate; [] if there are none.

    `function.arguments` of each call is a dict: JSON text, which some servers send, is decoded, and missing arguments
    become {}. Arguments that cannot be converted to a dict are returned unchanged.
    """
    message = chunk.get("message")
    calls = (message if isinstance(message, dict) else chunk).get("tool_calls")
    if not isinstance(calls, list):
        return []
    return [_with_arguments(call) for call in calls if isinstance(call, dict)]


def _with_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        return call
    parsed = parse_arguments(arguments)
    return call if parsed is None else {**call, "function": {**function, "arguments": parsed}}


def parse_arguments(arguments: Any) -> dict[str, Any] | None:
    """Return the arguments of a tool call as a dict.

    JSON text is decoded. None, [] and blank text become {}. Returns None if the arguments are not an object.
    """
    if isinstance(arguments, str):
        try:
            arguments = strict_decoder().decode(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError):
            return None
    if not arguments and (arguments is None or arguments == []):
        return {}
    return arguments if isinstance(arguments, dict) else None


def contents(chunks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the texts of chunks, as `content` returns them. Chunks without text may be left out.

    Most chunks are read without a Python call for each chunk, which is faster.
    """
    for get in (_message_contents, _response_contents):
        try:
            fragments = get(chunks)
            "".join(fragments)  # raises TypeError unless all are text
            return fragments
        except (KeyError, TypeError):
            pass
    return [*filter(None, map(content, chunks))]


def has_only_content(chunks: Sequence[Mapping[str, Any]]) -> bool:
    """Return True if no chunk has a `thinking` or `tool_calls` key."""
    try:
        return all(map(_has_only_content, map(_message, chunks)))
    except (KeyError, TypeError):
        return all(map(_has_only_response, chunks))


def _message_contents(chunks: Sequence[Mapping[str, Any]]) -> list[str]:
    return [*map(_content, map(_message, chunks))]


def _response_contents(chunks: Sequence[Mapping[str, Any]]) -> list[str]:
    if not all(map(_has_no_message, chunks)):
        raise KeyError
    return [*map(_response, chunks)]
