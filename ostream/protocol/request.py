"""What is asked: the bodies of both endpoints."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping

from ostream.errors import RequestError, reason
from ostream.protocol.tool_declaration import tool_declaration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

CHAT = "/api/chat"
GENERATE = "/api/generate"


class Field:
    """One field of a request body: which endpoints have it, and how its value is converted.

    `convert` is given the field's name and value, and raises RequestError for what cannot become a request.
    """

    __slots__ = ("chat", "convert", "generate", "name")

    def __init__(
        self, name: str, endpoints: str, convert: Callable[[str, Any], Any] = lambda name, value: value
    ) -> None:
        self.name = name
        self.chat = CHAT in endpoints
        self.generate = GENERATE in endpoints
        self.convert = convert


def _list(name: str, items: Any) -> list[Any]:
    if not isinstance(items, Iterable):
        raise RequestError(f"{name}: must be a list, not {type(items).__name__}")
    return list(items)


def _messages(name: str, messages: Any) -> list[Any]:
    return [_message(message) for message in _list(name, messages)]


def _tools(name: str, tools: Any) -> list[Any]:
    return [_tool(tool) for tool in _list(name, tools)]


def _images(name: str, images: Any) -> list[str]:
    return [encode_image(image) for image in _list(name, images)]


def _options(name: str, options: Any) -> dict[str, Any]:
    if not isinstance(options, Mapping):
        raise RequestError(f"{name}: must be a dict, not {type(options).__name__}")
    return dict(options)


BOTH = f"{CHAT} {GENERATE}"

# The one table of request fields, in the order in which they are sent.
FIELDS = (
    Field("model", BOTH),
    Field("messages", CHAT, _messages),
    Field("tools", CHAT, _tools),
    Field("prompt", GENERATE),
    Field("suffix", GENERATE),
    Field("system", GENERATE),
    Field("template", GENERATE),
    Field("context", GENERATE, _list),
    Field("stream", BOTH),
    Field("think", BOTH),
    Field("logprobs", BOTH),
    Field("top_logprobs", BOTH),
    Field("raw", GENERATE),
    Field("format", BOTH),
    Field("images", GENERATE, _images),
    Field("options", BOTH, _options),
    Field("keep_alive", BOTH),
    Field("truncate", BOTH),
    Field("shift", BOTH),
    Field("width", GENERATE),
    Field("height", GENERATE),
    Field("steps", GENERATE),
)
# The fields that options of a command line set for either endpoint.
COMMON_FIELDS = tuple(
    field.name for field in FIELDS if field.chat and field.generate and field.name not in ("model", "stream")
)


def chat_body(model: str, messages: Iterable[Any] | None, **fields: Any) -> dict[str, Any]:
    """Return a body for /api/chat with the given fields; None leaves a field out.

    Images in messages may be bytes or paths. Raises RequestError for values that cannot become a request.
    """
    given = {"model": model, "messages": messages or (), **fields}
    return _body((field for field in FIELDS if field.chat), given)


def generate_body(model: str, prompt: str | None, suffix: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a body for /api/generate with the given fields; None leaves a field out.

    Raises RequestError for values that cannot become a request.
    """
    given = {"model": model, "prompt": prompt, "suffix": suffix, **fields}
    return _body((field for field in FIELDS if field.generate), given)


def _body(fields: Iterable[Field], given: dict[str, Any]) -> dict[str, Any]:
    body = {}
    for field in fields:
        value = given.pop(field.name, None)
        if value is not None:
            body[field.name] = field.convert(field.name, value)
    if given:
        raise TypeError(f"no such field: {', '.join(given)}")
    return body


def _tool(tool: Any) -> Any:
    if callable(tool):
        from ostream.protocol.tool_schema import schema

        return schema(tool)
    return tool_declaration(tool) if isinstance(tool, Mapping) else tool


def _message(message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise RequestError(f"messages: each must be a dict with a role, not {type(message).__name__}")
    if message.get("role") is None:
        raise RequestError("messages: each must have a role: system, user, assistant or tool")
    fields = {key: value for key, value in message.items() if value is not None}
    if fields.get("images"):
        fields["images"] = [encode_image(image) for image in _list("images", fields["images"])]
    return fields


def encode_image(image: Any) -> str:
    """An image as the server wants it: standard base64 with padding. Bytes, a path object, or base64 itself.

    A plain string is never opened as a file.
    """
    import base64

    if isinstance(image, os.PathLike):
        try:
            with open(image, "rb") as file:
                image = file.read()
        except (OSError, ValueError) as error:
            raise RequestError(f"image {os.fspath(image)}: {reason(error)}") from None
    if isinstance(image, (bytes, bytearray)):
        return base64.b64encode(image).decode()
    if not isinstance(image, str):
        raise RequestError(f"images: bytes, a Path or base64 text, not {type(image).__name__}")
    if image.startswith("data:"):
        raise RequestError("images: the server takes no data: URL; give what follows the comma")
    try:
        base64.b64decode(re.sub(r"[\r\n]", "", image), validate=True)
    except ValueError:
        raise RequestError("images: not base64; wrap the name of a file in pathlib.Path to have it read") from None
    return image


def override(body: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return `body` with the fields of `overrides`; model options are merged, those of `overrides` win."""
    merged = {**body, **overrides}
    if isinstance(body.get("options"), dict) and "options" in overrides:
        merged["options"] = {**body["options"], **overrides["options"]}
    return merged


def system_of(messages: list[Any]) -> Any:
    """The system message that messages begin with, or None."""
    first = messages[0] if messages and isinstance(messages[0], dict) else {}
    return first.get("content", "") if first.get("role") == "system" else None


def with_system(messages: list[Any], system: str) -> list[Any]:
    """Messages that begin with this system message, in the place of the one they may have."""
    return [{"role": "system", "content": system}, *(messages if system_of(messages) is None else messages[1:])]


def is_media(data: bytes) -> bool:
    """True for data that begins as an image or sound file of a kind that servers accept."""
    kinds = (
        rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....(?:WEBP|WAVE)|BM|II\*\0|MM\0\*"
        rb"|ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"  # MP3 with a tag, or from its first frame
    )
    return re.match(kinds, data, re.DOTALL) is not None


def parse_options(pairs: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE pairs; a value is JSON where it can be, else text. `stop` is always a list: the server refuses a
    bare string."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise RequestError(f"option {pair!r}: write KEY=VALUE")
        value = parse_value(text)
        if key == "stop":
            more = value if isinstance(value, list) else [value if isinstance(value, str) else text]
            options["stop"] = [*options.get("stop", []), *more]
        else:
            options[key] = value
    return options


def parse_value(text: str) -> Any:
    """JSON where it can be, else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def parse_json(text: str | bytes, what: str) -> Any:
    """JSON that must be JSON; `what` names it in the RequestError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise RequestError(f"{what}: nested too deeply") from None
    except ValueError as error:
        raise RequestError(f"{what}: not JSON: {error}") from None


def encode_body(body: Mapping[str, Any]) -> bytes:
    """The bytes of a request body. Raises RequestError for what JSON has no form for."""
    try:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"request: {error}") from None
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8; the server makes U+FFFD of its escape.
        return json.dumps(body, separators=(",", ":")).encode()
