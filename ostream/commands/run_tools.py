"""run-tools: the tools that an answer calls, run; the answer's message and theirs."""

from __future__ import annotations

import json
import os

from ostream.cli.filter_input import ErrorItem, FilterInput
from ostream.errors import RequestError, reason
from ostream.protocol.accumulator import Accumulator, parse_tool_call, tool_message
from ostream.protocol.chunk import tool_calls
from ostream.protocol.ndjson import encode_line
from ostream.system.output import Output
from ostream.system.polling import READABLE, pollable_or_none, wait_ready
from ostream.tools.directory import ToolDirectory
from ostream.tools.process import BYTES, TIME_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ostream.cli.parser import Parser
    from ostream.system.diagnostics import Diagnostics

# Only with --status, so that a loop can end.
NO_CALLS = 10
DECLINED = "error: the user declined this call"


def parser() -> Parser:
    from ostream.cli.parser import Parser, count, positive

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


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    return run(diagnostics, **parser().parse(arguments, diagnostics))


def run(diagnostics: Diagnostics, tools: str | None, time: float, bytes: int, **values: Any) -> int:
    if tools is None:
        raise RequestError("no tools", advice="name their folder with -t")
    tool_directory = ToolDirectory(tools, diagnostics.note, time, bytes)
    stage = FilterInput(diagnostics, values["files"], values["write_to"], values["raw_terminal"])
    approved = _asker() if values["approve"] else _always
    called = 0
    answer = Accumulator()
    for items in stage.chunks():
        for item in items:
            if isinstance(item, ErrorItem):
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
                stage.write_lines(b"".join(map(encode_line, calls)))
                continue
            stage.write_lines(encode_line(message))
            for call in calls:
                diagnostics.trace(f"calling {parse_tool_call(call)[0]}")
                result = tool_directory.answer(call) if approved(call) else tool_message(call, DECLINED)
                stage.write_lines(encode_line(result))
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
        name, arguments = (json.dumps(value, ensure_ascii=False) for value in parse_tool_call(call))
        Output(terminal, "/dev/tty").write_text(f"{name[1:-1]} {arguments}\nrun it? [y/N] ")
        line = b""
        while not line.endswith(b"\n"):
            wait_ready(terminal, READABLE, pollable_or_none(1))
            block = os.read(terminal, 1000)
            if not block:
                break
            line += block
        return line.strip().lower() in (b"y", b"yes")

    return ask
