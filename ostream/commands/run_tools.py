"""run-tools: the tools that an answer calls, run; the answer's message and theirs."""

from __future__ import annotations

import json
import os

from ostream.chunk import tool_calls
from ostream.errors import RequestError, reason
from ostream.execute import BYTES, TIME_S
from ostream.message import Accumulator, asked, tool_message
from ostream.ndjson import encode_line
from ostream.output import Output
from ostream.stage import Failed, Stage
from ostream.toolbox import Toolbox
from ostream.wait import READABLE, wait, watchable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ostream.commands.arguments import Parser
    from ostream.stdio import Messages

# Only with --status, so that a loop can end.
NO_CALLS = 10
DECLINED = "error: the user declined this call"


def parser() -> Parser:
    from ostream.commands.arguments import Parser, count, positive

    parser = Parser(
        "run-tools",
        "-t DIR [-w FILE] [--status] [options] [FILE ...]",
        "A filter: buffering, a tool runs when the answer that calls it is whole; memory: one answer.",
        "Run the tools that a model calls, and print message lines: the answer's, then one for each tool. DIR/NAME is\n"
        "run only if DIR/NAME.json declares it: the arguments as JSON on its standard input, what it prints is the\n"
        "result. A tool that fails is an answer for the model, not a failure of run-tools.",
        [
            "send -m qwen3 --messages chat -t tools | run-tools -t tools >> chat",
            "send -m qwen3 -t tools 'What is 17 × 23?' | run-tools -t tools --dry-run",
        ],
    )
    parser.add_argument("-t", "--tools", metavar="DIR", help="the folder of tools; it must be named")
    parser.add_argument("--time", metavar="S", type=positive, default=TIME_S, help=f"seconds for a call ({TIME_S:g})")
    parser.add_argument("--bytes", metavar="N", type=count, default=BYTES, help=f"bytes of a result ({BYTES})")
    parser.add_argument("--status", action="store_true", help=f"exit {NO_CALLS} if no tool was called")
    parser.add_argument("--dry-run", action="store_true", help="print the calls, and run nothing")
    parser.add_argument("--approve", action="store_true", help="ask on the terminal before each call")
    parser.add_filter_arguments("the message lines")
    return parser


def main(arguments: list[str], messages: Messages) -> int:
    return run(messages, **parser().parse(arguments, messages))


def run(messages: Messages, tools: str | None, time: float, bytes: int, **values: Any) -> int:
    if tools is None:
        raise RequestError("no tools", advice="name their folder with -t")
    toolbox = Toolbox(tools, messages.note, time, bytes)
    stage = Stage(messages, values["files"], values["write_to"], values["raw_terminal"])
    approved = _asker() if values["approve"] else _always
    called = 0
    answer = Accumulator()
    for items in stage.chunks():
        for item in items:
            if isinstance(item, Failed):
                answer = Accumulator()
                continue
            answer.add(item)
            if not answer.done:
                continue
            message = answer.message
            answer = Accumulator()
            calls = tool_calls({"message": message})
            called += len(calls)
            if values["dry_run"]:
                stage.lines(b"".join(map(encode_line, calls)))
                continue
            stage.lines(encode_line(message))
            for call in calls:
                messages.trace(f"calling {asked(call)[0]}")
                result = toolbox.answer(call) if approved(call) else tool_message(call, DECLINED)
                stage.lines(encode_line(result))
    status = stage.finish()
    return NO_CALLS if values["status"] and not status and not called else status


def _always(call: dict[str, Any]) -> bool:
    return True


def _asker() -> Callable[[dict[str, Any]], bool]:
    """Asks the person at the terminal, wherever our standard input and output go."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise RequestError(f"--approve: no terminal to ask on: {reason(error)}") from None

    def ask(call: dict[str, Any]) -> bool:
        # As JSON also the name, which could hold a line that looks like another question.
        name, arguments = (json.dumps(value, ensure_ascii=False) for value in asked(call))
        Output(terminal, "/dev/tty").text(f"{name[1:-1]} {arguments}\nrun it? [y/N] ")
        line = b""
        while not line.endswith(b"\n"):
            wait(terminal, READABLE, watchable(1))
            block = os.read(terminal, 1000)
            if not block:
                break
            line += block
        return line.strip().lower() in (b"y", b"yes")

    return ask
