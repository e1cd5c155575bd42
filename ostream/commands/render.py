"""render: print a stream in a form that people can read."""

from __future__ import annotations

from ostream.cli.filter_input import ErrorItem, FilterInput, FilterOptions, MessageItem
from ostream.cli.transcript import Transcript, footer
from ostream.protocol.chunk import contents, has_only_content, thinking, tool_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

    from ostream.cli.filter_input import Run
    from ostream.cli.parser import Parser
    from ostream.cli.think_tags import ThinkTagWatch
    from ostream.protocol.metrics import Metrics
    from ostream.system.diagnostics import Diagnostics
    from ostream.system.output import Spans


class RenderOptions(FilterOptions):
    stats = False
    think_tags: str | None = None


def parser() -> Parser:
    from ostream.cli.filter_options import filter_options, think_tags_option
    from ostream.cli.parser import FILES, Option, Parser

    return Parser(
        "render",
        "[-w FILE] [--stats] [options] [FILE ...]",
        "A filter (streaming): writes each fragment as soon as it is read. Memory: one line.",
        "Print an NDJSON stream from Ollama in readable form: the thinking dimmed (in a pipe: under a heading), then "
        "the answer, tool calls, and message lines.",
        [
            "send -m qwen3 --think 'What is 17 × 23?' | render --stats",
            "send --think '17 × 23?' | render -w /dev/stderr | extract-content > FILE",
        ],
        [
            Option("--stats", help="add a line of numbers below each response"),
            think_tags_option(),
            *filter_options("the text"),
        ],
        FILES,
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    options = RenderOptions()
    return run(diagnostics, parser().parse(arguments, diagnostics, options) if arguments else options)


def run(diagnostics: Diagnostics, options: RenderOptions) -> int:
    source = FilterInput(diagnostics, options, with_messages=True, messages_suffice=True)
    runs = source.runs()
    if options.think_tags:
        from ostream.cli.think_tags import split_think_tags

        runs = split_think_tags(runs, options.think_tags)
    page = _Page(diagnostics, Transcript(headings=not source.output.styled), options.stats)
    for block in runs:
        spans: Spans = []
        for items in block:
            spans += page.spans(items)
        source.output.write_spans(spans)
    return source.finish()


class _Page:
    """Converts items to spans: the transcript and, with --stats, numbers. Prints notes about the answers."""

    def __init__(self, diagnostics: Diagnostics, transcript: Transcript, with_stats: bool) -> None:
        self._diagnostics = diagnostics
        self._transcript = transcript
        self._with_stats = with_stats
        self._watch: ThinkTagWatch | None = None
        self._is_shown = False  # chunks were printed, and no message line has followed
        self._begin()

    def _begin(self) -> None:
        self._metrics: Metrics | None = None
        self._has_text = self._has_thinking = False
        if self._with_stats:
            from ostream.protocol.metrics import Metrics

            self._metrics = Metrics()

    def spans(self, items: Run) -> Spans:
        """Return the spans for a run of items."""
        item: Any = items[-1]
        chunks: Any = items[:-1] if isinstance(item, (ErrorItem, MessageItem)) else items
        spans = self._chunks(chunks) if chunks else []
        if isinstance(item, MessageItem):
            # `send --run-tools` writes the chunks of an answer, then its message line. The answer is printed only once.
            if not (self._is_shown and item["role"] == "assistant"):
                spans += self._transcript.message(item)
            self._is_shown = False
        elif isinstance(item, ErrorItem):
            spans += self._transcript.end()
            self._begin()
        elif item.get("done") is True:
            spans += self._transcript.end()
            if self._metrics is not None:
                spans += self._transcript.footer(footer(self._metrics.as_dict()))
            if not self._has_text:
                self._note_empty(item)
            self._begin()
            if self._watch is not None:
                self._watch.end()
        return spans

    def _chunks(self, chunks: Sequence[dict[str, Any]]) -> Spans:
        self._is_shown = True
        fragments = contents(chunks)
        if self._metrics is not None:
            self._metrics.add_all(chunks, texts=fragments)
        text = "".join(fragments)
        if self._watch is not None or "<" in text:
            self._watch_tags(text)
        if not has_only_content(chunks):
            self._has_text = self._has_text or not (text == "" or text.isspace()) or any(map(tool_calls, chunks))
            self._has_thinking = self._has_thinking or any(map(thinking, chunks))
            return [span for chunk in chunks for span in self._transcript.chunk(chunk)]
        self._has_text = self._has_text or not (text == "" or text.isspace())
        try:
            text.encode()
        except UnicodeEncodeError:
            # Lone surrogates: in one string, two of them from different chunks could form one character, depending on
            # which chunks are in the same block. So each fragment is a separate span.
            return [span for fragment in fragments for span in self._transcript.answer(fragment)]
        return self._transcript.answer(text)

    def _watch_tags(self, text: str) -> None:
        if self._watch is None:
            from ostream.cli.think_tags import ThinkTagWatch

            self._watch = ThinkTagWatch(self._diagnostics)
        self._watch.add(text)

    def _note_empty(self, last: dict[str, Any]) -> None:
        from ostream.protocol.emptiness import empty_error, has_image

        error = None if has_image(last) else empty_error(last, self._has_thinking)
        if error is not None:
            self._diagnostics.note(error.error, kind=error.error)
