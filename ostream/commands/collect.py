"""collect: combine the chunks of each response into one object."""

from __future__ import annotations

from ostream.cli.filter_input import ErrorItem, FilterInput, FilterOptions
from ostream.protocol.accumulator import Accumulator
from ostream.protocol.ndjson import encode_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ostream.cli.parser import Parser
    from ostream.system.diagnostics import Diagnostics


class CollectOptions(FilterOptions):
    think_tags: str | None = None


def parser() -> Parser:
    from ostream.cli.filter_options import filter_options, think_tags_option
    from ostream.cli.parser import FILES, Parser

    return Parser(
        "collect",
        "[-w FILE] [options] [FILE ...]",
        "A filter (buffering): writes a response when it is complete. Memory: one answer.",
        'Fold each response of an NDJSON stream into one complete object, as "stream": false would have returned it. '
        'A truncated response keeps "done": false; error lines are passed on.',
        [
            "send -m qwen3 'Why is the sky blue?' | collect | jq -r .message.content",
            "send 'Why is the sky blue?' | collect -w answer.json | extract-content",
        ],
        [think_tags_option(), *filter_options("the objects")],
        FILES,
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    options = CollectOptions()
    return run(diagnostics, parser().parse(arguments, diagnostics, options) if arguments else options)


def run(diagnostics: Diagnostics, options: CollectOptions) -> int:
    source = FilterInput(diagnostics, options)
    runs = source.runs()
    if options.think_tags:
        from ostream.cli.think_tags import split_think_tags

        runs = split_think_tags(runs, options.think_tags)
    response = Accumulator()
    for block in runs:
        lines = []
        for run in block:
            item: Any = run[-1]
            chunks: Any = run[:-1] if isinstance(item, ErrorItem) else run
            if chunks:
                response.add_all(chunks)
            if response.done or (isinstance(item, ErrorItem) and response.chunks):
                lines.append(encode_line(response.response))
                response = Accumulator()
            if isinstance(item, ErrorItem):
                lines.append(encode_line(item.line))
        source.output.write_lines(b"".join(lines))
    return source.finish()
