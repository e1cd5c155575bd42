"""What extract-content and extract-thinking share: their arguments, and text out of chunks."""

from __future__ import annotations

from ostream.cli.filter_input import ErrorItem, FilterInput, MessageItem
from ostream.errors import OutputError
from ostream.protocol.chunk import content, thinking, tool_calls
from ostream.protocol.ndjson import encode_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict

    from ostream.cli.parser import Parser
    from ostream.system.diagnostics import Diagnostics

    View = Callable[[Dict[str, Any]], str]

ONLY_CALLS = "the answer has no text but tool calls; 'collect' shows them"
_VIEWS: dict[str, View] = {"content": content, "thinking": thinking}


def parser(what: str, description: str, examples: list[str]) -> Parser:
    from ostream.cli.parser import Parser

    parser = Parser(
        f"extract-{what}",
        "[-w FILE] [-n | -0 | --json] [options] [FILE ...]",
        "A filter: streaming, a fragment is written as soon as it is read; memory: one line.",
        description,
        examples,
    )
    end = parser.add_mutually_exclusive_group()
    end.add_argument(
        "-n", "--no-newline", dest="end", action="store_const", const="", default="\n", help="exactly the text"
    )
    end.add_argument("-0", "--null", dest="end", action="store_const", const="\0", help="the text and a NUL")
    end.add_argument("--json", dest="as_json", action="store_true", help=f'one {{"id":...,"{what}":...}} per response')
    parser.add_argument(
        "--think-tags",
        action="store_true",
        help="take <think>...</think> inside the content for thinking, as old servers send it",
    )
    parser.add_filter_arguments(f"the {what}")
    return parser


def run(
    diagnostics: Diagnostics,
    what: str,
    files: list[str] | None = None,
    write_to: str | None = None,
    raw_terminal: bool = False,
    end: str = "\n",
    as_json: bool = False,
    think_tags: bool = False,
    code: bool = False,
) -> int:
    """Write the `what` of each response; `end` is what follows it: "\\n" unless it has one, "\\0" always, or ""."""
    stage = FilterInput(
        diagnostics, files or [], write_to, raw_terminal, with_messages=what == "content" and not as_json
    )
    view, settle = _VIEWS[what], _nothing_buffered
    if think_tags or code:
        from ostream.protocol.text import TextSelector

        shape = TextSelector(what, think_tags, code, diagnostics.note)
        view, settle = shape.add, shape.end
    if as_json:
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
