"""Types of arguments, for annotations. ostream itself never imports this module, because it loads typing."""

from __future__ import annotations

from os import PathLike
from typing import Any, Callable, Dict, List, Mapping, Protocol, Sequence, Type, TypedDict, Union

TYPE_CHECKING = False
if TYPE_CHECKING:
    TextPath = PathLike[str]
else:
    TextPath = PathLike  # Python 3.8 cannot evaluate PathLike[str]


class FunctionDict(TypedDict, total=False):
    """The function of a tool call."""

    name: str
    arguments: Mapping[str, Any]
    index: int


class ToolCallDict(TypedDict, total=False):
    """A tool call in a message."""

    id: str
    function: FunctionDict


class SupportsModelDump(Protocol):
    """A pydantic model, or an object of the official SDK."""

    def model_dump(self, *, exclude_none: bool = False) -> Any:
        """Return the object as plain dicts and lists."""


class HasValue(Protocol):
    """An Image of this library or of the official SDK."""

    @property
    def value(self) -> Any:
        """The image as bytes, a path object or base64 text."""


class TimeoutObject(Protocol):
    """An httpx.Timeout, or any other object with these attributes. The values are in seconds."""

    @property
    def connect(self) -> Any:
        """The maximum time to connect."""

    @property
    def read(self) -> Any:
        """The maximum time to wait for data."""


class TLSContext(Protocol):
    """An ssl.SSLContext."""

    @property
    def wrap_socket(self) -> Any:
        """The method that all ssl.SSLContext objects have."""


ImageParam = Union[bytes, str, TextPath, HasValue]


class MessageDict(TypedDict, total=False):
    """A message of a request. An image is bytes, a path object, an Image, base64 text or a data: URL."""

    role: str
    content: str
    thinking: str
    images: Sequence[ImageParam]
    tool_calls: Sequence[ToolCallDict]
    tool_name: str
    tool_call_id: str


class OptionsDict(TypedDict, total=False):
    """Model options of current servers. Servers ignore other names. A plain dict may contain other names."""

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
    draft_num_predict: int


# A message may also be a Message of a response, or any dict with a role.
MessageParam = Union[MessageDict, Mapping[str, Any], SupportsModelDump]
MessagesParam = Union[Sequence[MessageParam], None]
OptionsParam = Union[OptionsDict, Mapping[str, Any], SupportsModelDump]
ToolParam = Union[Mapping[str, Any], Callable[..., Any], SupportsModelDump]
FormatParam = Union[str, Mapping[str, Any], Type[Any]]
ThinkParam = Union[bool, str]
KeepAliveParam = Union[float, str]
TimeoutParam = Union[float, TimeoutObject]
FunctionsParam = Union[Mapping[str, Callable[..., Any]], Sequence[Callable[..., Any]]]
ToolMessage = Dict[str, Any]
PathParam = Union[str, TextPath]
VerifyParam = Union[bool, PathParam, TLSContext]


class _Fields(TypedDict, total=False):
    think: Union[ThinkParam, None]
    logprobs: Union[bool, None]
    top_logprobs: Union[int, None]
    format: Union[FormatParam, None]
    options: Union[OptionsParam, None]
    keep_alive: Union[KeepAliveParam, None]
    truncate: Union[bool, None]
    shift: Union[bool, None]


class ChatFields(_Fields, total=False):
    """The keyword arguments of `chat`, except `stream`."""

    tools: Union[Sequence[ToolParam], None]


class GenerateFields(_Fields, total=False):
    """The keyword arguments of `generate`, except `stream`."""

    system: Union[str, None]
    template: Union[str, None]
    context: Union[Sequence[int], None]
    raw: Union[bool, None]
    images: Union[Sequence[ImageParam], None]
    width: Union[int, None]
    height: Union[int, None]
    steps: Union[int, None]
