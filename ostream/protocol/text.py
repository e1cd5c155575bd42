"""Text out of text, as it streams: what lies between think tags, and the first fenced code block."""

from __future__ import annotations

import re

from ostream.protocol.chunk import content, thinking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_OPEN, _CLOSE = "<think>", "</think>"
# A fence may stand under a list item, so any indent will do.
_FENCE = re.compile(r"( *)(`{3,}(?=[^`]*$)|~{3,})")


class ThinkTagSplitter:
    """Parts the content of one response into thinking and answer, for servers that leave the tags in the text.

    Only a block at the start counts. Without `<think>` there, everything before the first `</think>` is thinking:
    some templates put the opening tag into the prompt; the text is then held until that is known.
    """

    def __init__(self) -> None:
        self._state = self._start
        self._held: list[str] = []
        self._edge = ""  # the end of the text so far, as far as it may be the beginning of a tag

    def add(self, text: str) -> tuple[str, str]:
        """The thinking and the answer that this fragment settles."""
        return self._state(text)

    def end(self) -> tuple[str, str]:
        """What was still held: thinking if a block was open, else answer."""
        held = "".join(self._held) + self._edge
        return (held, "") if self._state == self._thinking else ("", held)

    def _start(self, text: str) -> tuple[str, str]:
        self._edge += text
        seen = self._edge.lstrip()
        if len(seen) < len(_OPEN) and _OPEN.startswith(seen):
            return "", ""
        text, self._edge = self._edge, ""
        if seen.startswith(_OPEN):
            self._state = self._thinking
            return self._thinking(seen[len(_OPEN) :])
        self._state = self._undecided
        return self._undecided(text)

    def _thinking(self, text: str) -> tuple[str, str]:
        before, found, after = self._until_close(text)
        return self._close(before, after) if found else (before, "")

    def _undecided(self, text: str) -> tuple[str, str]:
        before, found, after = self._until_close(text)
        self._held.append(before)
        if not found:
            return "", ""
        held, self._held = "".join(self._held), []
        return self._close(held, after)

    def _until_close(self, text: str) -> tuple[str, str, str]:
        before, found, after = (self._edge + text).partition(_CLOSE)
        self._edge = ""
        if not found:
            for size in range(min(len(_CLOSE) - 1, len(before)), 0, -1):
                if before.endswith(_CLOSE[:size]):
                    before, self._edge = before[:-size], before[-size:]
                    break
        return before, found, after

    def _close(self, thinking: str, after: str) -> tuple[str, str]:
        self._state = self._gap
        return thinking, self._gap(after)[1]

    def _gap(self, text: str) -> tuple[str, str]:
        text = text.lstrip()  # as the server does between reasoning and answer
        if text:
            self._state = self._answer
        return "", text

    def _answer(self, text: str) -> tuple[str, str]:
        return "", text


class FirstCodeBlock:
    """The lines inside the first fenced code block of one response, each as soon as it is whole."""

    def __init__(self) -> None:
        self.found = False
        self._fence: re.Match[str] | None = None
        self._line: list[str] = []
        self._closed = False

    def add(self, text: str) -> str:
        head, newline, rest = text.rpartition("\n")
        if not newline:
            self._line.append(text)
            return ""
        lines = "".join([*self._line, head]).split("\n")
        self._line = [rest]
        return "".join(self._take(line + "\n") for line in lines)

    def end(self) -> str:
        return self._take("".join(self._line))

    def _take(self, line: str) -> str:
        if self._closed:
            return ""
        if self._fence is None:
            self._fence = _FENCE.match(line.rstrip())
            self.found = self._fence is not None
            return ""
        indent, fence = self._fence.groups()
        bare = line.strip()
        # CommonMark's three spaces: what stands further in belongs to the code, as in a docstring.
        if len(bare) >= len(fence) and bare == fence[0] * len(bare) and _indent(line) <= len(indent) + 3:
            self._closed = True
            return ""
        # An indented fence, as under a list item, indents its code by as much.
        return line[len(indent) :] if line.startswith(indent) else line.lstrip(" ")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


class TextSelector:
    """A view of the chunks, as `content` and `thinking` are, for text that must be parted first.

    `end()` gives what was held of a response and makes ready for the next.
    """

    def __init__(self, what: str, think_tags: bool, code: bool, note: Callable[[str], None]) -> None:
        self._what = what
        self._think_tags = think_tags
        self._code = code
        self._note = note
        self._begin()

    def _begin(self) -> None:
        self._tags = ThinkTagSplitter() if self._think_tags else None
        self._fence = FirstCodeBlock() if self._code else None

    def add(self, chunk: dict[str, Any]) -> str:
        if self._what == "thinking":
            return thinking(chunk) + (self._tags.add(content(chunk))[0] if self._tags else "")
        text = content(chunk)
        if self._tags:
            text = self._tags.add(text)[1]
        return self._fence.add(text) if self._fence else text

    def end(self) -> str:
        reasoning, text = self._tags.end() if self._tags else ("", "")
        if self._fence:
            text = self._fence.add(text) + self._fence.end()
            if not self._fence.found:
                self._note("no fenced code block in the answer; without -x the whole text is printed")
        self._begin()
        return reasoning if self._what == "thinking" else text
