"""Build the request of send from the words, files and options on its command line."""

from __future__ import annotations

import os

from ostream.cli.options import common_fields, read_text
from ostream.errors import RequestError
from ostream.protocol.option_names import misspelling
from ostream.protocol.request import (
    CHAT,
    GENERATE,
    chat_body,
    encode_image,
    generate_body,
    is_media,
    override,
    parse_json,
    system_of,
    with_system,
)
from ostream.system.input import input_name, read_input
from ostream.system.output import encode_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ostream.cli.options import RequestOptions, SendOptions
    from ostream.net.session import Session
    from ostream.storage.conversation import Conversation
    from ostream.system.diagnostics import Diagnostics
    from ostream.tools.directory import ToolDirectory

# By the value of `generate`: the options that only the other endpoint has, the path of that endpoint, and advice.
_ONLY = {
    False: (("raw", "suffix", "template", "context"), GENERATE, "add -g"),
    True: (("conversation", "messages", "tools"), CHAT, "leave out -g"),
}

_NOT_WITH_LOAD = ("system", "body", "conversation", "messages", "context")


def default_model() -> str:
    """Return $OLLAMA_MODEL without surrounding white space, such as the CR from a file with CR LF line ends.

    Returns "" if the variable is not set. Raises RequestError if the name contains characters that are not printable.
    """
    model = os.environ.get("OLLAMA_MODEL", "").strip()
    if not model.isprintable():
        raise RequestError(f"OLLAMA_MODEL: {model!r} contains characters that are not printable")
    return model


def build_request(
    diagnostics: Diagnostics,
    options: SendOptions,
    conversation: Conversation | None = None,
    tool_directory: ToolDirectory | None = None,
) -> tuple[str, dict[str, Any]]:
    """Return the path and the body of the request. This reads files and standard input.

    `conversation` contains the messages before the prompt (--conversation); `tool_directory` contains the tools to
    offer (--tools DIR). Raises RequestError for unusable options, and InputError for a file that can't be read.
    """
    if uses_of_stdin(options) > 1:
        raise RequestError("standard input can only be used once", advice="put one of the inputs in a file")
    body = _given_body(diagnostics, options.body)
    generate = options.generate or ("prompt" in body and "messages" not in body)
    _check_endpoint(generate, options, body)
    fields = common_fields(options)
    # With --body, "stream" has the value from the body, unless --no-stream is given.
    if options.stream is not None or not options.body:
        fields["stream"] = options.stream is not False
    if options.unload:
        fields["keep_alive"] = 0
    # Before the prompt, which may be typed on the terminal.
    model = options.model or body.get("model") or default_model()
    if not model:
        raise RequestError(
            "no model given", advice="use -m NAME or set OLLAMA_MODEL ('ollama list' shows installed models)"
        )
    prompt = _prompt(diagnostics, options)
    if options.body and not (prompt is not None or options.messages or options.conversation or options.system):
        _check_has_prompt(options.body, body)
    images = [_image(diagnostics, name) for name in options.image]
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
        diagnostics.note(f"--body {options.body}: its messages are replaced by those of {history_file}")
    # The earlier messages are not checked here, because the server checks them.
    history = _history(diagnostics, options, body, conversation)
    if system is not None:
        if conversation and history and system_of(history) != system:
            raise RequestError(
                f"{conversation.path}: begins with another system message",
                advice="leave out --system, edit the first line, or use a new FILE",
            )
        history = with_system(history, system)
    if prompt is not None:
        history = [*history, {"role": "user", "content": prompt, **({"images": images} if images else {})}]
    elif images:
        raise RequestError("--image: needs a prompt")
    elif history_file and not history:
        raise RequestError(f"{history_file}: contains no messages, and no prompt was given")
    overrides = {
        **chat_body(model, None, tools=_tools(options.tools, tool_directory), **fields),
        "messages": history,
    }
    return CHAT, override(body, overrides)


def report_unusual(session: Session, options: RequestOptions, diagnostics: Diagnostics) -> None:
    """Print a note for each setting that is probably a mistake, or that makes the connection less secure."""
    if session.key_withheld:
        diagnostics.note(f"OLLAMA_API_KEY is not sent over plain http to {session.host.url}; use https")
    if session.insecure:
        diagnostics.note(f"{session.host.url}: the certificate is not verified; any server could answer")
    system = options.system
    if system and os.path.isfile(system):
        diagnostics.note(
            f"the system message is the text '{system}', not the file; write @{system} to send its content"
        )
    for pair in options.options:
        hint = misspelling(pair.partition("=")[0])
        if hint:
            diagnostics.note(f"option {pair!r}: {hint}")


def uses_of_stdin(options: SendOptions) -> int:
    """Return how many inputs of the command line are read from standard input. More than one is an error."""
    files = [getattr(options, option) for option in ("body", "messages", "tools")]
    names = [*options.words, *options.image, *options.header_file, *files]
    texts = [options.system, options.template, options.format]
    needs_prompt = not any(getattr(options, option) for option in ("words", "body", "messages", "load", "unload"))
    return names.count("-") + texts.count("@-") + needs_prompt


