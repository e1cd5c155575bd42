"""Synchronous streaming from Ollama with nothing but the standard library.

    from ostream import chat

    for chunk in chat("qwen3", [{"role": "user", "content": "Why is the sky blue?"}], stream=True):
        print(chunk.message.content, end="", flush=True)

A stream that ends without `done: true` raises IncompleteStream: a truncated answer never passes as an answer.
The public names are loaded when they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.chunk import Chunk, Message, content, thinking, tool_calls
    from ostream.chunk import Chunk as ChatResponse
    from ostream.chunk import Chunk as GenerateResponse
    from ostream.client import Client, chat, generate
    from ostream.errors import (
        ClockError,
        ConnectError,
        IncompleteStream,
        NotNDJSON,
        OstreamError,
        RequestError,
        ResponseError,
    )
    from ostream.message import Accumulator
    from ostream.metrics import Metrics
    from ostream.ndjson import decode_line, split_lines
    from ostream.stream import Stream
    from ostream.tools import run_tools

_ROOMS = {
    "chunk": ("Chunk", "Message", "content", "thinking", "tool_calls"),
    "client": ("Client", "chat", "generate"),
    "errors": (
        *("ClockError", "ConnectError", "IncompleteStream", "NotNDJSON", "OstreamError", "RequestError"),
        "ResponseError",
    ),
    "message": ("Accumulator",),
    "metrics": ("Metrics",),
    "ndjson": ("decode_line", "split_lines"),
    "stream": ("Stream",),
    "tools": ("run_tools",),
}
# The SDK's names for what is one class here, for annotations.
_ALIASES = {"ChatResponse": "Chunk", "GenerateResponse": "Chunk"}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "Accumulator",
    "ChatResponse",
    "Chunk",
    "Client",
    "ClockError",
    "ConnectError",
    "GenerateResponse",
    "IncompleteStream",
    "Message",
    "Metrics",
    "NotNDJSON",
    "OstreamError",
    "RequestError",
    "ResponseError",
    "Stream",
    "chat",
    "content",
    "decode_line",
    "generate",
    "run_tools",
    "split_lines",
    "thinking",
    "tool_calls",
]


def __getattr__(name: str) -> object:
    room = _ROOM_OF.get(_ALIASES.get(name, name))
    if room is None:
        raise AttributeError(f"module 'ostream' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ostream.{room}"), _ALIASES.get(name, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
