"""Chunks to the whole: the response that `stream: false` would have given, and the messages to send back."""

from __future__ import annotations

from ostream.protocol.chunk import content, thinking, tool_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

# Answers to calls that can't be made, for the model to read.
NO_SUCH_TOOL = "error: there is no such tool"
NO_ARGUMENTS = "error: the arguments must be an object"


class Accumulator:
    """Adds up the chunks of one response.

    Text, thinking, tool calls and log-probabilities are joined; of everything else the last value counts, as in the
    server's own folding. Tool calls are appended, never merged: many servers repeat their index.
    """

    def __init__(self) -> None:
        self.chunks = 0
        self.done = False
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._tool_calls: list[dict[str, Any]] = []
        self._logprobs: list[Any] = []
        self._rest: dict[str, Any] = {}
        self._message: dict[str, Any] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        self.chunks += 1
        self.done = chunk.get("done") is True
        self._rest.update(chunk)
        self._content.append(content(chunk))
        message = chunk.get("message")
        if isinstance(message, dict):
            self._message.update(message)
        else:
            message = chunk
        # Most chunks have none of these.
        if "thinking" in message:
            self._thinking.append(thinking(chunk))
        if "tool_calls" in message:
            self._tool_calls += tool_calls(chunk)
        logprobs = chunk.get("logprobs")
        if isinstance(logprobs, list):
            self._logprobs += logprobs

    @property
    def content(self) -> str:
        return "".join(self._content)

    @property
    def thinking(self) -> str:
        return "".join(self._thinking)

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        return list(self._tool_calls)

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message, ready to append to the messages of the next request."""
        # Whatever a server calls itself: with another role, or none that is text, a conversation would be spoilt.
        rest = {key: value for key, value in self._message.items() if key != "role"}
        return self._fold({"role": "assistant", **rest}, "content")

    @property
    def response(self) -> dict[str, Any]:
        """The whole response in the shape of its endpoint; `done` is false if the end never came."""
        response = dict(self._rest)
        if "message" in response:
            response["message"] = self.message
        else:
            response = self._fold(response, "response")
        if self._logprobs:
            response["logprobs"] = list(self._logprobs)
        return response

    def _fold(self, place: dict[str, Any], text_key: str) -> dict[str, Any]:
        """Put text, thinking and tool calls where the endpoint has them, in the server's order of keys."""
        folded: dict[str, Any] = {}
        for key, value in {**place, text_key: place.get(text_key)}.items():
            if key == text_key:
                folded[text_key] = self.content
                if any(self._thinking):
                    folded["thinking"] = self.thinking
                if self._tool_calls:
                    folded["tool_calls"] = self.tool_calls
            elif key not in ("thinking", "tool_calls"):
                folded[key] = value
        return folded


def parse_tool_call(call: Mapping[str, Any]) -> tuple[str, Any]:
    """The name and the arguments of a tool call; "" and None where they are missing."""
    function = call.get("function")
    if not isinstance(function, dict):
        return "", None
    name = function.get("name")
    return name if isinstance(name, str) else "", function.get("arguments")


def tool_message(call: Mapping[str, Any], content: str) -> dict[str, Any]:
    """The message that answers a tool call."""
    message = {"role": "tool", "content": content, "tool_name": parse_tool_call(call)[0]}
    if isinstance(call.get("id"), str):
        message["tool_call_id"] = call["id"]
    return message
