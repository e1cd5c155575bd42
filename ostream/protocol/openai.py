"""Answers in the format of OpenAI's batch files, as the chunks they would be here."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping


def chunk_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The answer in a record that batch wrote for one with a `custom_id`; without `done` if there is none in it."""
    response = record.get("response")
    body = response.get("body") if isinstance(response, dict) else None
    if not isinstance(body, dict):
        body = {}
    name = {"id": record.get("custom_id")}
    choices = body.get("choices")
    if not isinstance(choices, list):
        return {**body, **name}  # Ollama's own: a record may ask for its paths, too
    choice = choices[0] if choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"content": choice.get("text")}
    return {
        **name,
        "model": body.get("model"),
        "message": {"role": "assistant", "thinking": message.get("reasoning"), **message},
        "done": True,
        "done_reason": choice.get("finish_reason"),
        **counts(body),
    }


def counts(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the answer cost, by the names of Ollama's API; empty if it says nothing of it in the other one's."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return {}
    return {"prompt_eval_count": usage.get("prompt_tokens"), "eval_count": usage.get("completion_tokens")}
