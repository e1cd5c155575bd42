"""The objects of a response, as dicts whose items are also attributes.

Each object contains exactly what the server sent. An attribute is None if the API defines it but the server did not
send it. Any other missing name raises AttributeError. Setting an attribute sets the item.
"""

from __future__ import annotations

from ostream.errors import ResponseError
from ostream.protocol.attrdict import AttrDict, fields, item, short, wrap
from ostream.protocol.chunk import content, parse_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    C = TypeVar("C", bound="Chunk")


@fields("token", "logprob", "top_logprobs")
class Logprob(AttrDict):
    """The log probability of a token. `top_logprobs` contains the alternative tokens at the same position."""

    __slots__ = ()
    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[Logprob] | None = item("top_logprobs", lambda entry: Logprob(entry))


@fields("role", "content", "thinking", "images", "tool_name", "tool_calls")
class Message(AttrDict):
    """A message of a chat, in requests and responses.

    `role` is system, user, assistant or tool. A message with the role tool contains the result of a tool call. Its
    `tool_name` and `tool_call_id` identify that call.
    """

    __slots__ = ()

    @fields("function")
    class ToolCall(AttrDict):
        """A tool call in a message: `id` (None if the server sent no id) and `function`."""

        __slots__ = ()

        @fields("name", "arguments")
        class Function(AttrDict):
            """The function of a tool call: `name`, `arguments` and `index`."""

            __slots__ = ()
            name: str
            index: int | None

            @property
            def arguments(self) -> dict[str, Any]:
                """The arguments as a dict. JSON text is decoded, and missing arguments are {}.

                Raises ResponseError if the arguments are not an object.
                """
                arguments = self.get("arguments")
                if isinstance(arguments, dict):
                    return arguments
                parsed = parse_arguments(arguments)
                if parsed is None:
                    name = self.get("name")
                    raise ResponseError(f"tool call {name}: the arguments are not a JSON object: {arguments!r:.200}")
                return parsed

        id: str | None
        function: Function = item("function", Function)

    role: str
    content: str | None
    thinking: str | None
    images: list[Any] | None
    tool_calls: list[ToolCall] | None = item("tool_calls", lambda call: wrap_tool_call(call))
    tool_name: str | None
    tool_call_id: str | None


ToolCall = Message.ToolCall
Function = ToolCall.Function


@fields(
    *("model", "created_at", "done", "done_reason", "total_duration", "load_duration", "prompt_eval_count"),
    *("prompt_eval_duration", "eval_count", "eval_duration"),
)
class Chunk(AttrDict):
    """One object of a response: a chunk of a stream, or the complete response of `stream=False`.

    Durations are in nanoseconds and counts are in tokens. In a stream, only the last chunk has durations and counts.
    `text` is available for both endpoints.
    """

    __slots__ = ()
    model: str
    created_at: str
    done: bool
    done_reason: str | None
    total_duration: int | None
    load_duration: int | None
    prompt_eval_count: int | None
    prompt_eval_cached_count: int | None
    prompt_eval_duration: int | None
    eval_count: int | None
    eval_duration: int | None
    remote_model: str | None
    remote_host: str | None
    logprobs: list[Logprob] | None = item("logprobs", Logprob)

    @property
    def text(self) -> str:
        """The answer text of this chunk, without thinking; "" if the chunk has no answer text."""
        return content(self)

    def __repr__(self) -> str:
        shown = {
            "model": self.get("model"),
            "text": self.text,
            "done": self.get("done"),
            "done_reason": self.get("done_reason"),
        }
        pairs = (f"{key}={short(value)}" for key, value in shown.items() if value is not None)
        return f"{type(self).__name__}({', '.join(pairs)})"


@fields("message", "logprobs")
class ChatResponse(Chunk):
    """A chunk or a complete response of /api/chat."""

    __slots__ = ()

    @property
    def message(self) -> Message:
        """The message of a complete response, or the fragment of the message in a chunk.

        If there is no message, this property adds an empty one.
        """
        try:
            message = self["message"]
        except KeyError:
            message = None
        if type(message) is Message:
            return message
        if message is None or type(message) is dict:
            message = self["message"] = Message(message or {})
        return message if isinstance(message, Message) else Message()


@fields("response", "thinking", "context", "logprobs", "image", "completed", "total")
class GenerateResponse(Chunk):
    """A chunk or a complete response of /api/generate. Image models use `image`, `completed` and `total`."""

    __slots__ = ()
    response: str
    thinking: str | None
    context: list[int] | None
    tool_calls: list[ToolCall] | None = item("tool_calls", lambda call: wrap_tool_call(call))
    image: str | None
    completed: int | None
    total: int | None


@fields()
class ResponseMetrics(AttrDict):
    """Counts, durations and rates of a response.

    Durations are in nanoseconds, rates are in tokens per second. Unknown values are None.
    """

    __slots__ = ()
    model: str | None
    done_reason: str | None
    chunks: int
    fragments: int
    total_duration: float | None
    load_duration: float | None
    time_to_first_token: float | None
    time_to_first_token_from: str | None
    time_to_first_content: float | None
    prompt_eval_count: float | None
    prompt_eval_cached_count: float | None
    prompt_eval_duration: float | None
    prompt_eval_rate: float | None
    prompt_truncated: bool | None
    eval_count: float | None
    eval_duration: float | None
    eval_rate: float | None
    time_per_output_token: float | None
    inter_chunk_p50: float | None
    inter_chunk_p90: float | None
    inter_chunk_p99: float | None
    longest_stall: float | None
    inter_chunk_from: str | None


def wrap_tool_call(call: dict[str, Any]) -> ToolCall:
    """Convert a decoded tool call to a ToolCall, and its arguments to a dict if possible."""
    wrapped = ToolCall(call)
    function = call.get("function")
    if type(function) is dict:
        wrapped["function"] = function = Function(function)
        parsed = parse_arguments(function.get("arguments"))
        if parsed is not None and "arguments" in function:
            function["arguments"] = parsed
    return wrapped


def _wrap_logprob(entry: dict[str, Any]) -> Logprob:
    wrapped = Logprob(entry)
    if "top_logprobs" in entry:
        wrapped["top_logprobs"] = wrap(entry["top_logprobs"], Logprob)
    return wrapped


def wrap_chunk(cls: type[C], decoded: dict[str, Any]) -> C:
    """Convert a decoded object to `cls`, and the objects inside it to their classes. `decoded` is not changed.

    The classes have no `__init__`, because dict subclasses without `__init__` are created in a third of the time.
    """
    chunk = cls(decoded)
    message = decoded.get("message")
    if type(message) is dict:
        chunk["message"] = message = Message(message)
        if "tool_calls" in message:
            message["tool_calls"] = wrap(message["tool_calls"], wrap_tool_call)
    if "tool_calls" in decoded:
        chunk["tool_calls"] = wrap(decoded["tool_calls"], wrap_tool_call)
    if "logprobs" in decoded:
        chunk["logprobs"] = wrap(decoded["logprobs"], _wrap_logprob)
    return chunk
