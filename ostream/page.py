"""A stream as a person wants to read it: thinking set apart, then the answer, tool calls, messages. Text only."""

from __future__ import annotations

import json

from ostream.chunk import content, thinking, tool_calls
from ostream.metrics import show_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Mapping, Tuple

    # What to write, and whether it is said in passing: dim, where that can be shown.
    Parts = List[Tuple[str, bool]]

_HEADINGS = {"thinking": "Thinking:\n\n", "answer": "Answer:\n\n", "calls": "Tool calls:\n\n"}


class Page:
    """Turns chunks and message lines into parts. `headings`: name the sections in words, for want of dim text."""

    def __init__(self, headings: bool) -> None:
        self._headings = headings
        self._section = ""
        self._end = "\n\n"  # the end of what was written, as far as it matters for blank lines
        self._sections = 0

    def chunk(self, chunk: Mapping[str, Any]) -> Parts:
        """What this chunk adds."""
        parts: Parts = []
        self._add(parts, "thinking", thinking(chunk), aside=True)
        self._add(parts, "answer", content(chunk))
        for call in tool_calls(chunk):
            self._add(parts, "calls", _call(call))
        return parts

    def message(self, message: Mapping[str, Any]) -> Parts:
        """A message line, whole."""
        role = " ".join(str(message[key]) for key in ("role", "tool_name") if message.get(key))
        text = message.get("content")
        parts: Parts = []
        self._break(parts)
        parts.append((f"{role}: {text if isinstance(text, str) else ''}", False))
        for call in tool_calls(message):
            parts.append(("\n" + _call(call).rstrip("\n"), False))
        self._wrote(parts)
        return parts + self.end()

    def footer(self, text: str) -> Parts:
        """A line below a response."""
        return [("\n" + text + "\n", True)]

    def end(self) -> Parts:
        """The end of a response: of its last line too."""
        self._section, self._sections = "", 0
        parts: Parts = [] if self._end.endswith("\n") else [("\n", False)]
        self._wrote(parts)
        return parts

    def _add(self, parts: Parts, section: str, text: str, aside: bool = False) -> None:
        if not text:
            return
        if section != self._section:
            self._break(parts)
            self._section = section
            self._sections += 1
            # An answer alone needs no heading.
            if self._headings and (section != "answer" or self._sections > 1):
                parts.append((_HEADINGS[section], False))
        parts.append((text, aside))
        self._wrote(parts)

    def _break(self, parts: Parts) -> None:
        """A blank line between what was and what comes."""
        missing = "\n\n"[len(self._end) - len(self._end.rstrip("\n")) :]
        if missing:
            parts.append((missing, False))

    def _wrote(self, parts: Parts) -> None:
        for text, _ in parts[-1:]:
            self._end = (self._end + text)[-2:]


def _call(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, dict):
        return "a tool call without a function\n"
    arguments = function.get("arguments")
    shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f"{function.get('name')} {shown}\n"


def footer(measured: Mapping[str, Any]) -> str:
    """The numbers that a person asks for, on one line."""
    known = []
    if measured["eval_count"] is not None:
        known.append(f"{measured['eval_count']} tokens")
    if measured["eval_rate"] is not None:
        known.append(f"{measured['eval_rate']:.1f} tokens/s")
    if measured["time_to_first_token"] is not None:
        known.append(f"first token after {show_duration(measured['time_to_first_token'])}")
    if measured["done_reason"] not in (None, "stop"):
        known.append(f"ended by {measured['done_reason']}")
    return ", ".join(known) or "no numbers"
