"""What send asks: the words, files and options of its command line as a request body."""

from __future__ import annotations

import os

from ostream.errors import RequestError
from ostream.request import (
    CHAT,
    GENERATE,
    chat_body,
    encode_image,
    generate_body,
    looks_like_image,
    override,
    parse_json,
    parse_options,
    parse_value,
    with_system,
)
from ostream.stdio import Messages, read_input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LEVELS = {"true": True, "false": False, "low": "low", "medium": "medium", "high": "high", "max": "max"}


def ask(messages: Messages, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The path and the body that a command line of send asks for. Raises RequestError; reads files and stdin."""
    if uses_of_stdin(values) > 1:
        raise RequestError(
            "standard input: wanted twice", advice="it can be read once; put one of the inputs into a file"
        )
    body = _given_body(values["body"])
    generate = values["generate"] or ("prompt" in body and "messages" not in body)
    _check_endpoint(generate, values, body)
    prompt = _prompt(messages, values)
    images = [_image(name) for name in values["image"]]
    known = fields(values)
    model = values["model"] or body.get("model") or os.environ.get("OLLAMA_MODEL")
    if not model:
        raise RequestError("no model", advice="name one with -m or OLLAMA_MODEL; 'ollama list' shows those there are")
    system = text(values["system"], "--system")
    if generate:
        ours = generate_body(
            model,
            prompt,
            values["suffix"],
            system=system,
            template=text(values["template"], "--template"),
            raw=values["raw"],
            images=images or None,
            **known,
        )
        return GENERATE, override(body, ours)
    said = body.get("messages") or []
    if not isinstance(said, list):
        raise RequestError("--body: messages must be an array")
    # What the body says already is sent as it stands.
    if system is not None:
        said = with_system(said, system)
    if prompt is not None:
        said = [*said, {"role": "user", "content": prompt, **({"images": images} if images else {})}]
    elif images:
        raise RequestError("--image: needs a prompt to go with")
    ours = {**chat_body(model, None, **known), "messages": said}
    return CHAT, override(body, ours)


def uses_of_stdin(values: dict[str, Any]) -> int:
    """How often a command line of send wants standard input."""
    names = [*values["words"], *values["image"], *values["header_file"], values["body"]]
    texts = [values["system"], values["template"], values["format"]]
    needs_prompt = not (values["words"] or values["body"] or values["load"] or values["unload"])
    return names.count("-") + texts.count("@-") + needs_prompt


def _check_endpoint(generate: bool, values: dict[str, Any], body: dict[str, Any]) -> None:
    if generate:
        if values["generate"] and "messages" in body:
            raise RequestError("--generate: the body has messages, which are for /api/chat")
        return
    for option in ("raw", "suffix", "template"):
        if values[option] is not None:
            raise RequestError(f"--{option}: is for /api/generate", advice="add -g")


def _given_body(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    body = parse_json(read_input(name), f"--body {name}")
    if not isinstance(body, dict):
        raise RequestError(f"--body {name}: must be a JSON object")
    return body


def fields(values: dict[str, Any]) -> dict[str, Any]:
    """The options that both endpoints know."""
    think = values["think"]
    if think is not None and think not in _LEVELS:
        raise RequestError(f"--think={think}: no such level", advice=f"there are {', '.join(_LEVELS)}")
    keep_alive = values["keep_alive"]
    if keep_alive is not None:
        number = parse_value(keep_alive)
        keep_alive = number if type(number) in (int, float) else keep_alive
    stream = values["stream"]
    return {
        # A body says itself whether it streams.
        "stream": stream if stream is not None or values["body"] else True,
        "think": think and _LEVELS[think],
        "logprobs": values["logprobs"],
        "top_logprobs": values["top_logprobs"],
        "format": _format(values["format"]),
        "options": parse_options(values["option"]) or None,
        "keep_alive": 0 if values["unload"] else keep_alive,
        "truncate": values["truncate"],
        "shift": values["shift"],
    }


def _prompt(messages: Messages, values: dict[str, Any]) -> str | None:
    """The prompt; None where none is wanted."""
    words = values["words"]
    if values["load"] or values["unload"]:
        # Any message would make it a question.
        if words or values["body"] or values["system"] is not None or (values["load"] and values["unload"]):
            raise RequestError("--load, --unload: take no prompt, --system or --body, and exclude each other")
        return None
    if not words and values["body"]:
        return None
    if not words and os.isatty(0):
        messages.note("reading the prompt from the terminal; end it with Ctrl-D")
    parts: list[str] = []
    run: list[str] = []
    for word in words or ["-"]:
        if word != "-":
            run.append(word)
            continue
        if run:
            parts.append(" ".join(run))
            run = []
        parts.append(_stdin_text(messages))
    if run:
        parts.append(" ".join(run))
    prompt = "\n\n".join(parts)
    if not prompt:
        raise RequestError("the prompt is empty", advice="--load and --unload ask for nothing on purpose")
    return prompt


def _stdin_text(messages: Messages) -> str:
    """Standard input less one final newline."""
    data = read_input("-")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        messages.note(f"standard input: not UTF-8 from byte {error.start}; such bytes become U+FFFD")
        text = data.decode(errors="replace")
    return text[:-1] if text.endswith("\n") else text


def text(value: str | None, option: str) -> str | None:
    """TEXT, or @FILE, or @@ for a literal @."""
    if value is None or not value.startswith("@"):
        return value
    if value.startswith("@@"):
        return value[1:]
    try:
        text = read_input(value[1:]).decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"{option} {value}: not UTF-8: {error.reason} at byte {error.start}") from None
    return text[:-1] if text.endswith("\n") else text


def _format(value: str | None) -> Any:
    if value is None or value == "json":
        return value
    if value.startswith("@"):
        schema = parse_json(read_input(value[1:]), f"--format {value}")
    else:
        schema = parse_json(value, f"--format {value}")
    if not isinstance(schema, dict):
        raise RequestError("--format: must be json or a JSON schema, which is an object")
    return schema


def _image(name: str) -> str:
    data = read_input(name)
    if not looks_like_image(data):
        raise RequestError(f"--image {name}: not an image", advice="PNG, JPEG, GIF, WebP, BMP and TIFF are known")
    return encode_image(data)
