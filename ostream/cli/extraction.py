"""Implement extract-content and extract-thinking: their options, and the extraction of text from chunks."""

from __future__ import annotations

from ostream.cli.filter_input import ErrorItem, FilterInput, FilterOptions, MessageItem, shown_id
from ostream.errors import EmptyError, LengthError, OstreamError, OutputError
from ostream.protocol.chunk import contents, thinking, tool_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, Sequence

    from ostream.cli.answer_writers import Writer
    from ostream.cli.filter_input import Run
    from ostream.cli.parser import Option, Parser
    from ostream.cli.think_tags import ThinkTagWatch
    from ostream.protocol.text import FirstCodeBlock
    from ostream.system.diagnostics import Diagnostics

    Chunk = Dict[str, Any]


ONLY_CALLS = "the answer contains tool calls and no text; 'collect' shows them"
# The largest number of ids that a message lists.
_IDS = 5


class ExtractionOptions(FilterOptions):
    """Option values of extract-content and extract-thinking.

    `end` is written after each text. "\\n" is written only if the text is not empty and does not end with "\\n"; "\\0"
    is always written. The attributes from `as_csv` to `bom` are the arguments of `table.make_table_writer`.
    """

    end = "\n"
    as_json = False
    think_tags: str | None = None
    code = False
    as_csv = False
    columns: str | None = None
    join: str | None = None
    id_column: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    bom = False


def parser(what: str, description: str, examples: list[str], *more: Option) -> Parser:
    """Return the parser of extract-content or extract-thinking.

    `what` is "content" or "thinking". `description` and `examples` are for --help. `more` are options that only this
    command has.
    """
    from ostream.cli.filter_options import filter_options, think_tags_option
    from ostream.cli.parser import FILES, Option, Parser

    return Parser(
        f"extract-{what}",
        "[-w FILE] [-n | -0 | --json] [options] [FILE ...]",
        "A filter (streaming): writes each fragment as soon as it is read. Memory: one line.",
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
            think_tags_option(),
            *more,
            *filter_options(f"the {what}"),
        ],
        FILES,
    )


def run(diagnostics: Diagnostics, what: str, options: ExtractionOptions) -> int:
    """Write the text of each response, and return the exit status.

    `what` is "content" or "thinking": the text to write. Raises RequestError for table options that can't be combined.
    """
    writer: Writer | None = None
    if options.as_json:
        from ostream.cli.answer_writers import JSONWriter

        writer = JSONWriter(what)
    else:
        table = (
            *(options.as_csv, options.columns, options.join, options.id_column),
            *(options.delimiter, options.encoding, options.bom),
        )
        if any(table):
            from ostream.cli.table import make_table_writer

            writer = make_table_writer(*table)
    source = FilterInput(diagnostics, options, with_messages=what == "content" and writer is None)
    runs = source.runs()
    if options.think_tags:
        from ostream.cli.think_tags import split_think_tags

        runs = split_think_tags(runs, options.think_tags)
    extraction = _Extraction(source, what, options)
    if writer is not None:
        return extraction.write_objects(runs, writer)
    return extraction.write_text(runs, options.end)


