"""What a chunk says: one set of views for both endpoints and every age of server.

A chunk is one object of the stream: /api/chat puts its text in `message`, /api/generate at the top. The views take
any dict, never raise, and give "" or [] for what is missing, null or of the wrong type.
"""

from __future__ import annotations

from ostream.protocol.ndjson import strict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping, TypeVar

    T = TypeVar("T")


def content(chunk: Mapping[str, Any]) -> str:
    """The fragment of the answer in this chunk."""
    message = chunk.get("message")
    text = message.get("content") if isinstance(message, dict) else chunk.get("response")
    return text if isinstance(text, str) else ""


def thinking(chunk: Mapping[str, Any]) -> str:
    """The fragment of the reasoning in this chunk."""
    message = chunk.get("message")
    text = (message if isinstance(message, dict) else chunk).get("thinking")
    return text if isinstance(text, str) else ""


def tool_calls(chunk: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The complete tool calls in this chunk, `function.arguments` always an object where it can be one.

    Other servers send the arguments as a JSON string, or leave them out.
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
    if isinstance(arguments, str):
        try:
            arguments = strict.decode(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError):
            return call
        if arguments and not isinstance(arguments, dict):
            return call
    return {**call, "function": {**function, "arguments": arguments or {}}}


if TYPE_CHECKING:
    Base = dict[str, Any]
else:
    Base = dict  # 3.8 can't subscript it


class AttrDict(Base):
    """A dict of what the server sent that also answers attributes; setting one sets the item."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        # Only names without a property come here.
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def _properties(*names: str) -> Callable[[type[T]], type[T]]:
    """Give a class a property for each name that the API knows: the item, or None when the server left it out.

    Half the cost of answering them in `__getattr__`.
    """

    def decorate(cls: type[T]) -> type[T]:
        for name in names:
            setattr(cls, name, _item(name))
        return cls

    return decorate


def _item(name: str) -> property:
    return property(lambda self: self.get(name))


@_properties("name", "arguments", "index")
class Function(AttrDict):
    """`function` of a tool call. `arguments` is a plain dict."""

    __slots__ = ()
    if TYPE_CHECKING:
        name: str
        arguments: dict[str, Any]
        index: int | None


@_properties("id", "function")
class ToolCall(AttrDict):
    __slots__ = ()
    if TYPE_CHECKING:
        id: str | None
        function: Function

    def __init__(self, *args: Any, **items: Any) -> None:
        super().__init__(*args, **items)
        _wrap(self, "function", Function)


@_properties("token", "logprob", "bytes", "top_logprobs")
class Logprob(AttrDict):
    __slots__ = ()
    if TYPE_CHECKING:
        token: str
        logprob: float
        bytes: list[int] | None
        top_logprobs: list[Logprob] | None

    def __init__(self, *args: Any, **items: Any) -> None:
        super().__init__(*args, **items)
        _wrap(self, "top_logprobs", Logprob)


@_properties("role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id")
class Message(AttrDict):
    """`message` of /api/chat, in requests and answers."""

    __slots__ = ()
    if TYPE_CHECKING:
        role: str
        content: str | None
        thinking: str | None
        images: list[str] | None
        tool_calls: list[ToolCall] | None
        tool_name: str | None
        tool_call_id: str | None

    def __init__(self, *args: Any, **items: Any) -> None:
        super().__init__(*args, **items)
        if "tool_calls" in self:
            _wrap(self, "tool_calls", ToolCall)


@_properties(
    *("model", "created_at", "response", "thinking", "done", "done_reason", "context", "tool_calls", "logprobs"),
    *("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"),
    *("remote_model", "remote_host", "image", "completed", "total"),
)
class Chunk(AttrDict):
    """One object of either endpoint, exactly as the server sent it: a dict, and attributes for its keys.

    A name the API knows but the server left out is None; `message` is then an empty Message.
    """

    __slots__ = ()
    if TYPE_CHECKING:
        model: str
        created_at: str
        response: str
        thinking: str | None
        done: bool
        done_reason: str | None
        context: list[int] | None
        tool_calls: list[ToolCall] | None
        logprobs: list[Logprob] | None
        total_duration: int | None
        load_duration: int | None
        prompt_eval_count: int | None
        prompt_eval_duration: int | None
        eval_count: int | None
        eval_duration: int | None
        remote_model: str | None
        remote_host: str | None
        image: str | None
        completed: int | None
        total: int | None

    def __init__(self, *args: Any, **items: Any) -> None:
        super().__init__(*args, **items)
        _wrap(self, "message", Message)
        if "tool_calls" in self:
            _wrap(self, "tool_calls", ToolCall)
        if "logprobs" in self:
            _wrap(self, "logprobs", Logprob)

    @property
    def message(self) -> Message:
        message = self.get("message")
        return Message() if message is None else message


def _wrap(owner: dict[str, Any], key: str, cls: type) -> None:
    """Give the objects below a key the class that answers their attributes."""
    value = owner.get(key)
    if type(value) is dict:
        owner[key] = cls(value)
    elif type(value) is list:
        owner[key] = [cls(item) if type(item) is dict else item for item in value]
