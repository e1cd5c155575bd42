"""render: what a person wants to read."""

from __future__ import annotations

from ostream.metrics import Metrics
from ostream.page import Page, footer
from ostream.stage import Failed, Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.commands.arguments import Parser
    from ostream.page import Parts
    from ostream.spinner import Spinner
    from ostream.stdio import Messages


def parser() -> Parser:
    from ostream.commands.arguments import Parser

    parser = Parser(
        "render",
        "[-w FILE] [--stats] [options] [FILE ...]",
        "A filter: streaming, a fragment is written as soon as it is read; memory: one line.",
        "Show an NDJSON stream from Ollama to a person: the thinking dim (in a pipe: under a heading), then the\n"
        "answer, tool calls, and message lines.",
        [
            "send -m qwen3 --think 'What is 17 × 23?' | render --stats",
            "send -m qwen3 --think 'What is 17 × 23?' | render -w /dev/stderr | extract-content > answer.txt",
        ],
    )
    parser.add_argument("--stats", action="store_true", help="a line of numbers below each response")
    parser.add_filter_arguments("the text")
    return parser


def main(arguments: list[str], messages: Messages) -> int:
    return run(messages, **(parser().parse(arguments, messages) if arguments else {}))


def run(
    messages: Messages,
    files: list[str] | None = None,
    write_to: str | None = None,
    raw_terminal: bool = False,
    stats: bool = False,
) -> int:
    stage = Stage(messages, files or [], write_to, raw_terminal, with_messages=True, messages_suffice=True)
    spinner = _start_spinner(stage)
    try:
        _show(stage, Page(headings=not stage.styled), spinner, stats)
    finally:
        if spinner:
            spinner.stop()
    return stage.finish()


def _show(stage: Stage, page: Page, spinner: Spinner | None, stats: bool) -> None:
    metrics = Metrics()
    shown = False  # of an answer, by its chunks
    for items in stage.chunks():
        parts: Parts = []
        for item in items:
            if isinstance(item, Failed):
                parts += page.end()
                metrics = Metrics()
            elif "role" in item:
                # What the model said in the response before it is there already.
                if not (shown and item["role"] == "assistant"):
                    parts += page.message(item)
                shown = False
            else:
                shown = True
                parts += page.chunk(item)
                metrics.add(item)
                if item.get("done") is True:
                    parts += page.end()
                    if stats:
                        parts += page.footer(footer(metrics.as_dict()))
                    metrics = Metrics()
        if parts and spinner:
            spinner.stop()
        stage.parts(parts)


def _start_spinner(stage: Stage) -> Spinner | None:
    if not stage.styled or stage.extraction is None:
        return None
    from ostream.spinner import Spinner

    return Spinner(stage.extraction)