def _check_endpoint(generate: bool, options: SendOptions, body: dict[str, Any]) -> None:
    if options.generate and "messages" in body:
        raise RequestError("--generate: the body has messages, which only /api/chat takes", advice="leave out -g")
    only, path, advice = _ONLY[generate]
    for option in only:
        if getattr(options, option) is not None:
            raise RequestError(f"--{option}: only {path} takes it", advice=advice)
    if options.conversation and options.messages:
        raise RequestError("--conversation, --messages: can't be combined")
    if "-" in (options.conversation, options.context):
        raise RequestError("--conversation, --context: must name a file, which is read and written")


def _given_body(diagnostics: Diagnostics, name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    if name[:1] in ("{", "@") and not os.path.exists(name):
        raise RequestError(f"--body {name[:100]}: no such file", advice="give a file name, or - for standard input")
    body = parse_json(read_input(name, diagnostics.note), f"--body {name}")
    if not isinstance(body, dict):
        raise RequestError(f"--body {name}: must be a JSON object")
    return body


def _check_has_prompt(name: str, body: dict[str, Any]) -> None:
    # A server answers such a request by loading the model.
    if body.keys().isdisjoint(("messages", "prompt")):
        advice = "send request lines with 'batch'" if "request" in body else "give a prompt, or use --load"
        raise RequestError(f"--body {name}: contains no messages and no prompt", advice=advice)


def _history(
    diagnostics: Diagnostics, options: SendOptions, body: dict[str, Any], conversation: Conversation | None
) -> list[Any]:
    """Return the messages before the prompt, from --conversation, --messages or --body."""
    if conversation:
        conversation.read()
        return conversation.messages
    name = options.messages
    if name is None:
        history = body.get("messages") or []
        if not isinstance(history, list):
            raise RequestError("--body: messages must be an array")
        return history
    from ostream.storage.conversation import LockWait, parse_messages
    from ostream.system.files import locked, read_all

    if not os.path.isfile(name):
        return parse_messages(read_input(name, diagnostics.note), input_name(name))
    on_busy = LockWait(name, diagnostics.note, options.max_time)
    with locked(name, os.O_RDONLY, shared=True, on_busy=on_busy) as fd:
        return parse_messages(read_all(fd), name)


def _context(name: str | None, model: str) -> list[int] | None:
    if name is None:
        return None
    from ostream.storage.context import read_context
    from ostream.system.files import check_directory

    check_directory(name)
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
    """Return the prompt, or None for a request without a prompt."""
    words = options.words
    if options.load or options.unload:
        # A request with messages or a prompt would get an answer instead of only loading or unloading the model.
        others = [option for option in _NOT_WITH_LOAD if getattr(options, option) is not None]
        if words or others or (options.load and options.unload):
            raise RequestError(
                "--load, --unload: can't be combined with a prompt, each other, or "
                + ", ".join(f"--{option}" for option in _NOT_WITH_LOAD)
            )
        return None
    if not words and (options.body or options.messages):
        return None
    if not words and os.isatty(0):
        diagnostics.note("type the prompt, then press Ctrl-D at the beginning of a line")
    if len(words) == 1 and words[0] != "-":
        name = words[0][words[0].startswith("@") :]
        if os.path.isfile(name):
            diagnostics.note(f"the prompt is the text '{words[0]}', not the file; use - < {name} to send its content")
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
        if words and not parts[-1].strip():
            raise RequestError(
                "standard input is empty; nothing was sent",
                advice="leave out - to send the words alone" if set(words) - {"-"} else "",
            )
    if run:
        parts.append(" ".join(run))
    prompt = "\n\n".join(parts)
    if encode_text(prompt) != prompt.encode("utf-8", "surrogatepass"):
        diagnostics.note("the prompt is not UTF-8; invalid bytes are replaced by U+FFFD")
        prompt = encode_text(prompt).decode()
    if not prompt or not (words or prompt.strip()):
        raise RequestError(
            "the prompt is empty",
            advice="give it as arguments or on standard input (to only load a model, use --load)",
        )
    return prompt


def _stdin_text(diagnostics: Diagnostics) -> str:
    """Return the text of standard input without its last newline."""
    data = read_input("-")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        diagnostics.note(f"standard input: not UTF-8 from byte {error.start}; invalid bytes are replaced by U+FFFD")
        text = data.decode(errors="replace")
    return text[:-1] if text.endswith("\n") else text


def _image(diagnostics: Diagnostics, name: str) -> str:
    data = read_input(name, diagnostics.note)
    if not is_media(data):
        raise RequestError(
            f"--image {name}: not an image or sound file that servers accept",
            advice="use PNG, JPEG, GIF, WebP, BMP, TIFF, WAV or MP3",
        )
    return encode_image(data)
