"""Separate the thinking in <think> tags from the answer (--think-tags), or print a note if </think> appears."""

from __future__ import annotations

from ostream.cli.filter_input import ErrorItem, MessageItem
from ostream.cli.filter_options import OPENED
from ostream.protocol.text import CLOSE_TAG, OPEN_TAG, ThinkTagRewriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

    from ostream.cli.filter_input import Run
    from ostream.system.diagnostics import Diagnostics


def split_think_tags(runs: Iterator[list[Run]], value: str) -> Iterator[list[Run]]:
    """Yield the runs with the text inside <think> tags moved to the thinking. `value` is the value of --think-tags."""
    rewriter = ThinkTagRewriter(opened=value == OPENED)
    for block in runs:
        yield [_rewrite(run, rewriter) for run in block]


def _rewrite(run: Run, rewriter: ThinkTagRewriter) -> Run:
    rewritten: list[Any] = []
    for item in run:
        if isinstance(item, ErrorItem):
            rest = rewriter.end()
            rewritten += [rest, item] if rest else [item]
        else:
            rewritten.append(item if isinstance(item, MessageItem) else rewriter.chunk(item))
    return rewritten


class ThinkTagWatch:
    """Prints one note when the text of an answer contains </think>, which is probably unwanted there."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        self._diagnostics = diagnostics
        self._noted = False
        self._start = ""
        self._tail = ""

    def add(self, text: str) -> None:
        """Search for the tag in `text`, a part of the answer. The tag may be split over several calls."""
        if self._noted:
            return
        if len(self._start) < 64:
            self._start += text[:64].lstrip()
        if CLOSE_TAG in text or CLOSE_TAG in self._tail + text[: len(CLOSE_TAG)]:
            self._noted = True
            option = "--think-tags" if self._start.startswith(OPEN_TAG) else f"--think-tags={OPENED}"
            self._diagnostics.note(f"the answer contains {CLOSE_TAG}; use {option} to separate its thinking")
        self._tail = (self._tail + text)[-len(CLOSE_TAG) :]

    def end(self) -> None:
        """Forget the text of the response that has ended."""
        self._start = self._tail = ""
