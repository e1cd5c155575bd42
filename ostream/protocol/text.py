"""Separate <think> tags from an answer and find its first fenced code block, while the text streams."""

from __future__ import annotations

import re

from ostream.protocol.chunk import content, thinking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPEN_TAG, CLOSE_TAG = "<think>", "</think>"
# White space before the first character that is kept until it is known whether <think> follows.
_LEADING_SPACE = 1 << 16
# A fence may be below a list item, so any indentation is allowed.
_FENCE = re.compile(r"( *)(`{3,}(?=[^`]*$)|~{3,})")


class ThinkTagSplitter:
    """Split the content of one response into thinking and answer.

    Only a block at the start counts. Text is returned as soon as its first characters show whether it begins with
    <think>. With `opened` the answer begins inside the block: some templates put the opening tag into the prompt.
    """

    def __init__(self, opened: bool = False) -> None:
        self._opened = opened
        self._state = self._start
        self._space: list[str] = []
        self._space_size = 0
        self._partial = ""  # the end of the text so far that may be the beginning of a tag

    def add(self, text: str) -> tuple[str, str]:
        """Return the thinking and the answer that are known with this fragment."""
        return self._state(text)

    def end(self) -> tuple[str, str]:
        """Return the rest: thinking if a block is open, else answer."""
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
        text = text.lstrip()  # as the server does between thinking and answer
        if text:
            self._state = self._answer
        return "", text

    def _answer(self, text: str) -> tuple[str, str]:
        return "", text


class ThinkTagRewriter:
    """Move the text inside <think> tags from the content of chunks to their thinking, one response after the other."""

    def __init__(self, opened: bool = False) -> None:
        self._opened = opened
        self._splitter = ThinkTagSplitter(opened)
        self._is_chat = True

    def chunk(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """Return `chunk` as a server would have sent it without tags. After "done": true a new response begins."""
        self._is_chat = isinstance(chunk.get("message"), dict)
        thought, answer = self._splitter.add(content(chunk))
        if chunk.get("done") is True:
            rest = self._splitter.end()
            thought, answer = thought + rest[0], answer + rest[1]
            self._splitter = ThinkTagSplitter(self._opened)
        return self._with_text(chunk, thinking(chunk) + thought, answer)

    def end(self) -> dict[str, Any] | None:
        """Return the rest of a response without "done": true as a chunk, if there is any; a new response begins."""
        thought, answer = self._splitter.end()
        self._splitter = ThinkTagSplitter(self._opened)
        return self._with_text({"message": {}} if self._is_chat else {}, thought, answer) if thought or answer else None

    def _with_text(self, chunk: dict[str, Any], thought: str, answer: str) -> dict[str, Any]:
        parts = {"thinking": thought} if thought else {}
        if self._is_chat:
            return {**chunk, "message": {**chunk["message"], "content": answer, **parts}}
        return {**chunk, "response": answer, **parts}


class FirstCodeBlock:
    """The lines inside the first fenced code block of one response, each as soon as it is complete."""

    def __init__(self) -> None:
        self.found = False
        self.closed = False
        self._fence: re.Match[str] | None = None
        self._line: list[str] = []

    def add(self, text: str) -> str:
        """Return the code that is complete with this fragment."""
        head, newline, rest = text.rpartition("\n")
        if not newline:
            self._line.append(text)
            return ""
        lines = "".join([*self._line, head]).split("\n")
        self._line = [rest]
        return "".join(self._take(line + "\n") for line in lines)

    def end(self) -> str:
        """Return the last line of a response that ends inside the block."""
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
        # CommonMark allows three spaces more; a fence with more belongs to the code, as in a docstring.
        if len(bare) >= len(fence) and bare == fence[0] * len(bare) and _indent(line) <= len(indent) + 3:
            self.closed = True
            return ""
        # The code below an indented fence, as under a list item, is indented by as much.
        return line[len(indent) :] if line.startswith(indent) else line.lstrip(" ")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
