"""What extract-content and extract-thinking share: their arguments, and text out of chunks."""

from __future__ import annotations

from ostream.cli.filter_input import ErrorItem, FilterInput, FilterOptions, MessageItem
from ostream.errors import OutputError
from ostream.protocol.chunk import content, thinking, tool_calls
from ostream.protocol.ndjson import encode_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict

    from ostream.cli.parser import Option, Parser
    from ostream.system.diagnostics import Diagnostics

    View = Callable[[Dict[str, Any]], str]

ONLY_CALLS = "the answer has no text but tool calls; 'collect' shows them"
_VIEWS: dict[str, View] = {"content": content, "thinking": thinking}


class ExtractionOptions(FilterOptions):
    """`end` follows each text: "\\n" unless the text has one, "\\0" always, or ""."""

    end = "\n"
    as_json = False
    think_tags = False
    code = False


def parser(what: str, description: str, examples: list[str], *more: Option) -> Parser:
    """Return the parser of extract-content or extract-thinking; `more` are options of its own."""
    from ostream.cli.options import filter_options
    from ostream.cli.parser import FILES, Option, Parser

    return Parser(
        f"extract-{what}",
        "[-w FILE] [-n | -0 | --json] [options] [FILE ...]",
        "A filter: streaming, a fragment is written as soon as it is read; memory: one line.",
        description,
        examples,
        [
            Option("-n", "--no-newline", dest="end", const="", exclusive="end", help="write exactly the text"),
            Option("-0", "--null", dest="end", const="\0", exclusive="end", help="write a NUL after each text"),
            Option(
                "--json",
                dest="as_json",
                exclusive="end",
                help=f'write one {{"id":...,"{what}":...}} per response',
            ),
            Option(
                "--think-tags",
                help="treat <think>...</think> inside the content as thinking, as old servers send it",
            ),
            *more,
            *filter_options(f"the {what}"),
        ],
        FILES,
    )


def run(diagnostics: Diagnostics, what: str, options: ExtractionOptions) -> int:
    """Write the `what` ("content" or "thinking") of each response, and return the exit status."""
    end, code = options.end, options.code
    stage = FilterInput(diagnostics, options, with_messages=what == "content" and not options.as_json)
    view, settle = _VIEWS[what], _nothing_buffered
    if options.think_tags or code:
        from ostream.protocol.text import TextSelector

        shape = TextSelector(what, options.think_tags, code, diagnostics.note)
        view, settle = shape.add, shape.end
    if options.as_json:
        return _write_objects(stage, what, view, settle)
    if end == "\0":
        view, settle = _without_nul(view, stage), _without_nul(settle, stage)

    begun = called = False
    only_called = False  # the response before had no text
    last = ""  # the last fragment of this response that had any text
    for runs in stage.runs():
        out: list[str] = []
        for items in runs:
            chunks: list[Any] = items
            if isinstance(chunks[-1], ErrorItem):
                chunks.pop()
                over = True
            elif isinstance(chunks[-1], MessageItem):
                chunks.pop()
                over = only_called = False  # the tools have answered
            else:
                over = chunks[-1].get("done") is True
            begun = begun or bool(chunks)
            fragments = list(filter(None, map(view, chunks)))
            if fragments:
                out += fragments
                last = fragments[-1]
            elif not called and not last:
                called = any(map(tool_calls, chunks))
            if begun and over:
                if only_called:
                    diagnostics.note(ONLY_CALLS)
                buffered = settle()
                out.append(buffered)
                last = buffered or last
                if end == "\0" or (last and not last.endswith(end)):
                    out.append(end)
                only_called = called and not last and what == "content" and not code
                begun = called = False
                last = ""
        stage.write_text(out)
    if only_called:
        diagnostics.note(ONLY_CALLS)
    return stage.finish()


def _nothing_buffered() -> str:
    return ""


def _without_nul(text_of: Callable[..., str], stage: FilterInput) -> Callable[..., str]:
    def checked(*chunk: dict[str, Any]) -> str:
        text = text_of(*chunk)
        if "\0" in text:
            stage.give_up(OutputError("the text holds a NUL itself", advice="use --json instead of -0"))
        return text

    return checked


def _write_objects(stage: FilterInput, what: str, view: View, settle: Callable[[], str]) -> int:
    """One object per response instead of its text, with the id of a batch answer."""
    fragments: list[str] = []
    identity: dict[str, Any] | None = None  # None: no response has begun
    for items in stage.chunks():
        lines = []
        for item in items:
            if isinstance(item, ErrorItem):
                over = identity is not None
            else:
                identity = {"id": item["id"]} if "id" in item else {}
                fragments.append(view(item))
                over = item.get("done") is True
            if over:
                fragments.append(settle())
                lines.append(encode_line({**(identity or {}), what: "".join(fragments)}))
                fragments, identity = [], None
        stage.write_lines(b"".join(lines))
    return stage.finish()
