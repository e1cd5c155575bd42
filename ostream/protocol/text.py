"""Separate the text in <think> tags from an answer, and extract its first fenced code block, as text arrives."""

from __future__ import annotations

import re

from ostream.protocol.chunk import content, thinking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPEN_TAG, CLOSE_TAG = "<think>", "</think>"
# How many characters of leading white space are kept until it is known whether <think> follows.
_LEADING_SPACE = 1 << 16
# Any indentation is allowed, because a fence may be inside a list item.
_FENCE = re.compile(r"( *)(`{3,}(?=[^`]*$)|~{3,})")


class ThinkTagSplitter:
    """Splits the content of one response into thinking and answer.

    Only a <think> block at the start of the content is recognised. Text is returned as soon as its first characters
    show whether it begins with <think>. If `opened` is True, the content begins inside the block. This is needed if the
    template of the model puts the opening tag into the prompt.
    """

    def __init__(self, opened: bool = False) -> None:
        self._opened = opened
        self._state = self._start
        self._space: list[str] = []
        self._space_size = 0
        self._partial = ""  # the last characters of the text so far, if they may be the beginning of a tag

    def add(self, text: str) -> tuple[str, str]:
        """Add a fragment of text. Return the (thinking, answer) that can be assigned after this fragment."""
        return self._state(text)

    def end(self) -> tuple[str, str]:
        """Return the remaining text as (thinking, answer). It is thinking if the block has not been closed."""
        rest = "".join(self._space) + self._partial
        self._space, self._partial = [], ""
        return (rest, "") if self._state == self._thinking or self._opened else ("", rest)

    def _start(self, text: str) -> tuple[str, str]:
        if not self._partial:
            bare = text.lstrip()
            self._space.append(text[: len(text) - len(bare)])
            self._space_size += len(text) - len(bare)
            text = bare
        seen = self._partial + text
        if len(seen) < len(OPEN_TAG) and OPEN_TAG.startswith(seen) and self._space_size <= _LEADING_SPACE:
            self._partial = seen
            return "", ""
        space, self._space, self._partial = "".join(self._space), [], ""
        if seen.startswith(OPEN_TAG):
            self._state = self._thinking
            return self._thinking(seen[len(OPEN_TAG) :])
        self._state = self._thinking if self._opened else self._answer
        return self._state(space + seen)

    def _thinking(self, text: str) -> tuple[str, str]:
        before, found, after = (self._partial + text).partition(CLOSE_TAG)
        self._partial = ""
        if found:
            self._state, self._opened = self._gap, False
            return before, self._gap(after)[1]
        for size in range(min(len(CLOSE_TAG) - 1, len(before)), 0, -1):
            if before.endswith(CLOSE_TAG[:size]):
                before, self._partial = before[:-size], before[-size:]
                break
        return before, ""

    def _gap(self, text: str) -> tuple[str, str]:
        text = text.lstrip()  # the server also removes white space between thinking and answer
        if text:
            self._state = self._answer
        return "", text

    def _answer(self, text: str) -> tuple[str, str]:
        return "", text


class ThinkTagRewriter:
    """Moves the text in <think> tags from the content of chunks to their thinking.

    The chunks may belong to several responses, one after another.
    """

    def __init__(self, opened: bool = False) -> None:
        self._opened = opened
        self._splitter = ThinkTagSplitter(opened)
        self._is_chat = True

    def chunk(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """Return a copy of a chunk with its thinking separated from its content.

        The chunk after `"done": true` begins a new response.
        """
        self._is_chat = isinstance(chunk.get("message"), dict)
        thought, answer = self._splitter.add(content(chunk))
        if chunk.get("done") is True:
            rest = self._splitter.end()
            thought, answer = thought + rest[0], answer + rest[1]
            self._splitter = ThinkTagSplitter(self._opened)
        return self._with_text(chunk, thinking(chunk) + thought, answer)

    def end(self) -> dict[str, Any] | None:
        """End a response that has no `"done": true`. The next chunk begins a new response.

        Returns the remaining text as a chunk, or None if there is no text left.
        """
        thought, answer = self._splitter.end()
        self._splitter = ThinkTagSplitter(self._opened)
        return self._with_text({"message": {}} if self._is_chat else {}, thought, answer) if thought or answer else None

    def _with_text(self, chunk: dict[str, Any], thought: str, answer: str) -> dict[str, Any]:
        parts = {"thinking": thought} if thought else {}
        if self._is_chat:
            return {**chunk, "message": {**chunk["message"], "content": answer, **parts}}
        return {**chunk, "response": answer, **parts}


class FirstCodeBlock:
    """Extracts the lines inside the first fenced code block of one response, each line as soon as it is complete.

    Attributes:
        found: True if the block has begun.
        closed: True if the block has ended.
    """

    def __init__(self) -> None:
        self.found = False
        self.closed = False
        self._fence: re.Match[str] | None = None
        self._line: list[str] = []

    def add(self, text: str) -> str:
        """Add a fragment of text. Return the lines of code that this fragment completes."""
        head, newline, rest = text.rpartition("\n")
        if not newline:
            self._line.append(text)
            return ""
        lines = "".join([*self._line, head]).split("\n")
        self._line = [rest]
        return "".join(self._take(line + "\n") for line in lines)

    def end(self) -> str:
        """Return the last, unfinished line of code if the response ends inside the block, else ""."""
        return self._take("".join(self._line))

    def _take(self, line: str) -> str:
        if self.closed:
            return ""
        if self._fence is None:
            self._fence = _FENCE.match(line.rstrip())
            self.found = self._fence is not None
            return ""
        indent, fence = self._fence.groups()
        bare = line.strip()
        # CommonMark allows three additional spaces. A fence with more spaces is part of the code, for example in a
        # docstring.
        if len(bare) >= len(fence) and bare == fence[0] * len(bare) and _indent(line) <= len(indent) + 3:
            self.closed = True
            return ""
        # Code in an indented block, for example in a list item, has the indentation of its fence. It is removed.
        return line[len(indent) :] if line.startswith(indent) else line.lstrip(" ")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
