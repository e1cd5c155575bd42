"""Combine the chunks of a streamed response into the complete response that the server sends without streaming."""

from __future__ import annotations

from _operator import itemgetter

from ostream.protocol.chunk import content, thinking, tool_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

# The result of a tool call whose arguments are not an object. It is sent to the model.
NO_ARGUMENTS = "error: the arguments must be an object"


_CONCATENATED = frozenset(("thinking", "tool_calls", "logprobs"))


class Accumulator:
    """Combines the chunks of one response, from /api/chat or /api/generate.

    Text, thinking, tool calls and log probabilities are concatenated. For every other key, the last value is kept, as
    the server does. Tool calls are never merged, because many servers give several calls the same `index`.

    Attributes:
        chunks: the number of chunks that were added.
        done: True if the last chunk had `"done": true`.
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
        """Add the next chunk of the response."""
        self.add_all((chunk,))

    def add_all(self, chunks: Sequence[Mapping[str, Any]]) -> None:
        """Add several chunks, in the order in which the server sent them."""
        texts = _texts(chunks) if len(chunks) > 1 else None
        if texts:
            # Of the earlier chunks, only the texts are needed: the last chunk has all their other keys.
            self.chunks += len(chunks) - 1
            self._content += texts[:-1]
            chunks = chunks[-1:]
        chunk: Mapping[str, Any] = {}
        for chunk in chunks:
            self.chunks += 1
            self._rest.update(chunk)
            message = chunk.get("message")
            if isinstance(message, dict):
                self._message.update(message)
                text = message.get("content")
            else:
                message, text = chunk, chunk.get("response")
            self._content.append(text if isinstance(text, str) else content(chunk))
            # Most chunks have none of these keys. Checking a key is faster than calling a function.
            if "thinking" in message:
                self._thinking.append(thinking(chunk))
            if "tool_calls" in message:
                self._tool_calls += tool_calls(chunk)
            if "logprobs" in chunk and isinstance(chunk["logprobs"], list):
                self._logprobs += chunk["logprobs"]
        self.done = chunk.get("done") is True

    @property
    def content(self) -> str:
        """The answer text so far."""
        return "".join(self._content)

    @property
    def thinking(self) -> str:
        """The thinking text so far."""
        return "".join(self._thinking)

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The tool calls so far, in the form that `ostream.tool_calls` returns."""
        return list(self._tool_calls)

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message so far. It can be appended to the messages of the next request."""
        # A role other than "assistant" would make the conversation invalid, so the role of the chunks is ignored.
        rest = {key: value for key, value in self._message.items() if key != "role"}
        return self._fold({"role": "assistant", **rest}, "content")

    @property
    def response(self) -> dict[str, Any]:
        """The response so far, in the form that the server sends without streaming.

        `done` is true only if the last chunk has `"done": true`.
        """
        response = dict(self._rest)
        if "message" in response:
            response["message"] = self.message
        else:
            response = self._fold(response, "response")
        if self._logprobs:
            response["logprobs"] = list(self._logprobs)
        return response

    def _fold(self, target: dict[str, Any], text_key: str) -> dict[str, Any]:
        """Return a copy of `target` with the combined text, thinking and tool calls, in the server's order of keys."""
        folded: dict[str, Any] = {}
        for key, value in {**target, text_key: target.get(text_key)}.items():
            if key == text_key:
                folded[text_key] = self.content
                if any(self._thinking):
                    folded["thinking"] = self.thinking
                if self._tool_calls:
                    folded["tool_calls"] = self.tool_calls
            elif key not in ("thinking", "tool_calls"):
                folded[key] = value
        return folded


def _texts(chunks: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """Return the texts of the chunks, or None if `add_all` must process the chunks one by one.

    The chunks must be processed one by one if one of them has another key that is concatenated, or a key that the last
    chunk lacks. Most blocks have neither, and `map` takes a third of the time of a Python loop.
    """
    try:
        texts = _values("response" if "response" in chunks[0] else "message", chunks)
        if "message" in chunks[0]:
            texts = _values("content", texts)
        "".join(texts)  # raises TypeError unless all are text
    except (KeyError, TypeError, AttributeError):
        return None
    return texts


def _values(name: str, items: Sequence[Any]) -> list[Any]:
    """Return the item `name` of each dict.

    Raises KeyError if a dict has a key that is concatenated, or if the last dict lacks a key of another dict.
    """
    keys = set().union(*items)
    if keys != items[-1].keys() or not _CONCATENATED.isdisjoint(keys):
        raise KeyError
    return [*map(itemgetter(name), items)]


def parse_tool_call(call: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the name and the arguments of a tool call. A missing name is "", missing arguments are None."""
    function = call.get("function")
    if not isinstance(function, dict):
        return "", None
    name = function.get("name")
    return name if isinstance(name, str) else "", function.get("arguments")


def tool_message(call: Mapping[str, Any], content: str) -> dict[str, Any]:
    """Return a message with the role "tool" that answers a tool call. `content` is the result of the call."""
    message = {"role": "tool", "content": content, "tool_name": parse_tool_call(call)[0]}
    if isinstance(call.get("id"), str):
        message["tool_call_id"] = call["id"]
    return message
