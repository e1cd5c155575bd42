"""What send asks: the words, files and options of its command line as a request body."""

from __future__ import annotations

import os

from ostream.errors import RequestError
from ostream.protocol.request import (
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
    system_of,
    with_system,
)
from ostream.storage.context import read_context
from ostream.storage.conversation import parse_messages
from ostream.system.diagnostics import Diagnostics
from ostream.system.files import check_folder, locked, read_all
from ostream.system.input import input_name, read_input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ostream.storage.conversation import Conversation
    from ostream.tools.directory import ToolDirectory

_LEVELS = {"true": True, "false": False, "low": "low", "medium": "medium", "high": "high", "max": "max"}


# What only one endpoint knows, and how to get to it.
_ONLY = {
    False: (("raw", "suffix", "template", "context"), GENERATE, "add -g"),
    True: (("conversation", "messages", "tools"), CHAT, "leave out -g"),
}

_NOT_WITH_LOAD = ("system", "body", "conversation", "messages", "context")


def build_request(
    diagnostics: Diagnostics,
    values: dict[str, Any],
    conversation: Conversation | None = None,
    tool_directory: ToolDirectory | None = None,
) -> tuple[str, dict[str, Any]]:
    """The path and the body that a command line of send asks for. Raises RequestError; reads files and stdin."""
    if uses_of_stdin(values) > 1:
        raise RequestError(
            "standard input: wanted twice", advice="it can be read once; put one of the inputs into a file"
        )
    body = _given_body(values["body"])
    generate = values["generate"] or ("prompt" in body and "messages" not in body)
    _check_endpoint(generate, values, body)
    prompt = _prompt(diagnostics, values)
    images = [_image(name) for name in values["image"]]
    common_fields = fields(values)
    model = values["model"] or body.get("model") or os.environ.get("OLLAMA_MODEL")
    if not model:
        raise RequestError("no model", advice="name one with -m or OLLAMA_MODEL; 'ollama list' shows those there are")
    system = text(values["system"], "--system")
    if generate:
        overrides = generate_body(
            model,
            prompt,
            values["suffix"],
            system=system,
            template=text(values["template"], "--template"),
            raw=values["raw"],
            images=images or None,
            context=_context(values["context"], model),
            **common_fields,
        )
        return GENERATE, override(body, overrides)
    history_file = values["conversation"] or values["messages"]
    if history_file and body.get("messages"):
        diagnostics.note(
            f"--body {values['body']}: its messages are not sent, those of {history_file} stand in their place"
        )
    # The earlier messages are sent as they are.
    history = _history(values, body, conversation)
    if system is not None:
        if conversation and history and system_of(history) != system:
            raise RequestError(
                f"{conversation.path}: its system message is another one",
                advice="leave out --system, change the first line, or begin another file",
            )
        history = with_system(history, system)
    if prompt is not None:
        history = [*history, {"role": "user", "content": prompt, **({"images": images} if images else {})}]
    elif images:
        raise RequestError("--image: needs a prompt to go with")
    elif history_file and not history:
        raise RequestError(f"{history_file}: no messages in it, and no prompt")
    overrides = {
        **chat_body(model, None, tools=_tools(values["tools"], tool_directory), **common_fields),
        "messages": history,
    }
    return CHAT, override(body, overrides)


def uses_of_stdin(values: dict[str, Any]) -> int:
    """How often a command line of send wants standard input."""
    files = [values[option] for option in ("body", "messages", "tools")]
    names = [*values["words"], *values["image"], *values["header_file"], *files]
    texts = [values["system"], values["template"], values["format"]]
    needs_prompt = not any(values[option] for option in ("words", "body", "messages", "load", "unload"))
    return names.count("-") + texts.count("@-") + needs_prompt


def _check_endpoint(generate: bool, values: dict[str, Any], body: dict[str, Any]) -> None:
    if values["generate"] and "messages" in body:
        raise RequestError("--generate: the body has messages, which are for /api/chat")
    options, path, advice = _ONLY[generate]
    for option in options:
        if values[option] is not None:
            raise RequestError(f"--{option}: is for {path}", advice=advice)
    if values["conversation"] and values["messages"]:
        raise RequestError("--conversation, --messages: exclude each other")
    if {"-", ""} & {values["conversation"], values["context"]}:
        raise RequestError("--conversation, --context: need a file, which is read and written")


def _given_body(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    if name[:1] in ("{", "@") and not os.path.exists(name):
        raise RequestError(
            f"--body {name[:100]}: no such file", advice="--body takes its name, or - for standard input"
        )
    body = parse_json(read_input(name), f"--body {name}")
    if not isinstance(body, dict):
        raise RequestError(f"--body {name}: must be a JSON object")
    return body


def fields(values: dict[str, Any]) -> dict[str, Any]:
    """The options that both endpoints know."""
    if values["model"] == "":
        raise RequestError("--model: is empty", advice="name a model, or leave it out for OLLAMA_MODEL")
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


def _history(values: dict[str, Any], body: dict[str, Any], conversation: Conversation | None) -> list[Any]:
    """The messages that go before the prompt."""
    if conversation:
        conversation.read()
        return conversation.messages
    name = values["messages"]
    if name is None:
        history = body.get("messages") or []
        if not isinstance(history, list):
            raise RequestError("--body: messages must be an array")
        return history
    if not os.path.isfile(name):
        return parse_messages(read_input(name), input_name(name))
    with locked(name, os.O_RDONLY, shared=True) as fd:
        return parse_messages(read_all(fd), name)


def _context(name: str | None, model: str) -> list[int] | None:
    if name is None:
        return None
    check_folder(name)
    return read_context(name, model)


def _tools(name: str | None, tool_directory: ToolDirectory | None) -> list[Any] | None:
    if name is None:
        return None
    if tool_directory:
        return tool_directory.schemas
    tools = parse_json(read_input(name), f"--tools {name}")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise RequestError(f"--tools {name}: must be a JSON array of tools, or a folder")
    return tools


def _prompt(diagnostics: Diagnostics, values: dict[str, Any]) -> str | None:
    """The prompt; None where none is wanted."""
    words = values["words"]
    if values["load"] or values["unload"]:
        # Any message would make it a question.
        others = [option for option in _NOT_WITH_LOAD if values[option] is not None]
        if words or others or (values["load"] and values["unload"]):
            raise RequestError(
                f"--load, --unload: take no prompt, no --{', --'.join(_NOT_WITH_LOAD)}, and exclude each other"
            )
        return None
    if not words and (values["body"] or values["messages"]):
        return None
    if not words and os.isatty(0):
        diagnostics.note("reading the prompt from the terminal; end it with Ctrl-D")
    parts: list[str] = []
    run: list[str] = []
    for word in words or ["-"]:
        if word != "-":
            run.append(word)
            continue
        if run:
            parts.append(" ".join(run))
            run = []
        parts.append(_stdin_text(diagnostics))
        if not parts[-1] and set(words) - {"-"}:
            diagnostics.note("standard input is empty: '-' stands for nothing")
    if run:
        parts.append(" ".join(run))
    prompt = "\n\n".join(parts)
    if not prompt:
        raise RequestError("the prompt is empty", advice="--load and --unload ask for nothing on purpose")
    return prompt


def _stdin_text(diagnostics: Diagnostics) -> str:
    """Standard input less one final newline."""
    data = read_input("-")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        diagnostics.note(f"standard input: not UTF-8 from byte {error.start}; such bytes become U+FFFD")
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
    elif os.path.isfile(value):
        raise RequestError(f"--format {value}: is a file", advice=f"write @{value}")
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
