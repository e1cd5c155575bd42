"""send: send a request and write the server's NDJSON response as it arrives."""

from __future__ import annotations

import os

from ostream.cli import RAW_TERMINAL_HELP
from ostream.cli.options import (
    CONNECTION_SUGGESTIONS,
    SendOptions,
    connection_options,
    make_session,
    request_options,
    request_suggestions,
)
from ostream.cli.parser import Operands, Option, Parser
from ostream.cli.value_types import between
from ostream.errors import OK, OstreamError, OutputError, RequestError
from ostream.protocol.ndjson import encode_line
from ostream.system.diagnostics import Diagnostics
from ostream.system.output import Output, is_input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ostream.protocol.accumulator import Accumulator
    from ostream.storage.conversation import Conversation
    from ostream.tools.directory import ToolDirectory


_PROMPT = "give the prompt as words: send 'Why is the sky blue?'"
_SUGGESTIONS = {
    "-d": "--body",  # as in curl
    "--data": "--body",
    "-p": _PROMPT,
    "--prompt": _PROMPT,
    "--file": "to send the text of FILE, use - < FILE",
    "--output": "to write the answer to a file, use > FILE",
    "--stats": "pipe the answer into stats: send ... | stats",
    "--stream": "leave it out: the answer is streamed by default",
}


