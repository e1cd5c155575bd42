"""Fold the chunks of a response into the object that `stream: false` would have returned, and into its message."""

from __future__ import annotations

from operator import itemgetter

from ostream.protocol.chunk import content, thinking, tool_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

# The result of a call that cannot be made; the model reads it.
NO_ARGUMENTS = "error: the arguments must be an object"


_CONCATENATED = frozenset(("thinking", "tool_calls", "logprobs"))


class Accumulator:
    """Folds the chunks of one response, of either endpoint.

    Text, thinking, tool calls and log probabilities are concatenated; of every other key the last value counts, as in
    the server's own folding. Tool calls are never merged, because many servers repeat their index.

    Attributes:
        chunks: how many chunks were added.
        done: True if the last one had `"done": true`.
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
        """Add several chunks, in their order."""
        texts = _texts(chunks) if len(chunks) > 1 else None
        if texts:
            # They differ in their values only, and of the other values the last ones count.
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
            # Most chunks have none of these.
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
        """The tool calls so far, as `ostream.tool_calls` returns them."""
        return list(self._tool_calls)

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message, ready to append to the messages of the next request."""
        # Another role, or one that is not text, would make the conversation invalid.
        rest = {key: value for key, value in self._message.items() if key != "role"}
        return self._fold({"role": "assistant", **rest}, "content")

    @property
    def response(self) -> dict[str, Any]:
        """The complete response in the form of its endpoint; `done` is false if the end has not arrived."""
        response = dict(self._rest)
        if "message" in response:
            response["message"] = self.message
        else:
            response = self._fold(response, "response")
        if self._logprobs:
            response["logprobs"] = list(self._logprobs)
        return response

    def _fold(self, target: dict[str, Any], text_key: str) -> dict[str, Any]:
        """Return `target` with text, thinking and tool calls where the endpoint has them, in the server's key order."""
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
    """Return the texts of chunks if nothing else in them is concatenated and the last has every other key, else None.

    Most blocks are so, and loops in C cost a third of those in Python.
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
    """Return an item of each dict. Raises an error unless the last dict has all keys of the others."""
    keys = set().union(*items)
    if keys != items[-1].keys() or not _CONCATENATED.isdisjoint(keys):
        raise KeyError
    return [*map(itemgetter(name), items)]


def parse_tool_call(call: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the name and the arguments of a tool call; "" and None where they are missing."""
    function = call.get("function")
    if not isinstance(function, dict):
        return "", None
    name = function.get("name")
    return name if isinstance(name, str) else "", function.get("arguments")


def tool_message(call: Mapping[str, Any], content: str) -> dict[str, Any]:
    """Return the tool message with the result of a call."""
    message = {"role": "tool", "content": content, "tool_name": parse_tool_call(call)[0]}
    if isinstance(call.get("id"), str):
        message["tool_call_id"] = call["id"]
    return message
