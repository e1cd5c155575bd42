"""Stream answers from Ollama. This package uses only the standard library.

    from ostream import chat

    for text in chat("qwen3", [{"role": "user", "content": "Why is the sky blue?"}], stream=True).text_stream:
        print(text, end="", flush=True)

A stream that ends without `"done": true` raises IncompleteStream, so a truncated answer is never mistaken for a
complete answer. The public interface is `__all__`, `ostream.types` and `ostream.testing`. Everything else may change.

A name is imported when it is first used, so importing the package takes almost no time. Type checkers and editors read
__init__.pyi.
"""

from __future__ import annotations

_EXPORTS = {
    "client": ("Client", "chat", "generate"),
    "errors": (
        *("ConnectError", "IncompleteStream", "NotNDJSON", "OstreamError", "RequestError", "ResponseError"),
        "StreamTimeout",
    ),
    "protocol.accumulator": ("Accumulator",),
    "protocol.chunk": ("content", "thinking", "tool_calls"),
    "protocol.metrics": ("Metrics",),
    "protocol.ndjson": ("decode_line", "split_lines"),
    "protocol.objects": ("ChatResponse", "Chunk", "GenerateResponse", "Message"),
    "protocol.request_objects": ("Image", "Options", "Tool"),
    "stream": ("Stream",),
    "tools.functions": ("run_tools",),
    "version": ("__version__",),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}
_MODULES = ("errors", "testing", "types")

__all__ = [
    "Accumulator",
    "ChatResponse",
    "Chunk",
    "Client",
    "ConnectError",
    "GenerateResponse",
    "Image",
    "IncompleteStream",
    "Message",
    "Metrics",
    "NotNDJSON",
    "Options",
    "OstreamError",
    "RequestError",
    "ResponseError",
    "Stream",
    "StreamTimeout",
    "Tool",
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
    import sys

    module = name if name in _MODULES else _MODULE_OF.get(name)
    if module is None:
        from ostream.protocol.arguments import SDK_ONLY, missing_name

        text = missing_name(name, "module 'ostream'")
        # For `from ostream import x`, Python replaces the message of an AttributeError, but not the message of an
        # ImportError.
        if name in SDK_ONLY and sys._getframe(1).f_globals.get("__name__") == "importlib._bootstrap":
            raise ImportError(text, name="ostream")
        raise AttributeError(text)
    __import__(f"ostream.{module}")  # importlib would be one more module to load
    loaded = sys.modules[f"ostream.{module}"]
    return loaded if name in _MODULES else getattr(loaded, name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, *(name for name in globals() if name.startswith("__"))})
