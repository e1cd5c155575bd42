"""stats: what the responses cost."""

from __future__ import annotations

from ostream.errors import RequestError
from ostream.metrics import FIELDS, measure
from ostream.ndjson import encode_line
from ostream.stage import Failed, Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ostream.commands.arguments import Parser
    from ostream.stdio import Messages


def parser() -> Parser:
    from ostream.commands.arguments import Parser

    parser = Parser(
        "stats",
        "[-w FILE] [--json | --field NAME] [options] [FILE ...]",
        "A filter: buffering, the numbers of a response are written when it ends; memory: a few numbers.",
        "Print counts, durations and rates of each response in an NDJSON stream from Ollama.",
        [
            "send -m qwen3 'Why is the sky blue?' | stats",
            "send -m qwen3 'Why is the sky blue?' | stats -w /dev/stderr | extract-content",
        ],
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="as_json", action="store_true", help="one object per response; durations in ns")
    form.add_argument("--field", metavar="NAME", help=f"only this value, one line per response: {', '.join(FIELDS)}")
    parser.add_filter_arguments("the numbers")
    return parser


def main(arguments: list[str], messages: Messages) -> int:
    return run(messages, **(parser().parse(arguments, messages) if arguments else {}))


def run(
    messages: Messages,
    files: list[str] | None = None,
    write_to: str | None = None,
    raw_terminal: bool = False,
    as_json: bool = False,
    field: str | None = None,
) -> int:
    if field is not None and field not in FIELDS:
        raise RequestError(f"--field {field}: no such field", advice=f"there are {', '.join(FIELDS)}")
    stage = Stage(messages, files or [], write_to, raw_terminal)
    chunks = written = 0
    last: dict[str, Any] = {}
    for items in stage.chunks():
        for item in items:
            if isinstance(item, Failed):
                over = chunks > 0
            else:
                chunks += 1
                last = item
                over = item.get("done") is True
            if not over:
                continue
            measured = measure(last, chunks)
            if as_json:
                identity = {"id": last["id"]} if "id" in last else {}
                known = {name: value for name, value in measured.items() if value is not None}
                stage.lines(encode_line({**identity, **known}))
            elif field is not None:
                stage.text([_plain(measured[field]) + "\n"])
            else:
                stage.text(["\n" if written else "", _table(measured)])
            written += 1
            chunks = 0
    return stage.finish()


def _plain(value: Any) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _table(measured: dict[str, Any]) -> str:
    """The numbers as `ollama run --verbose` prints them; a line only for what is known."""
    lines = []
    for name, value in measured.items():
        if value is None:
            continue
        if name.endswith("_duration"):
            shown = _duration(value)
        elif name.endswith("_rate"):
            shown = f"{value:.2f} tokens/s"
        elif name.endswith("eval_count"):
            shown = f"{value} token(s)"
        else:
            shown = str(value)
        lines.append(f"{name.replace('_', ' ') + ':':<22}{shown}\n")
    return "".join(lines)


def _duration(duration_ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if duration_ns >= size:
            return f"{duration_ns // 1 / size:.3f}".rstrip("0").rstrip(".") + unit
    return f"{duration_ns}ns"
