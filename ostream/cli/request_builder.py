"""What send asks: the words, files and options of its command line as a request body."""

from __future__ import annotations

import os

from ostream.cli.options import common_fields, read_text
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

    from ostream.cli.options import SendOptions
    from ostream.storage.conversation import Conversation
    from ostream.tools.directory import ToolDirectory

# What only one endpoint knows, and how to get to it.
_ONLY = {
    False: (("raw", "suffix", "template", "context"), GENERATE, "add -g"),
    True: (("conversation", "messages", "tools"), CHAT, "leave out -g"),
}

_NOT_WITH_LOAD = ("system", "body", "conversation", "messages", "context")


def build_request(
    diagnostics: Diagnostics,
    options: SendOptions,
    conversation: Conversation | None = None,
    tool_directory: ToolDirectory | None = None,
) -> tuple[str, dict[str, Any]]:
    """The path and the body that a command line of send asks for. Raises RequestError; reads files and stdin."""
    if uses_of_stdin(options) > 1:
        raise RequestError(
            "standard input: wanted twice", advice="it can be read once; put one of the inputs into a file"
        )
    body = _given_body(options.body)
    generate = options.generate or ("prompt" in body and "messages" not in body)
    _check_endpoint(generate, options, body)
    prompt = _prompt(diagnostics, options)
    images = [_image(name) for name in options.image]
    fields = common_fields(options)
    # A body says itself whether it streams.
    if options.stream is not None or not options.body:
        fields["stream"] = options.stream is not False
    if options.unload:
        fields["keep_alive"] = 0
    model = options.model or body.get("model") or os.environ.get("OLLAMA_MODEL")
    if not model:
        raise RequestError("no model", advice="name one with -m or OLLAMA_MODEL; 'ollama list' shows those there are")
    system = read_text(options.system, "--system")
    if generate:
        overrides = generate_body(
            model,
            prompt,
            options.suffix,
            system=system,
            template=read_text(options.template, "--template"),
            raw=options.raw,
            images=images or None,
            context=_context(options.context, model),
            **fields,
        )
        return GENERATE, override(body, overrides)
    history_file = options.conversation or options.messages
    if history_file and body.get("messages"):
        diagnostics.note(
            f"--body {options.body}: its messages are not sent, those of {history_file} stand in their place"
        )
    # The earlier messages are sent as they are.
    history = _history(options, body, conversation)
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
        **chat_body(model, None, tools=_tools(options.tools, tool_directory), **fields),
        "messages": history,
    }
    return CHAT, override(body, overrides)


def uses_of_stdin(options: SendOptions) -> int:
    """How often a command line of send wants standard input."""
    files = [getattr(options, option) for option in ("body", "messages", "tools")]
    names = [*options.words, *options.image, *options.header_file, *files]
    texts = [options.system, options.template, options.format]
    needs_prompt = not any(getattr(options, option) for option in ("words", "body", "messages", "load", "unload"))
    return names.count("-") + texts.count("@-") + needs_prompt


def _check_endpoint(generate: bool, options: SendOptions, body: dict[str, Any]) -> None:
    if options.generate and "messages" in body:
        raise RequestError("--generate: the body has messages, which are for /api/chat")
    only, path, advice = _ONLY[generate]
    for option in only:
        if getattr(options, option) is not None:
            raise RequestError(f"--{option}: is for {path}", advice=advice)
    if options.conversation and options.messages:
        raise RequestError("--conversation, --messages: exclude each other")
    if {"-", ""} & {options.conversation, options.context}:
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


def _history(options: SendOptions, body: dict[str, Any], conversation: Conversation | None) -> list[Any]:
    """The messages that go before the prompt."""
    if conversation:
        conversation.read()
        return conversation.messages
    name = options.messages
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
        raise RequestError(f"--tools {name}: must be a JSON array of tools, or a directory")
    return tools


def _prompt(diagnostics: Diagnostics, options: SendOptions) -> str | None:
    """The prompt; None where none is wanted."""
    words = options.words
    if options.load or options.unload:
        # Any message would make it a question.
        others = [option for option in _NOT_WITH_LOAD if getattr(options, option) is not None]
        if words or others or (options.load and options.unload):
            raise RequestError(
                f"--load, --unload: take no prompt, no --{', --'.join(_NOT_WITH_LOAD)}, and exclude each other"
            )
        return None
    if not words and (options.body or options.messages):
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


def _image(name: str) -> str:
    data = read_input(name)
    if not looks_like_image(data):
        raise RequestError(f"--image {name}: not an image", advice="PNG, JPEG, GIF, WebP, BMP and TIFF are known")
    return encode_image(data)
