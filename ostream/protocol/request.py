"""Build, check and encode the bodies of requests to /api/chat and /api/generate."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from ostream.errors import RequestError, reason
from ostream.protocol.json_codec import encode_json, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

CHAT = "/api/chat"
GENERATE = "/api/generate"


class Field:
    """A field of a request body: its name, the endpoints that accept it, and the conversion of its value.

    `convert` is called with the name and the value of the field. It raises RequestError for an invalid value.
    """

    __slots__ = ("chat", "convert", "generate", "name")

    def __init__(
        self, name: str, endpoints: str, convert: Callable[[str, Any], Any] = lambda name, value: value
    ) -> None:
        self.name = name
        self.chat = CHAT in endpoints
        self.generate = GENERATE in endpoints
        self.convert = convert


def _list(name: str, items: Any, advice: str = "") -> list[Any]:
    if not isinstance(items, Iterable) or isinstance(items, (str, bytes, Mapping)):
        raise RequestError(f"{name}: must be a list, not {type(items).__name__}", advice=advice)
    return list(items)


def _messages(name: str, messages: Any) -> list[Any]:
    advice = 'write [{"role": "user", "content": ...}], or use generate'
    return [_message(message) for message in _list(name, messages, advice)]


def _tools(name: str, tools: Any) -> list[Any]:
    return [_tool(tool) for tool in _list(name, tools)]


def _images(name: str, images: Any) -> list[str]:
    return [encode_image(image) for image in _list(name, images)]


def _options(name: str, options: Any) -> dict[str, Any]:
    if hasattr(options, "model_dump"):
        options = options.model_dump(exclude_none=True)
    if not isinstance(options, Mapping):
        raise RequestError(f"{name}: must be a dict, not {type(options).__name__}")
    return dict(options)


def _format(name: str, value: Any) -> Any:
    return value.model_json_schema() if hasattr(value, "model_json_schema") else value


BOTH = f"{CHAT} {GENERATE}"

# All fields of requests, in the order in which they are sent.
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
    Field("format", BOTH, _format),
    Field("images", GENERATE, _images),
    Field("options", BOTH, _options),
    Field("keep_alive", BOTH),
    Field("truncate", BOTH),
    Field("shift", BOTH),
    Field("width", GENERATE),
    Field("height", GENERATE),
    Field("steps", GENERATE),
)
# The fields of both endpoints that command-line options can set.
COMMON_FIELDS = tuple(
    field.name for field in FIELDS if field.chat and field.generate and field.name not in ("model", "stream")
)


def chat_body(model: str, messages: Iterable[Any] | None, **fields: Any) -> dict[str, Any]:
    """Return a request body for /api/chat with the given fields. Fields that are None are left out.

    Images in messages may be bytes or path objects. Raises RequestError for a value that cannot be sent, and TypeError
    for an unknown field.
    """
    given = {"model": model, "messages": messages or (), **fields}
    return _body((field for field in FIELDS if field.chat), given)


def generate_body(model: str, prompt: str | None, suffix: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a request body for /api/generate with the given fields. Fields that are None are left out.

    Raises RequestError for a value that cannot be sent, and TypeError for an unknown field.
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
    if body.get("top_logprobs"):
        body.setdefault("logprobs", True)  # servers ignore top_logprobs if logprobs is not set
    return body


def _tool(tool: Any) -> Any:
    if hasattr(tool, "model_dump") and not isinstance(tool, type):
        return tool.model_dump(exclude_none=True)
    if isinstance(tool, Mapping):
        from ostream.protocol.tool_declaration import tool_declaration

        return tool_declaration(tool)
    if not callable(tool):
        raise RequestError(f"tools: each must be a function or a dict, not {type(tool).__name__}")
    from ostream.protocol.tool_schema import schema

    return schema(tool)


def _message(message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping) and hasattr(message, "model_dump"):
        message = message.model_dump(exclude_none=True)
    if not isinstance(message, Mapping):
        raise RequestError(f"messages: each must be a dict with a role, not {type(message).__name__}")
    if message.get("role") is None:
        raise RequestError("messages: each must have a role: system, user, assistant or tool")
    fields = {key: value for key, value in message.items() if value is not None}
    if fields.get("images"):
        fields["images"] = [encode_image(image) for image in _list("images", fields["images"])]
    return fields


def encode_image(image: Any) -> str:
    """Return an image or a sound as the base64 text that servers accept.

    `image` is bytes, a path object (its file is read), base64 text, a data: URL, or an object whose `value` is one of
    these. Text is never used as a file name. Because a file name such as photos/cat01 is valid base64, base64 text must
    decode to a known file format. This is not checked for data: URLs and for the `value` of an object.

    Raises RequestError if the file cannot be read or the value is not valid.
    """
    checked = True
    if not isinstance(image, (str, bytes, bytearray, os.PathLike)) and hasattr(image, "value"):
        image, checked = image.value, False
    if isinstance(image, os.PathLike):
        try:
            with open(image, "rb") as file:
                image = file.read()
        except (OSError, ValueError) as error:
            raise RequestError(f"image {os.fspath(image)}: {reason(error)}") from None
    import base64

    if isinstance(image, (bytes, bytearray)):
        return base64.b64encode(image).decode()
    if not isinstance(image, str):
        raise RequestError(f"images: must be bytes, a path object or base64 text, not {type(image).__name__}")
    if image.startswith("data:"):
        kind, _, image = image.partition(",")
        checked = False
        if not kind.endswith(";base64"):
            raise RequestError("images: a data: URL must have the form data:image/png;base64,...")
    try:
        data = base64.b64decode(image.replace("\r", "").replace("\n", ""), validate=True)
    except ValueError:
        raise RequestError("images: not base64; to send a file, pass pathlib.Path(name)") from None
    if checked and not is_media(data):
        raise RequestError(
            "images: the base64 text is not an image or a sound of a known format",
            advice="to send a file, pass pathlib.Path(name); to send the text as it is, pass Image(value=text)",
        )
    return str(image)


def override(body: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `body` with the fields of `overrides`.

    Model options are merged. If both contain the same option, the value in `overrides` is used.
    """
    merged = {**body, **overrides}
    if "options" in overrides and isinstance(body.get("options"), dict):
        merged["options"] = {**body["options"], **overrides["options"]}
    return merged


