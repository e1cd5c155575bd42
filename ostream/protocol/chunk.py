"""Read the text and the tool calls of a chunk, whichever endpoint and server version sent it.

A chunk is one object of a response. /api/chat puts the text into `message`, /api/generate at the top level. These
functions take any mapping, never raise, and return "" or [] for what is missing or null.
"""

from __future__ import annotations

from operator import itemgetter

from ostream.protocol.ndjson import strict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence


_message, _content, _response = itemgetter("message"), itemgetter("content"), itemgetter("response")
_has_no_message = frozenset(("message",)).isdisjoint
_has_only_content = frozenset(("thinking", "tool_calls")).isdisjoint
_has_only_response = frozenset(("message", "thinking", "tool_calls")).isdisjoint


def content(chunk: Mapping[str, Any]) -> str:
    """Return the answer text in a chunk of /api/chat or /api/generate.

    A number, and a list or an object that is not empty, is returned as its JSON, so that nothing received is lost.
    """
    message = chunk.get("message")
    text = message.get("content") if isinstance(message, dict) else chunk.get("response")
    return text if isinstance(text, str) else _as_text(text)


def thinking(chunk: Mapping[str, Any]) -> str:
    """Return the thinking text in a chunk of /api/chat or /api/generate, in the same way as `content`."""
    message = chunk.get("message")
    text = (message if isinstance(message, dict) else chunk).get("thinking")
    return text if isinstance(text, str) else _as_text(text)


def _as_text(value: Any) -> str:
    if isinstance(value, bool) or value in (None, [], {}):
        return ""
    import json

    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return ""


def tool_calls(chunk: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tool calls in a chunk of /api/chat or /api/generate.

    `function.arguments` is a dict: JSON text, which some servers send, is decoded, and missing arguments are {}. Text
    that is not a JSON object stays as it is.
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
    """Return the arguments of a tool call as a dict: null and [] are {}, JSON text is decoded.

    Returns None if they are not an object.
    """
    if isinstance(arguments, str):
        try:
            arguments = strict.decode(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError):
            return None
    if not arguments and (arguments is None or arguments == []):
        return {}
    return arguments if isinstance(arguments, dict) else None


def contents(chunks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the fragments that `content` gives for chunks; those without text may be left out.

    Without a step of Python for each ordinary chunk.
    """
    for get in (_message_contents, _response_contents):
        try:
            fragments = get(chunks)
            "".join(fragments)  # proves that all are text
            return fragments
        except (KeyError, TypeError):
            pass
    return [*filter(None, map(content, chunks))]


def has_only_content(chunks: Sequence[Mapping[str, Any]]) -> bool:
    """True if chunks have neither thinking nor tool calls."""
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
