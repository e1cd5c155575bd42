"""send: one request, and the server's NDJSON as it comes."""

from __future__ import annotations

import os

from ostream.cli.options import (
    CONNECTION_SUGGESTIONS,
    RAW_TERMINAL,
    SendOptions,
    connection_options,
    make_client,
    report_unusual,
    request_options,
    request_suggestions,
)
from ostream.cli.parser import Operands, Option, Parser, between
from ostream.errors import OutputError, RequestError
from ostream.protocol.ndjson import encode_line
from ostream.system.diagnostics import Diagnostics
from ostream.system.output import Output, is_input
from ostream.system.polling import is_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ostream.client import Client


def parser() -> Parser:
    request, chat, generate, answer = "request", "conversation and tools", "only with --generate", "answer"
    return Parser(
        "send",
        "[-m MODEL] [options] [WORD ... | -]",
        "A source: streaming, a line is written as soon as it arrives; memory: one line, "
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
                help="attach an image; may be repeated; - is standard input",
            ),
            Option("--no-stream", dest="stream", const=False, group=request, help="request one object, not a stream"),
            Option("--load", group=request, help="load the model; takes no prompt"),
            Option("--unload", group=request, help="unload the model; takes no prompt"),
            Option(
                "--body",
                metavar="FILE",
                group=request,
                help="request body as JSON; words are added to it, options override its fields",
            ),
            Option("--dry-run", group=request, help="print the request, with secrets masked, and send nothing"),
            Option(
                *("-c", "--conversation"),
                metavar="FILE",
                group=chat,
                help="conversation to continue: message lines, read first, appended to when the answer is complete",
            ),
            Option(
                "--messages", metavar="FILE", group=chat, help="messages to send before the prompt; FILE is only read"
            ),
            Option(
                *("-t", "--tools"),
                metavar="FILE|DIR",
                group=chat,
                help="offer tools: a JSON array, or a directory of NAME.json beside NAME",
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
                help="context array: read from FILE if it exists, replaced at the end",
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
                help="record: write a request line first, and add elapsed (ns since then) to each line",
            ),
            Option("--fail-on-length", group=answer, help="exit with status 4 if the answer is truncated by a limit"),
            Option("--raw-terminal", group=answer, help=RAW_TERMINAL.help),
        ],
        Operands("words", "WORD", "the prompt"),
        {**CONNECTION_SUGGESTIONS, **request_suggestions("-o"), "-d": "--body", "--data": "--body"},  # curl's
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    return run(diagnostics, parser().parse(arguments, diagnostics, SendOptions()))


def run(diagnostics: Diagnostics, options: SendOptions) -> int:
    # The rest of the package is loaded now, so that --help and a wrong option answer at once.
    from ostream.cli.request_builder import build_request, uses_of_stdin
    from ostream.cli.tool_loop import ToolLoop
    from ostream.protocol.request import encode_body
    from ostream.storage.context import is_context, write_context
    from ostream.storage.conversation import Conversation

    name, folder = options.conversation, options.tools
    if name and is_input(1, [name]):
        # An OutputError is the one that leaves standard output as it is.
        raise OutputError(
            f"{name}: is also standard output", advice="redirect elsewhere; messages are appended to it anyway"
        )
    conversation = Conversation(name, diagnostics.note, options.max_time) if name else None
    tool_directory = None
    if folder and os.path.isdir(folder):
        from ostream.tools.directory import ToolDirectory

        tool_directory = ToolDirectory(folder, diagnostics.note)
    if options.run_tools and not tool_directory:
        if folder and not os.path.exists(folder):
            raise RequestError(f"{folder}: no such directory of tools")
        raise RequestError("--run-tools: needs a directory of tools", advice="name it with -t DIR")
    path, body = build_request(diagnostics, options, conversation, tool_directory)
    encode_body(body)  # says what can't be sent before anything is
    client = make_client(options)
    out = Output(1, "standard output", options.raw_terminal)
    if options.dry_run:
        out.write_lines(encode_line(_request_line(client, path, body)))
        return 0
    report_unusual(client, diagnostics)
    if options.words and not uses_of_stdin(options) and is_pipe(0) and os.isatty(2):
        diagnostics.note("standard input was not read; put - where it belongs")
    tool_loop = ToolLoop(diagnostics, client, out, options.stamp, options.fail_on_length)
    if options.run_tools and tool_directory:
        save = [conversation.append] if conversation else []
        tool_loop.run_tool_loop(body, tool_directory, options.max_turns, *save)
    else:
        tool_loop.send_once(path, body, is_kept=bool(conversation or options.context))
    if conversation:
        conversation.append([*body["messages"], tool_loop.answer.message])
    if options.context:
        context = tool_loop.answer.response.get("context")
        if not is_context(context):
            diagnostics.note(f"{options.context}: not changed; the answer has no context")
        else:
            write_context(options.context, body["model"], context)
    return 0


def _request_line(client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    masked = dict.fromkeys(client.headers, "***")
    return {"request": {"url": client.host.url + path, "path": path, "headers": masked, "body": body}}