class _Extraction:
    """Extracts the text of responses, and stores what is known about the current response."""

    def __init__(self, source: FilterInput, what: str, options: ExtractionOptions) -> None:
        self._source = source
        self._diagnostics = source.diagnostics
        self._is_content = what == "content"
        self._with_code = options.code
        self._end = options.end
        self._problems: dict[str, tuple[OstreamError, list[str], int]] = {}
        self._latest: OstreamError | None = None  # the error of the previous response
        self._watch: ThinkTagWatch | None = None
        self._begin()

    def _begin(self) -> None:
        self._last: Chunk | None = None  # the last chunk that was read; None if no response has begun
        self._has_text = self._has_thinking = self._has_calls = self._has_image = False
        self._tail = ""  # the last character that was extracted
        self._block: FirstCodeBlock | None = None
        if self._with_code:
            from ostream.protocol.text import FirstCodeBlock

            self._block = FirstCodeBlock()

    def write_text(self, runs: Iterator[list[Run]], end: str) -> int:
        """Write the text of each response, followed by `end`, and return the exit status."""
        only_calls = False  # the previous response had tool calls and no text
        for block in runs:
            out: list[str] = []
            for run in block:
                chunks, item = _without_item(run)
                out += self._fragments(chunks)
                if isinstance(item, MessageItem):
                    only_calls = False  # the message line is the result of a tool: the calls were handled
                elif self._last is not None and (item is not None or self._last.get("done") is True):
                    if only_calls:
                        self._diagnostics.note(ONLY_CALLS, kind=ONLY_CALLS)
                    out.append(self._rest())
                    if end == "\0" or (self._tail and self._tail != end):
                        out.append(end)
                    self._report(item)
                    only_calls = self._has_calls and not self._has_text and self._is_content and not self._with_code
                    self._begin()
                elif isinstance(item, ErrorItem) and "id" not in item.line:
                    self._withdraw(item.line["exit_status"])
            self._source.output.write_text(out)
        if only_calls:
            self._diagnostics.note(ONLY_CALLS, kind=ONLY_CALLS)
        return self._finish()

    def write_objects(self, runs: Iterator[list[Run]], writer: Writer) -> int:
        """Pass each response and each failure to `writer`, and return the exit status."""
        from ostream.cli.answer_writers import RejectionMerger

        writer = RejectionMerger(writer)
        texts: list[str] = []
        for block in runs:
            for run in block:
                chunks, item = _without_item(run)
                texts += self._fragments(chunks)
                failed = item.line if isinstance(item, ErrorItem) else None
                last = self._last
                if failed is not None and last is None and writer.reject(failed):
                    self._withdraw(failed["exit_status"])
                elif failed is not None or (last is not None and last.get("done") is True):
                    texts.append(self._rest())
                    problem = self._report(item) if last is not None else None
                    writer.add(last or {}, "".join(texts), problem, failed)
                    texts = []
                    self._begin()
            writer.write(self._source)
        writer.finish(self._source)
        return self._finish()

    def _fragments(self, chunks: Sequence[Chunk]) -> list[str]:
        """Return the text fragments of `chunks`; record whether the response has text, thinking, calls or images."""
        if not chunks:
            return []
        self._last = chunks[-1]
        fragments = contents(chunks) if self._is_content else [*filter(None, map(thinking, chunks))]
        text = "".join(fragments)
        if not self._has_text:
            self._has_text = bool(text) and not text.isspace()
            if not self._has_text:
                self._has_thinking = self._has_thinking or any(map(thinking, chunks))
                self._has_calls = self._has_calls or any(map(tool_calls, chunks))
                self._has_image = self._has_image or _any_image(chunks)
        if not text:
            return []
        if self._is_content:
            self._watch_tags(text)
        if self._block is not None:
            text = self._block.add(text)
            fragments = [text]
        if text:
            self._tail = text[-1]
        if self._end == "\0" and "\0" in text:
            self._source.output.fail(OutputError("the text contains a NUL", advice="use --json instead of -0"))
        return fragments

    def _watch_tags(self, text: str) -> None:
        if self._watch is None:
            if "<" not in text:
                return
            from ostream.cli.think_tags import ThinkTagWatch

            self._watch = ThinkTagWatch(self._diagnostics)
        self._watch.add(text)

    def _rest(self) -> str:
        """Return the last line of a code block that the response did not close; "" if there is none."""
        rest = self._block.end() if self._block is not None else ""
        if rest:
            self._tail = rest[-1]
        return rest

    def _report(self, item: Any) -> OstreamError | None:
        """Check a response that has ended; count and return its error, or return None.

        `item` is the failure that ended the response, or None. Only extract-content finds errors, and only in complete
        answers: the answer is empty, has no code block, or was truncated inside its code block by a length limit.
        """
        if self._watch is not None:
            self._watch.end()
        last = self._last or {}
        error: OstreamError | None = None
        self._latest = None
        if item is not None or not self._is_content:
            return None
        if not (self._has_text or self._has_calls or self._has_image):
            from ostream.protocol.emptiness import empty_error

            error = empty_error(last, self._has_thinking)
        elif self._block is not None and not self._block.found:
            error = EmptyError("no code block in the answer", advice="leave out -x to print the complete text")
        elif self._block is not None and not self._block.closed and last.get("done_reason") == "length":
            error = LengthError(
                "the answer was truncated inside its code block", advice="raise num_predict or num_ctx with --option"
            )
        if error is not None:
            known, ids, count = self._problems.get(error.error, (error, [], 0))
            if "id" in last and len(ids) < _IDS:
                ids.append(shown_id(last["id"]))
            self._problems[error.error] = known, ids, count + 1
        self._latest = error
        return error

    def _withdraw(self, status: int) -> None:
        """Withdraw the error of the previous response, if the error line after it has the same status.

        The error line then reports the same failure: `send --fail-on-empty` or `--fail-on-length` has written it.
        """
        error, self._latest = self._latest, None
        if error is not None and error.exit_status == status:
            known, ids, count = self._problems.pop(error.error)
            if count > 1:
                self._problems[error.error] = known, ids[: count - 1], count - 1

    def _finish(self) -> int:
        for error, ids, count in self._problems.values():
            named = ", ".join(ids) + (f" and {count - len(ids):,} more" if ids and count > len(ids) else "")
            if count > 1:
                error.error += f" ({count:,} responses{': id ' if ids else ''}{named})"
            elif ids:
                error.error = f"id {named}: {error.error}"
            error.args = (error.error,)
            self._source.fail_at_end(error)
        return self._source.finish()


def _without_item(run: Run) -> tuple[Sequence[Chunk], ErrorItem | MessageItem | None]:
    """Return the chunks of a run, and the failure or message line that ends the run (None if a chunk ends it)."""
    item: Any = run[-1]
    chunks: Any = run
    return (chunks[:-1], item) if isinstance(item, (ErrorItem, MessageItem)) else (chunks, None)


def _any_image(chunks: Sequence[Chunk]) -> bool:
    from ostream.protocol.emptiness import has_image

    return any(map(has_image, chunks))
