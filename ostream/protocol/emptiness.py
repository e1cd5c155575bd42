"""Decide whether a complete answer is empty. Every command that reports empty answers uses this module."""

from __future__ import annotations

from ostream.errors import EmptyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping


def has_image(chunk: Mapping[str, Any]) -> bool:
    """Return True if a chunk contains a generated image."""
    message = chunk.get("message")
    images = message.get("images") if isinstance(message, dict) else None
    return bool(images or chunk.get("image"))


def empty_error(last: Mapping[str, Any], has_thinking: bool) -> EmptyError | None:
    """Return the error for an answer that has no text, tool call or image.

    Returns None if the request only loaded or unloaded a model. `last` is the last chunk of the response, or the
    complete response. `has_thinking` is True if the response contains thinking text.
    """
    reason = last.get("done_reason")
    if reason in ("load", "unload"):
        return None
    if has_thinking and reason == "length":
        return EmptyError(
            "the answer was truncated before its thinking ended",
            advice="raise num_predict or num_ctx with --option, or use --no-think",
        )
    if has_thinking:
        return EmptyError(
            "the answer contains thinking but no text", advice="read it with extract-thinking, or use --no-think"
        )
    if reason == "length":
        return EmptyError(
            "the answer was truncated before it contained any text", advice="raise num_predict or num_ctx with --option"
        )
    return EmptyError("the answer is empty", advice="the model generated no text; change the prompt or try again")