def parser() -> Parser:
    request, chat, generate, answer = "request", "conversation and tools", "only with --generate", "answer"
    return Parser(
        "send",
        "[-m MODEL] [options] [WORD ... | -]",
        "A source (streaming): writes each line as soon as it arrives. Memory: one line, "
        "or one answer with -c, --context or --run-tools.",
        "Send a prompt to an Ollama server and print its NDJSON answer. WORDs form the prompt; use -- before words "
        "that start with a dash. A word - is replaced by standard input. With no words, standard input is the prompt; "
        "otherwise it is read only where - appears.",
        [
            "send -m qwen3 'Why is the sky blue?' | extract-content",
            "git diff | send -m qwen3 'Write a commit message:' - | extract-content",
        ],
        [
            *request_options("-o", "--option"),
            Option(
                *("-i", "--image"),
                metavar="FILE",
                repeat=True,
                group=request,
                help="attach an image or a sound (WAV, MP3); may be repeated; - is standard input",
            ),
            Option("--no-stream", dest="stream", const=False, group=request, help="request one object, not a stream"),
            Option("--load", group=request, help="load the model; takes no prompt"),
            Option("--unload", group=request, help="unload the model; takes no prompt"),
            Option(
                "--body",
                metavar="FILE",
                group=request,
                help="request body as JSON; the prompt is added to it, and options override its fields",
            ),
            Option("--dry-run", group=request, help="print the request, with secrets masked, and send nothing"),
            Option(
                *("-c", "--conversation"),
                metavar="FILE",
                group=chat,
                help="conversation to continue: read its messages, append the exchange when the answer is complete",
            ),
            Option(
                "--messages", metavar="FILE", group=chat, help="messages to send before the prompt; FILE is only read"
            ),
            Option(
                *("-t", "--tools"),
                metavar="FILE|DIR",
                group=chat,
                help="offer tools: a JSON array, or a directory with an executable NAME and NAME.json for each tool",
            ),
            Option("--run-tools", group=chat, help="run the tools that the model calls, until it answers"),
            Option(
                "--max-turns",
                metavar="N",
                type=between(1, 1000),
                group=chat,
                help=f"stop after N answers (default: {SendOptions.max_turns})",
            ),
            Option(
                "--context",
                metavar="FILE",
                group=generate,
                help="read the context array from FILE, if it exists; write the new context to FILE at the end",
            ),
            Option("--raw", group=generate, help="use the prompt as it is, without the model's template"),
            Option("--suffix", metavar="TEXT", group=generate, help="text after the gap to fill in"),
            Option(
                "--template",
                metavar="TEXT",
                group=generate,
                help="template to use instead of the model's; @FILE reads it",
            ),
            *connection_options(),
            Option(
                "--stamp",
                group=answer,
                help="make a recording: write a request line first, and add elapsed (ns since then) to each line",
            ),
            Option("--fail-on-length", group=answer, help="exit with status 4 if the answer is truncated by a limit"),
            Option("--fail-on-empty", group=answer, help="exit with status 5 if the answer is empty"),
            Option("--raw-terminal", group=answer, help=RAW_TERMINAL_HELP),
        ],
        Operands("words", "WORD", "the prompt"),
        {**CONNECTION_SUGGESTIONS, **request_suggestions("-o"), **_SUGGESTIONS},
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    return run(diagnostics, parser().parse(arguments, diagnostics, SendOptions()))


def run(diagnostics: Diagnostics, options: SendOptions) -> int:
    # These modules are loaded only now, so that --help and usage errors appear without a delay.
    from ostream.cli.request_builder import build_request, report_unusual, uses_of_stdin
    from ostream.protocol.request import encode_body

    conversation = _open_conversation(options, diagnostics)
    tool_directory = _open_tools(options, diagnostics)
    path, body = build_request(diagnostics, options, conversation, tool_directory)
    encode_body(body)  # raises an error for a value that can't be encoded, before anything is sent
    session = make_session(options).single_use()
    report_unusual(session, options, diagnostics)
    out = Output(1, "standard output", options.raw_terminal)
    if options.dry_run:
        out.write_lines(encode_line(session.request_line(path, body)))
        return OK
    report_unread: Callable[[bool], object] = bool
    if options.words and not uses_of_stdin(options):
        from ostream.system.unread_input import unread_input

        report_unread = unread_input(diagnostics.note)
    from ostream.cli.tool_loop import ToolLoop

    tool_loop = ToolLoop(diagnostics, session, out, options)
    try:
        if options.run_tools and tool_directory:
            save = [conversation.append] if conversation else []
            tool_loop.run_tool_loop(body, tool_directory, options.max_turns, *save)
        else:
            tool_loop.send_once(path, body, is_kept=bool(conversation or options.context))
        if conversation:
            _append_answer(conversation, body, tool_loop.answer, diagnostics)
        if options.context:
            _save_context(options.context, body["model"], tool_loop.answer, diagnostics)
    except OstreamError:
        report_unread(False)
        raise
    report_unread(True)
    return OK


def _open_conversation(options: SendOptions, diagnostics: Diagnostics) -> Conversation | None:
    name = options.conversation
    if not name:
        return None
    from ostream.storage.conversation import Conversation

    if is_input(1, [name]):
        # An OutputError, unlike other errors, writes no error line to standard output, which is the conversation here.
        raise OutputError(
            f"{name}: is also standard output", advice="redirect elsewhere; messages are appended to it anyway"
        )
    return Conversation(name, diagnostics.note, options.max_time)


def _open_tools(options: SendOptions, diagnostics: Diagnostics) -> ToolDirectory | None:
    name = options.tools
    if name and os.path.isdir(name):
        from ostream.tools.directory import ToolDirectory

        return ToolDirectory(name, diagnostics.note)
    if options.run_tools:
        if name and not os.path.exists(name):
            raise RequestError(f"{name}: no such directory of tools")
        raise RequestError("--run-tools: needs a directory of tools", advice="give it with -t DIR")
    return None


def _append_answer(
    conversation: Conversation, body: dict[str, Any], answer: Accumulator, diagnostics: Diagnostics
) -> None:
    """Append the new messages and the answer to the conversation.

    If the answer is empty, nothing is appended and a note is printed: an empty answer would only confuse the model in
    later turns.
    """
    from ostream.protocol.emptiness import empty_error, has_image

    error = None
    if not (answer.content.strip() or answer.tool_calls or has_image(answer.response)):
        error = empty_error(answer.response, bool(answer.thinking.strip()))
    if error:
        diagnostics.note(f"{conversation.path}: not changed; {error}")
    else:
        conversation.append([*body["messages"], answer.message])


def _save_context(path: str, model: str, answer: Accumulator, diagnostics: Diagnostics) -> None:
    from ostream.storage.context import is_context, write_context

    context = answer.response.get("context")
    if context and is_context(context):
        write_context(path, model, context)
    else:
        diagnostics.note(f"{path}: not changed; the answer has no context")
