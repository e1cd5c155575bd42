"""send: one request, and the server's NDJSON as it comes."""

from __future__ import annotations

import os

from ostream.cli.options import (
    add_connection_arguments,
    add_request_arguments,
    client_of,
    say_what_is_unusual,
)
from ostream.cli.parser import Parser, count
from ostream.errors import OutputError, RequestError
from ostream.protocol.ndjson import encode_line
from ostream.system.diagnostics import Diagnostics
from ostream.system.output import Output, is_input
from ostream.system.polling import is_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ostream.client import Client

MAX_TURNS = 8


def parser() -> Parser:
    parser = Parser(
        "send",
        "[-m MODEL] [options] [WORD ... | -]",
        "A source: streaming, a line is written as soon as it comes; memory: one line,\n"
        "or with -c, --context or --run-tools one answer.",
        "Send a prompt to an Ollama server and print its NDJSON answer. The words are the prompt, behind '--' also\n"
        "those that begin with a dash; a word '-' stands for standard input, in that place. Without words, standard\n"
        "input is the prompt; with words and no '-' it is never read.",
        [
            "send -m qwen3 'Why is the sky blue?' | extract-content",
            "git diff | send -m qwen3 'Write a commit message:' - | extract-content",
        ],
    )
    add = add_request_arguments(parser, "-o", "--option").add_argument
    add("-i", "--image", metavar="FILE", action="append", default=[], help="an image; may be repeated; '-' is stdin")
    add("--no-stream", dest="stream", action="store_false", default=None, help="one object, when the answer is whole")
    add("--load", action="store_true", help="no prompt: load the model")
    add("--unload", action="store_true", help="no prompt: unload the model")
    add("--body", metavar="FILE", help="the request body as JSON; words are added to it, options override its fields")
    add("--dry-run", action="store_true", help="print the request, with secrets masked, and send nothing")
    add = parser.add_argument_group("what was said before, and tools").add_argument
    add(
        "-c",
        "--conversation",
        metavar="FILE",
        help="a chat: message lines, read first, appended to at the end",
    )
    add("--messages", metavar="FILE", help="messages that go before the prompt, if there is one; the file is only read")
    add("-t", "--tools", metavar="FILE|DIR", help="offer tools: a JSON array, or a folder of NAME.json beside NAME")
    add("--run-tools", action="store_true", help="run the tools that the model calls, until it answers")
    add("--max-turns", metavar="N", type=count, default=MAX_TURNS, help=f"give up after N answers ({MAX_TURNS})")
    add = parser.add_argument_group("only with --generate").add_argument
    add(
        "--context",
        metavar="FILE",
        help="the context: read first if it is there, replaced at the end",
    )
    add("--raw", action="store_true", default=None, help="use the prompt as it is, without the model's template")
    add("--suffix", metavar="TEXT", help="the text after the gap to fill in")
    add("--template", metavar="TEXT", help="a template instead of the model's; @FILE reads it")
    add_connection_arguments(parser)
    parser.elsewhere.update({"-d": "--body", "--data": "--body"})  # curl's
    add = parser.add_argument_group("the answer").add_argument
    add("--stamp", action="store_true", help="record: a request line first, and elapsed (ns since then) on each line")
    add("--fail-on-length", action="store_true", help="an answer cut by a limit is a failure: status 4")
    add("--raw-terminal", action="store_true", help="let control characters reach the terminal")
    parser.add_argument("words", nargs="*", metavar="WORD", help="the prompt")
    return parser


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    values = parser().parse(arguments, diagnostics)
    return run(diagnostics, values)


def run(diagnostics: Diagnostics, values: dict[str, Any]) -> int:
    # The rest of the package is loaded now, so that --help and a wrong option answer at once.
    from ostream.cli.request_builder import build_request, uses_of_stdin
    from ostream.cli.tool_loop import ToolLoop
    from ostream.protocol.request import encode_body
    from ostream.storage.context import is_context, write_context
    from ostream.storage.conversation import Conversation

    name, folder = values["conversation"], values["tools"]
    if name and is_input(1, [name]):
        # An OutputError is the one that leaves standard output as it is.
        raise OutputError(
            f"{name}: is also standard output", advice="redirect elsewhere; messages are appended to it anyway"
        )
    conversation = Conversation(name, diagnostics.note, values["max_time"]) if name else None
    tool_directory = None
    if folder and os.path.isdir(folder):
        from ostream.tools.directory import ToolDirectory

        tool_directory = ToolDirectory(folder, diagnostics.note)
    if values["run_tools"] and not tool_directory:
        if folder and not os.path.exists(folder):
            raise RequestError(f"{folder}: no such folder of tools")
        raise RequestError("--run-tools: needs a folder of tools", advice="name it with -t")
    path, body = build_request(diagnostics, values, conversation, tool_directory)
    encode_body(body)  # says what can't be sent before anything is
    client = client_of(values)
    out = Output(1, "standard output", values["raw_terminal"])
    if values["dry_run"]:
        out.write_lines(encode_line(_request_line(client, path, body)))
        return 0
    say_what_is_unusual(client, diagnostics)
    if values["words"] and not uses_of_stdin(values) and is_pipe(0) and os.isatty(2):
        diagnostics.note("standard input was not read; put - where it belongs")
    tool_loop = ToolLoop(diagnostics, client, out, values["stamp"], values["fail_on_length"])
    if values["run_tools"] and tool_directory:
        tool_loop.run_tool_loop(body, tool_directory, values["max_turns"])
    else:
        tool_loop.send_once(path, body, is_kept=bool(conversation or values["context"]))
    if conversation:
        conversation.append([*body["messages"], tool_loop.answer.message])
    if values["context"]:
        context = tool_loop.answer.response.get("context")
        if not is_context(context):
            diagnostics.note(f"{values['context']}: not changed; the answer has no context")
        else:
            write_context(values["context"], body["model"], context)
    return 0


def _request_line(client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    masked = dict.fromkeys(client.headers, "***")
    return {"request": {"url": client.host.url + path, "path": path, "headers": masked, "body": body}}
