"""run-tools: run the tools that an answer calls, and print the messages to send back."""

from __future__ import annotations

import json
import os

from ostream.cli.filter_input import ErrorItem, FilterInput, FilterOptions
from ostream.errors import NO_TOOL_CALLS, InputError, RequestError, reason
from ostream.protocol.accumulator import Accumulator, parse_tool_call, tool_message
from ostream.protocol.chunk import tool_calls
from ostream.protocol.ndjson import encode_line
from ostream.system.output import Output
from ostream.system.polling import READABLE, pollable_or_none, wait_ready
from ostream.system.terminal import escaped
from ostream.tools.directory import ToolDirectory
from ostream.tools.process import BYTES, TIME_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ostream.cli.parser import Parser
    from ostream.system.diagnostics import Diagnostics

DECLINED = "error: the user declined this call"


class RunToolsOptions(FilterOptions):
    tools: str | None = None
    time = TIME_S
    bytes = BYTES
    status = False
    dry_run = False
    approve = False


def parser() -> Parser:
    from ostream.cli.filter_options import filter_options
    from ostream.cli.parser import FILES, Option, Parser
    from ostream.cli.value_types import COUNT, SECONDS

    return Parser(
        "run-tools",
        "-t DIR [-w FILE] [--status] [options] [FILE ...]",
        "A filter (buffering): runs a tool when the answer that calls it is complete. Memory: one answer.",
        "Run the tools that a model calls, and print message lines: one for the answer, then one for each call. "
        "DIR/NAME is run only if DIR/NAME.json declares it. A tool gets the arguments as JSON on standard input; its "
        "output is the result. A tool that fails is reported to the model and does not make run-tools fail.",
        [
            "send -m qwen3 --messages chat -t tools | run-tools -t tools >> chat",
            "send -m qwen3 -t tools 'What is 17 × 23?' | run-tools -t tools --dry-run",
        ],
        [
            Option("-t", "--tools", metavar="DIR", help="directory of tools (required)"),
            Option("--time", metavar="S", type=SECONDS, help=f"max seconds per call (default: {TIME_S:g})"),
            Option("--bytes", metavar="N", type=COUNT, help=f"max bytes of a result (default: {BYTES})"),
            Option("--status", help=f"exit with status {NO_TOOL_CALLS} if no tool was called"),
            Option("--dry-run", help="print the calls and run nothing"),
            Option("--approve", help="ask on the terminal before each call"),
            *filter_options("the message lines"),
        ],
        FILES,
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    return run(diagnostics, parser().parse(arguments, diagnostics, RunToolsOptions()))


def run(diagnostics: Diagnostics, options: RunToolsOptions) -> int:
    if options.tools is None:
        raise RequestError("no tools given", advice="give the directory of tools with -t DIR")
    tool_directory = ToolDirectory(options.tools, diagnostics.note, options.time, options.bytes)
    stage = FilterInput(diagnostics, options)
    approved = _asker() if options.approve else _always
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
            if options.dry_run:
                stage.output.write_lines(b"".join(map(encode_line, calls)))
                continue
            request_id = {"id": item["id"]} if "id" in item else {}  # batch adds the id of the request to an answer
            stage.output.write_lines(encode_line({**request_id, **message}))
            for call in calls:
                diagnostics.trace(f"calling {parse_tool_call(call)[0]}")
                result = tool_directory.answer(call) if approved(call) else tool_message(call, DECLINED)
                stage.output.write_lines(encode_line({**request_id, **result}))
    status = stage.finish()
    return NO_TOOL_CALLS if options.status and not status and not called else status


def _always(call: dict[str, Any]) -> bool:
    return True


def _asker() -> Callable[[dict[str, Any]], bool]:
    """Return a function that asks the user whether to run a call, and returns True for yes.

    It uses the controlling terminal, because stdin and stdout may be redirected. Raises RequestError if this process
    has no controlling terminal. The returned function raises InputError if the terminal can't be used any more, for
    example because it was closed.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise RequestError(f"--approve: no terminal to ask on: {reason(error)}") from None
    import termios

    def ask(call: dict[str, Any]) -> bool:
        # The name and the arguments are printed as JSON with escapes. So hidden characters are visible, and the model
        # can't use a line break to print a false question.
        name, arguments = (escaped(json.dumps(value, ensure_ascii=False)) for value in parse_tool_call(call))
        line = b""
        try:
            # Discard the keys that were typed before the question is shown: they are not an answer to the question.
            termios.tcflush(terminal, termios.TCIFLUSH)
            Output(terminal, "/dev/tty").write_text(f"{name[1:-1]} {arguments}\nrun it? [y/N] ")
            while not line.endswith(b"\n"):
                wait_ready(terminal, READABLE, pollable_or_none(1))
                block = os.read(terminal, 1000)
                if not block:
                    break
                line += block
        except (OSError, termios.error) as error:  # termios.error is not an OSError
            raise InputError(f"--approve: /dev/tty: {os.strerror(error.args[0])}") from None
        return line.strip().lower() in (b"y", b"yes")

    return ask
