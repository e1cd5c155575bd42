"""The content of many chunks at once."""

from __future__ import annotations

from operator import itemgetter

from ostream.protocol.chunk import content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

_message, _content, _response = itemgetter("message"), itemgetter("content"), itemgetter("response")
_has_no_message = frozenset(("message",)).isdisjoint
_has_only_content = frozenset(("thinking", "tool_calls")).isdisjoint
_has_only_response = frozenset(("message", "thinking", "tool_calls")).isdisjoint


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
