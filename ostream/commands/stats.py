"""stats: print counts, durations and rates of responses."""

from __future__ import annotations

from ostream.cli.filter_input import ErrorItem, FilterInput, FilterOptions, RequestItem
from ostream.errors import RequestError
from ostream.protocol.error_lines import line_status
from ostream.protocol.metrics import FIELDS, Metrics, show_duration, truncation_warning
from ostream.protocol.ndjson import encode_line
from ostream.protocol.summary import EMPTY, LENGTH_LIMITED, THINKING_ONLY, Summary
from ostream.system.terminal import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Sequence

    from ostream.cli.parser import Parser
    from ostream.system.diagnostics import Diagnostics

_PLAIN = frozenset(
    (
        *("model", "done_reason", "chunks", "fragments", "responses", "complete", "prompt_truncated"),
        *(EMPTY, THINKING_ONLY, LENGTH_LIMITED),
    )
)


class StatsOptions(FilterOptions):
    as_json = False
    field: str | None = None
    plot = False
    summary = False


def parser() -> Parser:
    from ostream.cli.filter_options import filter_options
    from ostream.cli.parser import FILES, Option, Parser

    return Parser(
        "stats",
        "[-w FILE] [--json] [--summary] [options] [FILE ...]",
        "A filter (buffering): writes the numbers of a response when it ends. Memory: one number per chunk.",
        "Print counts, durations and rates of each response in an NDJSON stream from Ollama, and totals over several "
        "responses. Time to first token and inter-chunk latency are exact for a stream made with 'send --stamp'; "
        "otherwise their source is shown.",
        [
            "send -m qwen3 'Why is the sky blue?' | stats",
            "send --stamp 'Why is the sky blue?' | stats -w /dev/stderr | extract-content",
        ],
        [
            Option("--json", dest="as_json", exclusive="form", help="one object per response; durations in ns"),
            Option(
                "--field",
                metavar="NAME",
                choices=FIELDS,
                exclusive="form",
                help=f"only this value, one line per response, durations in ns: {', '.join(FIELDS)}",
            ),
            Option(
                "--plot",
                exclusive="form",
                help="bar chart: inter-chunk latencies of one response, or eval rates of several",
            ),
            Option("--summary", help="only the totals over all responses"),
            *filter_options("the numbers"),
        ],
        FILES,
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    options = StatsOptions()
    return run(diagnostics, parser().parse(arguments, diagnostics, options) if arguments else options)


def run(diagnostics: Diagnostics, options: StatsOptions) -> int:
    field, summary = options.field, options.summary
    if field is not None and field not in FIELDS:
        raise RequestError(f"--field {field}: no such field", advice=f"there are {', '.join(FIELDS)}")
    if summary and (field is not None or options.plot):
        raise RequestError("--summary: can only be combined with --json")
    source = FilterInput(diagnostics, options, with_requests=True)
    if options.plot:
        return _plot(source)
    total = Summary()
    for response, identity, failed in _responses(source):
        if failed:
            total.fail(line_status(failed.line))
        if response is None:
            continue
        measured = response.as_dict()
        total.add(measured, failed is None, response.lacks, response.gaps, response.span)
        if measured["prompt_truncated"]:
            diagnostics.note(truncation_warning(measured["prompt_eval_count"]), kind="the prompt was truncated")
        if summary:
            continue
        if options.as_json:
            source.output.write_lines(_line({**identity, **measured}))
        elif field is not None:
            source.output.write_text([_plain(measured[field]) + "\n"])
        else:
            source.output.write_text(["\n" if total.responses > 1 else "", _table(measured)])
    if summary and options.as_json:
        source.output.write_lines(_line(total.as_dict()))
    elif summary or (total.responses > 1 and not options.as_json and field is None):
        source.output.write_text(["" if summary else "\n", _table(total.as_dict())])
    return source.finish()


def _responses(source: FilterInput) -> Iterator[tuple[Metrics | None, dict[str, Any], ErrorItem | None]]:
    """Yield (metrics, id, failure) for each response.

    The id is {"id": ...}, or {} if the response has none. The failure is None if the response is complete. For a
    failure without a response, the metrics are None.
    """
    response: Metrics | None = None
    identity: dict[str, Any] = {}
    num_ctx = truncate = None  # the values in the last request line
    for runs in source.runs():
        for run in runs:
            item: Any = run[-1]
            chunks: Any = run[:-1] if isinstance(item, (ErrorItem, RequestItem)) else run
            if chunks:
                response = response or Metrics(num_ctx, truncate)
                response.add_all(chunks)
                if "id" in chunks[-1]:
                    identity = {"id": chunks[-1]["id"]}
            if isinstance(item, RequestItem):
                num_ctx, truncate = _window(item["request"])
            elif isinstance(item, ErrorItem):
                yield response, identity, item
                response, identity = None, {}
            elif item.get("done") is True:
                yield response, identity, None
                response, identity = None, {}


def _window(request: Any) -> tuple[Any, Any]:
    """Return the values of `num_ctx` and `truncate` in a request line; None for a value that is not there."""
    body = request.get("body") if isinstance(request, dict) else None
    if not isinstance(body, dict):
        return None, None
    options = body.get("options")
    return options.get("num_ctx") if isinstance(options, dict) else None, body.get("truncate")


def _plot(source: FilterInput) -> int:
    """Plot the times between the chunks of one response, or the eval rates of several responses."""
    from ostream.cli.plot import bars, histogram

    rows: list[tuple[str, float, str]] = []
    gaps: Sequence[int] = ()
    for response, identity, _ in _responses(source):
        if response is None:
            continue
        measured = response.as_dict()
        rate = measured["eval_rate"]
        label = " ".join(str(part) for part in (measured["model"], identity.get("id", len(rows))) if part is not None)
        rows.append((one_line(label), rate or 0.0, "unknown" if rate is None else f"{rate:.2f} tokens/s"))
        gaps = response.gaps
    if len(rows) == 1:
        rows = [
            (f"{show_duration(low)} to {show_duration(high)}", count, str(count))
            for low, high, count in (histogram(gaps) if gaps else [])
        ]
        if not rows:
            source.diagnostics.note("nothing to plot: the times between the chunks are not known")
    source.output.write_text([bars(rows, source.output.width())])
    return source.finish()


def _line(known: dict[str, Any]) -> bytes:
    return encode_line({name: value for name, value in known.items() if value is not None})


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else " ".join(str(value).split("\n"))


def _table(known: dict[str, Any]) -> str:
    """Return one line of text for each known number, in the style of `ollama run --verbose`."""
    width = max(26, *(len(name) + 2 for name in known))
    lines = []
    for name, value in known.items():
        if value is None or value is False or name.endswith("_from"):
            continue
        if name == "failures":
            shown = ", ".join(f"{count} {kind}" for kind, count in value.items()) or "none"
        elif "_rate" in name or name == "throughput":
            shown = f"{value:.2f} tokens/s"
        elif name.endswith(("eval_count", "cached_count")):
            shown = f"{value} token(s)"
        elif name == "responses_per_s":
            shown = f"{value:.2f}/s"
        elif name in _PLAIN:
            shown = _plain(value)
        else:
            shown = show_duration(value)
        stem = "inter_chunk" if name == "longest_stall" else name.partition("_p")[0]
        source = known.get(f"{stem}_from")
        lines.append(f"{name.replace('_', ' ') + ':':<{width}}{shown}{f' ({source})' if source else ''}\n")
    return "".join(lines)
