"""Format a stream for people to read: thinking, answer, tool calls and messages, as spans of text."""

from __future__ import annotations

from ostream.protocol.chunk import content, thinking, tool_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

    from ostream.system.output import Spans

_HEADINGS = {"thinking": "Thinking:\n\n", "answer": "Answer:\n\n", "calls": "Tool calls:\n\n"}


class Transcript:
    """Formats chunks and message lines as spans.

    `headings` adds a heading such as "Thinking:" to each section; it is for outputs that can't show dim text.
    """

    def __init__(self, headings: bool) -> None:
        self._headings = headings
        self._section = ""
        self._end = "\n\n"  # the last two characters returned: they show how many line ends a blank line needs
        self._sections = 0

    def answer(self, text: str) -> Spans:
        """Return the spans for `text`, a part of the answer."""
        spans: Spans = []
        self._add(spans, "answer", text)
        return spans

    def chunk(self, chunk: Mapping[str, Any]) -> Spans:
        """Return the spans for a chunk: its thinking, text and tool calls."""
        spans: Spans = []
        self._add(spans, "thinking", thinking(chunk), dim=True)
        self._add(spans, "answer", content(chunk))
        for call in tool_calls(chunk):
            self._add(spans, "calls", _call(call))
        return spans

    def message(self, message: Mapping[str, Any]) -> Spans:
        """Return the spans for a message line."""
        role = " ".join(str(message[key]) for key in ("role", "tool_name") if message.get(key))
        text = message.get("content")
        spans: Spans = []
        self._break(spans)
        spans.append((f"{role}: {text if isinstance(text, str) else ''}", False))
        for call in tool_calls(message):
            spans.append(("\n" + _call(call).rstrip("\n"), False))
        self._wrote(spans)
        return spans + self.end()

    def footer(self, text: str) -> Spans:
        """Return the spans for a dim line below a response."""
        return [("\n" + text + "\n", True)]

    def end(self) -> Spans:
        """End a response. Returns the spans to write: a line end if the last line has none."""
        self._section, self._sections = "", 0
        spans: Spans = [] if self._end.endswith("\n") else [("\n", False)]
        self._wrote(spans)
        return spans

    def _add(self, spans: Spans, section: str, text: str, dim: bool = False) -> None:
        if not text:
            return
        if section != self._section:
            self._break(spans)
            self._section = section
            self._sections += 1
            # An answer that is the first section of its response needs no heading.
            if self._headings and (section != "answer" or self._sections > 1):
                spans.append((_HEADINGS[section], False))
        spans.append((text, dim))
        self._wrote(spans)

    def _break(self, spans: Spans) -> None:
        """Add the line ends that make a blank line before a new section."""
        missing = "\n\n"[len(self._end) - len(self._end.rstrip("\n")) :]
        if missing:
            spans.append((missing, False))

    def _wrote(self, spans: Spans) -> None:
        for text, _ in spans[-1:]:
            self._end = (self._end + text)[-2:]


def _call(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, dict):
        return "a tool call without a function\n"
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        import json

        arguments = json.dumps(arguments, ensure_ascii=False)
    return f"{function.get('name')} {arguments}\n"


def footer(measured: Mapping[str, Any]) -> str:
    """Return the most useful numbers of `measured`, the metrics of a response, as one line of text."""
    from ostream.protocol.metrics import show_duration

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
