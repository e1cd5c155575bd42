"""collect: chunks to whole responses."""

from __future__ import annotations

from ostream.message import Accumulator
from ostream.ndjson import encode_line
from ostream.stage import Failed, Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.commands.arguments import Parser
    from ostream.stdio import Messages


def parser() -> Parser:
    from ostream.commands.arguments import Parser

    parser = Parser(
        "collect",
        "[-w FILE] [options] [FILE ...]",
        "A filter: buffering, a response is written when it is whole; memory: one answer.",
        'Fold each response of an NDJSON stream into one complete object, as "stream": false would have given it.\n'
        'A response that was cut keeps "done": false; error lines are passed on.',
        [
            "send -m qwen3 'Why is the sky blue?' | collect | jq -r .message.content",
            "send -m qwen3 'Why is the sky blue?' | collect -w answer.json | extract-content",
        ],
    )
    parser.add_filter_arguments("the objects")
    return parser


def main(arguments: list[str], messages: Messages) -> int:
    return run(messages, **(parser().parse(arguments, messages) if arguments else {}))


def run(
    messages: Messages, files: list[str] | None = None, write_to: str | None = None, raw_terminal: bool = False
) -> int:
    stage = Stage(messages, files or [], write_to, raw_terminal)
    response = Accumulator()
    for items in stage.chunks():
        lines = []
        for item in items:
            if isinstance(item, Failed):
                if response.chunks:
                    lines.append(encode_line(response.response))
                    response = Accumulator()
                lines.append(encode_line(item.line))
                continue
            response.add(item)
            if response.done:
                lines.append(encode_line(response.response))
                response = Accumulator()
        stage.lines(b"".join(lines))
    return stage.finish()
