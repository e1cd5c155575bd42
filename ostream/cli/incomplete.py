"""Describe why the input of a filter is not a complete response."""

from __future__ import annotations

from ostream.errors import IncompleteStream, NotNDJSON
from ostream.protocol.ndjson import is_object_prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

    from ostream.errors import OstreamError


def early_end(name: str, last: Mapping[str, Any], prefix: str) -> IncompleteStream:
    """Return the error for a response that did not end. `last` is its last line; `prefix` is as in Diagnostics."""
    keys = last.keys()
    if not {"message", "response", "done"} & keys and {"messages", "prompt", "body"} & keys:
        return _only_requests(name, prefix)
    if not {"message", "response", "thinking", "done", "done_reason", "custom_id"} & keys:
        advice = _expected(prefix)
        if "choices" in last:
            advice = "docs/other-servers.md shows how to read the stream of an OpenAI API"
        return IncompleteStream(f"{name}: not an Ollama response", advice=advice)
    return IncompleteStream(
        f'{name}: the stream ended early (no "done": true)', advice="the partial answer was written"
    )


def no_response(names: str, has_messages: bool, has_requests: bool, prefix: str) -> IncompleteStream:
    """Return the error for input without a response, which may contain messages or requests."""
    if has_messages:
        advice = f"read it with '{prefix}render', or continue it with '{prefix}send -c'"
        return IncompleteStream(f"{names}: contains a conversation, not a response", advice=advice)
    if has_requests:
        return _only_requests(names, prefix)
    return IncompleteStream(f"{names}: no response", advice="did the command that wrote it fail?")


def _only_requests(names: str, prefix: str) -> IncompleteStream:
    return IncompleteStream(f"{names}: contains requests, not responses", advice=f"send them with '{prefix}batch'")


def damage_error(error: NotNDJSON, name: str, lineno: int, prefix: str) -> OstreamError:
    """Return the error for a line that can't be decoded: IncompleteStream if it is truncated, NotNDJSON otherwise."""
    if is_object_prefix(error.line):
        return IncompleteStream(f"{name}:{lineno}: the stream ended inside this line", error.line)
    # Without a response before the line, the input is probably not NDJSON. A "; " is followed by a more precise hint.
    advice = _expected(prefix) if lineno == 1 and "; " not in str(error) else ""
    return NotNDJSON(f"{name}:{lineno}: {error}", error.line, lineno, advice=advice)


def _expected(prefix: str) -> str:
    return f"the input must be NDJSON from '{prefix}send' or '{prefix}batch'"
