"""Read records of an OpenAI batch output file as chunks."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping


def chunk_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a record with a `custom_id` to the chunk of a complete response.

    The `custom_id` becomes the `id`. A record with an HTTP error becomes an error line. A record without a response
    becomes a chunk without `done`.
    """
    id = {"id": record.get("custom_id")}
    response = record.get("response")
    if not isinstance(response, dict):
        response = {}
    body = response.get("body")
    if not isinstance(body, dict):
        return id
    choices = body.get("choices")
    if not isinstance(choices, list):
        # Without `choices`, the body is an error from OpenAI or a response of Ollama's own API. The status of an OpenAI
        # error is outside the body.
        status = {"status_code": response.get("status_code")} if body.get("error") else {}
        return {**status, **body, **id}
    choice = choices[0] if choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"content": choice.get("text")}
    # vLLM uses `reasoning`. llama.cpp, LM Studio and older versions of vLLM use `reasoning_content`.
    thinking = message.get("reasoning") or message.get("reasoning_content")
    return {
        **id,
        "model": body.get("model"),
        "message": {"role": "assistant", "thinking": thinking, **message},
        "done": True,
        "done_reason": choice.get("finish_reason"),
        **counts(body),
    }


def counts(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the token counts of a body in OpenAI's format, with the names that Ollama uses; {} if there are none."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return {}
    known = {"prompt_eval_count": usage.get("prompt_tokens"), "eval_count": usage.get("completion_tokens")}
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict):
        known["prompt_eval_cached_count"] = details.get("cached_tokens")
    return known
