"""The answer that everything happens to, and what a reader must make of lines: written without ostream."""

from __future__ import annotations

import json
from typing import Any, Iterable


def line(**fields: Any) -> bytes:
    """One chunk line, as compact and unescaped as the real server's."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def said(content: str, **more: Any) -> bytes:
    """A chunk line with a fragment of content; `more` stands behind it in the message."""
    return line(model="m", message={"role": "assistant", "content": content, **more}, done=False)


HM = said("", thinking="hm")
A = said("a😀")
B = said(" b")
DONE = line(model="m", message={"role": "assistant", "content": ""}, done=True, done_reason="stop", eval_count=3)
LINES = (HM, A, B, DONE)
ANSWER = b"".join(LINES)


class Response:
    """What lines say until they are done, or no more come."""

    def __init__(self) -> None:
        self.content = ""
        self.thinking = ""
        self.chunks: list[dict[str, Any]] = []
        self.complete = False


def responses(lines: Iterable[bytes]) -> list[Response]:
    """The responses in lines; those behind a line that is not JSON are lost."""
    found: list[Response] = []
    for each in lines:
        text = each.decode(errors="replace").strip("\ufeff \t\r\n")
        if not text:
            continue
        try:
            value = json.loads(text, parse_constant=_refuse)
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


def _refuse(name: str) -> None:
    raise ValueError(name)


def printable(text: str) -> str:
    """With U+FFFD for half a character."""
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)


def lines_of(text: str) -> str:
    """As the filters end a response's text."""
    return text if not text or text.endswith("\n") else text + "\n"
