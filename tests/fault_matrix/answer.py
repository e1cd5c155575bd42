"""The answer that the faults affect, and a reference decoder of lines that does not use ostream."""

from __future__ import annotations

import json
from typing import Any, Iterable


def line(**fields: Any) -> bytes:
    """A chunk line, compact and unescaped as Ollama's."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def content_line(content: str, **more: Any) -> bytes:
    """A chunk line with a fragment of content; `more` adds fields to the message."""
    return line(model="m", message={"role": "assistant", "content": content, **more}, done=False)


HM = content_line("", thinking="hm")
A = content_line("a😀")
B = content_line(" b")
DONE = line(model="m", message={"role": "assistant", "content": ""}, done=True, done_reason="stop", eval_count=3)
LINES = (HM, A, B, DONE)
ANSWER = b"".join(LINES)


class Response:
    """One response, complete or not."""

    def __init__(self) -> None:
        self.content = ""
        self.thinking = ""
        self.chunks: list[dict[str, Any]] = []
        self.complete = False


def responses(lines: Iterable[bytes]) -> list[Response]:
    """Decode responses from lines, up to a line that is not JSON."""
    found: list[Response] = []
    for each in lines:
        text = each.decode(errors="replace").strip("\ufeff \t\r\n")
        if not text:
            continue
        try:
            value = json.loads(text, parse_constant=_reject_constant)
        except (ValueError, RecursionError):
            break
        if not found or found[-1].complete:
            found.append(Response())
        response = found[-1]
        message = value.get("message") or {}
        response.content += printable(message.get("content") or value.get("response") or "")
        response.thinking += printable(message.get("thinking") or "")
        response.chunks.append(value)
        response.complete = value.get("done") is True
    return found


def _reject_constant(name: str) -> None:
    raise ValueError(name)


def printable(text: str) -> str:
    """Replace lone surrogates by U+FFFD."""
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)


def with_newline(text: str) -> str:
    """End the text of a response with a newline, as the filters do."""
    return text if not text or text.endswith("\n") else text + "\n"