def system_of(messages: list[Any]) -> Any:
    """Return the content of the first message if it is a system message, else None."""
    first = messages[0] if messages and isinstance(messages[0], dict) else {}
    return first.get("content", "") if first.get("role") == "system" else None


def with_system(messages: list[Any], system: str) -> list[Any]:
    """Return `messages` with a system message at the start. It replaces an existing system message."""
    return [{"role": "system", "content": system}, *(messages if system_of(messages) is None else messages[1:])]


_IMAGE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
# An MP3 file begins with an ID3 tag or with a frame.
_SOUND_STARTS = (b"ID3", *(b"\xff" + bytes((code,)) for code in b"\xe2\xe3\xf2\xf3\xfa\xfb"))


def is_media(data: bytes) -> bool:
    """Return True if data begins like an image or sound file in a format that servers accept."""
    return data.startswith(_IMAGE_STARTS + _SOUND_STARTS) or data[:4] + data[8:12] in (b"RIFFWEBP", b"RIFFWAVE")


def parse_options(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the model options in NAME=VALUE pairs. A value that is not JSON is used as text.

    `stop` becomes a list, because servers reject a string. If there are several `stop` pairs, their values are
    combined. Raises RequestError for a pair that does not have the form NAME=VALUE.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise RequestError(f"option {pair!r}: write NAME=VALUE")
        value = parse_value(text)
        if key == "stop":
            more = value if isinstance(value, list) else [value if isinstance(value, str) else text]
            options["stop"] = [*options.get("stop", []), *more]
        else:
            options[key] = value
    return options


def parse_value(text: str) -> Any:
    """Return the value of JSON text, or the text itself if it is not JSON."""
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def parse_json(text: str | bytes, what: str) -> Any:
    """Return the value of JSON text. Raises RequestError, with a message that begins with `what`, if it is not JSON."""
    import json

    try:
        return json.loads(text)
    except RecursionError:
        raise RequestError(f"{what}: nested too deeply") from None
    except ValueError as error:
        # For a number with too many digits, Python adds advice about a setting of its own after a semicolon.
        raise RequestError(f"{what}: not JSON: {str(error).partition(';')[0]}") from None


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Encode a request body as JSON. Raises RequestError for values that JSON cannot represent."""
    try:
        text = encode_json({**body}, _dump)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"request: {error}") from None
    try:
        return text.encode()
    except UnicodeEncodeError:
        # UTF-8 cannot represent a lone surrogate, so it is sent as an escape. The server replaces the escape by U+FFFD.
        import json

        return json.dumps(body, separators=(",", ":"), default=_dump).encode()


def _dump(value: Any) -> Any:
    """Convert an object of the SDK or of pydantic, such as a tool call in a message, to plain data."""
    return value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else refuse(value)
