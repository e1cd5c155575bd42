"""Synchronous streaming from Ollama with nothing but the standard library.

    from ostream import chat

    for chunk in chat("qwen3", [{"role": "user", "content": "Why is the sky blue?"}], stream=True):
        print(chunk.message.content, end="", flush=True)

A stream that ends without `done: true` raises IncompleteStream: a truncated answer never passes as an answer.
The public names are loaded when they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.client import Client, chat, generate
    from ostream.errors import (
        ConnectError,
        IncompleteStream,
        NotNDJSON,
        OstreamError,
        RequestError,
        ResponseError,
        StreamTimeout,
    )
    from ostream.protocol.accumulator import Accumulator
    from ostream.protocol.chunk import Chunk, Message, content, thinking, tool_calls
    from ostream.protocol.chunk import Chunk as ChatResponse
    from ostream.protocol.chunk import Chunk as GenerateResponse
    from ostream.protocol.metrics import Metrics
    from ostream.protocol.ndjson import decode_line, split_lines
    from ostream.stream import Stream
    from ostream.tools.functions import run_tools

_EXPORTS = {
    "client": ("Client", "chat", "generate"),
    "errors": (
        *("ConnectError", "IncompleteStream", "NotNDJSON", "OstreamError", "RequestError", "ResponseError"),
        "StreamTimeout",
    ),
    "protocol.accumulator": ("Accumulator",),
    "protocol.chunk": ("Chunk", "Message", "content", "thinking", "tool_calls"),
    "protocol.metrics": ("Metrics",),
    "protocol.ndjson": ("decode_line", "split_lines"),
    "stream": ("Stream",),
    "tools.functions": ("run_tools",),
    "version": ("__version__",),
}
# The SDK's names for what is one class here, for annotations.
_ALIASES = {"ChatResponse": "Chunk", "GenerateResponse": "Chunk"}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [
    "Accumulator",
    "ChatResponse",
    "Chunk",
    "Client",
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
    "StreamTimeout",
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
    module = _MODULE_OF.get(_ALIASES.get(name, name))
    if module is None:
        raise AttributeError(f"module 'ostream' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ostream.{module}"), _ALIASES.get(name, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
