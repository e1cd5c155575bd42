"""Types for those who check theirs; nothing here is loaded at run time unless a program asks for it."""

from __future__ import annotations

from os import PathLike
from typing import Any, Callable, List, Mapping, Sequence, TypedDict, Union


class FunctionDict(TypedDict, total=False):
    """`function` of a tool call."""

    name: str
    arguments: Mapping[str, Any]
    index: int


class ToolCallDict(TypedDict, total=False):
    """One of a message's tool_calls."""

    id: str
    function: FunctionDict


Image = Union[bytes, str, "PathLike[str]"]


class MessageDict(TypedDict, total=False):
    """A message of a request; an image is bytes, a path object or base64 text."""

    role: str
    content: str
    thinking: str
    images: Sequence[Image]
    tool_calls: Sequence[ToolCallDict]
    tool_name: str
    tool_call_id: str


class OptionsDict(TypedDict, total=False):
    """Model options. The server ignores what it does not know, so a plain dict of others is as good."""

    num_keep: int
    seed: int
    num_predict: int
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    repeat_last_n: int
    temperature: float
    repeat_penalty: float
    presence_penalty: float
    frequency_penalty: float
    stop: List[str]
    num_ctx: int
    num_batch: int
    num_gpu: int
    main_gpu: int
    use_mmap: bool
    num_thread: int


# A message that came in an answer is one too, as is any dict with a role.
MessageParam = Union[MessageDict, Mapping[str, Any]]
Messages = Union[Sequence[MessageParam], None]
Options = Union[OptionsDict, Mapping[str, Any]]
Tool = Union[Mapping[str, Any], Callable[..., Any]]
Format = Union[str, Mapping[str, Any]]
Think = Union[bool, str]
KeepAlive = Union[float, str]


class _Fields(TypedDict, total=False):
    think: Union[Think, None]
    logprobs: Union[bool, None]
    top_logprobs: Union[int, None]
    format: Union[Format, None]
    options: Union[Options, None]
    keep_alive: Union[KeepAlive, None]
    truncate: Union[bool, None]
    shift: Union[bool, None]


class ChatFields(_Fields, total=False):
    """The keyword arguments of `chat` besides `stream`."""

    tools: Union[Sequence[Tool], None]


class GenerateFields(_Fields, total=False):
    """The keyword arguments of `generate` besides `stream`."""

    system: Union[str, None]
    template: Union[str, None]
    context: Union[Sequence[int], None]
    raw: Union[bool, None]
    images: Union[Sequence[Image], None]
    width: Union[int, None]
    height: Union[int, None]
    steps: Union[int, None]
