"""render: what a person wants to read."""

from __future__ import annotations

from ostream.cli.filter_input import ErrorItem, FilterInput, FilterOptions, MessageItem
from ostream.cli.transcript import Transcript, footer
from ostream.protocol.metrics import Metrics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.cli.parser import Parser
    from ostream.cli.spinner import Spinner
    from ostream.system.diagnostics import Diagnostics
    from ostream.system.output import Spans


class RenderOptions(FilterOptions):
    stats = False


def parser() -> Parser:
    from ostream.cli.options import filter_options
    from ostream.cli.parser import FILES, Option, Parser

    return Parser(
        "render",
        "[-w FILE] [--stats] [options] [FILE ...]",
        "A filter: streaming, a fragment is written as soon as it is read; memory: one line.",
        "Print an NDJSON stream from Ollama for reading: the thinking dimmed (in a pipe: under a heading), then the "
        "answer, tool calls, and message lines.",
        [
            "send -m qwen3 --think 'What is 17 × 23?' | render --stats",
            "send -m qwen3 --think 'What is 17 × 23?' | render -w /dev/stderr | extract-content > answer.txt",
        ],
        [
            Option("--stats", help="add a line of numbers below each response"),
            *filter_options("the text"),
        ],
        FILES,
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    options = RenderOptions()
    return run(diagnostics, parser().parse(arguments, diagnostics, options) if arguments else options)


def run(diagnostics: Diagnostics, options: RenderOptions) -> int:
    stage = FilterInput(diagnostics, options, with_messages=True, messages_suffice=True)
    spinner = _start_spinner(stage)
    try:
        _show(stage, Transcript(headings=not stage.styled), spinner, options.stats)
    finally:
        if spinner:
            spinner.stop()
    return stage.finish()


def _show(stage: FilterInput, transcript: Transcript, spinner: Spinner | None, stats: bool) -> None:
    metrics = Metrics()
    shown = False  # of an answer, by its chunks
    for items in stage.chunks():
        spans: Spans = []
        for item in items:
            if isinstance(item, ErrorItem):
                spans += transcript.end()
                metrics = Metrics()
            elif isinstance(item, MessageItem):
                # What the model said in the response before it is there already.
                if not (shown and item["role"] == "assistant"):
                    spans += transcript.message(item)
                shown = False
            else:
                shown = True
                spans += transcript.chunk(item)
                metrics.add(item)
                if item.get("done") is True:
                    spans += transcript.end()
                    if stats:
                        spans += transcript.footer(footer(metrics.as_dict()))
                    metrics = Metrics()
        if spans and spinner:
            spinner.stop()
        stage.write_spans(spans)


def _start_spinner(stage: FilterInput) -> Spinner | None:
    if not stage.styled or stage.extraction is None:
        return None
    from ostream.cli.spinner import Spinner

    return Spinner(stage.extraction)
