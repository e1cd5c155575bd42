"""The objects of a response, as dicts whose items are also attributes.

Each object contains exactly what the server sent. An attribute is None if the API defines it but the server did not
send it. Any other missing name raises AttributeError. Setting an attribute sets the item.
"""

from __future__ import annotations

from ostream.errors import ResponseError
from ostream.protocol.attrdict import AttrDict, fields, item, items, short, wrap
from ostream.protocol.chunk import content, parse_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    C = TypeVar("C", bound="Chunk")


@fields("token", "logprob", "top_logprobs")
class Logprob(AttrDict):
    """The log probability of a token.

    Attributes:
        token: the text of the token.
        logprob: the natural logarithm of its probability.
        bytes: the bytes of the token in UTF-8, or None.
        top_logprobs: the alternative tokens at the same position, or None.
    """

    __slots__ = ()
    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[Logprob] | None = items("top_logprobs", lambda entry: Logprob(entry))


@fields("role", "content", "thinking", "images", "tool_name", "tool_calls")
class Message(AttrDict):
    """A message of a chat, in requests and responses.

    Attributes, which are None if the message does not contain them:
        role: "system", "user", "assistant" or "tool".
        content: the text; for the role "tool", the result of a tool call.
        thinking: the thinking of the model, for models that think.
        images: the images of a user's message, as in `chat`.
        tool_calls: the tool calls of the assistant, a list of Message.ToolCall.
        tool_name, tool_call_id: for the role "tool", the name of the function and the id of the call.
    """

    __slots__ = ()

    @fields("function")
    class ToolCall(AttrDict):
        """A tool call in a message: `id` (None if the server sent no id) and `function` (empty if there is none)."""

        __slots__ = ()

        @fields("name", "arguments")
        class Function(AttrDict):
            """The function of a tool call: `name`, `arguments`, and `index`, the number of the call or None."""

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
        function: Function = item("function", Function, is_required=True)

    role: str
    content: str | None
    thinking: str | None
    images: list[Any] | None
    tool_calls: list[ToolCall] | None = items("tool_calls", lambda call: wrap_tool_call(call))
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

    Attributes, which are None if the server did not send them:
        text: the text of this chunk or response, of either endpoint, without thinking; never None.
        model: the name of the model.
        created_at: when the server created the object, as text in the format of RFC 3339.
        done: True in the last chunk and in a complete response.
        done_reason: why the response ended: "stop", "length" (truncated by a limit), "load" or "unload".
        total_duration: the server's time for the request, in nanoseconds, including
            load_duration (loading the model), prompt_eval_duration (the prompt) and eval_duration (the answer).
        prompt_eval_count, eval_count: the number of tokens of the prompt and of the answer.
        prompt_eval_cached_count: how many tokens of the prompt were in the server's cache.
        logprobs: the log probabilities of the tokens, a list of objects with `token`, `logprob` and `top_logprobs`.
        remote_model, remote_host: the model and the host that answered, for cloud models.

    In a stream, only the last chunk has done_reason, durations and counts.
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
    logprobs: list[Logprob] | None = items("logprobs", Logprob)

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
    """A chunk or a complete response of /api/chat: a Chunk with a `message`."""

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
    """A chunk or a complete response of /api/generate: a Chunk with more attributes.

    Attributes, which are None if the server did not send them:
        response: the text; `text` is the same, but never None.
        thinking: the thinking of the model, for models that think.
        context: the conversation as tokens, to pass to the next `generate`; only in the last chunk.
        tool_calls: the tool calls of the model, a list of Message.ToolCall.
        image: the generated image as base64 text, for models that make images.
        completed, total: the finished steps and all steps, while an image is being generated.
    """

    __slots__ = ()
    response: str
    thinking: str | None
    context: list[int] | None
    tool_calls: list[ToolCall] | None = items("tool_calls", lambda call: wrap_tool_call(call))
    image: str | None
    completed: int | None
    total: int | None


@fields()
class ResponseMetrics(AttrDict):
    """Counts, durations and rates of a response. Durations are in nanoseconds, rates are in tokens per second.

    Attributes, which are None if they are not known:
        model, done_reason, and the counts and durations that Chunk has.
        chunks, fragments: the number of chunks, and of those with text or thinking.
        time_to_first_token: from sending the request to the first fragment of text or thinking.
        time_to_first_content: from sending the request to the first fragment of text.
        prompt_eval_rate: evaluated tokens of the prompt per second; cached tokens do not count.
        prompt_truncated: True if the prompt was truncated to fit the context window.
        eval_rate: generated tokens per second.
        time_per_output_token: the inverse of eval_rate.
        inter_chunk_p50, inter_chunk_p90, inter_chunk_p99, longest_stall: percentiles and maximum of the time between
            two fragments.
        time_to_first_token_from, inter_chunk_from: where these times come from: "client clock", "server, lower bound"
            or "created_at".
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
