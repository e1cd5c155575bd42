"""collect: chunks to whole responses."""

from __future__ import annotations

from ostream.cli.filter_input import ErrorItem, FilterInput
from ostream.protocol.accumulator import Accumulator
from ostream.protocol.ndjson import encode_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.cli.parser import Parser
    from ostream.system.diagnostics import Diagnostics


def parser() -> Parser:
    from ostream.cli.parser import Parser

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


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    return run(diagnostics, **(parser().parse(arguments, diagnostics) if arguments else {}))


def run(
    diagnostics: Diagnostics, files: list[str] | None = None, write_to: str | None = None, raw_terminal: bool = False
) -> int:
    stage = FilterInput(diagnostics, files or [], write_to, raw_terminal)
    response = Accumulator()
    for items in stage.chunks():
        lines = []
        for item in items:
            if isinstance(item, ErrorItem):
                if response.chunks:
                    lines.append(encode_line(response.response))
                    response = Accumulator()
                lines.append(encode_line(item.line))
                continue
            response.add(item)
            if response.done:
                lines.append(encode_line(response.response))
                response = Accumulator()
        stage.write_lines(b"".join(lines))
    return stage.finish()
