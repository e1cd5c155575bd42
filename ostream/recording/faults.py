"""Failures to inject into a recorded answer, so that people can test how their own scripts fail."""

from __future__ import annotations

import re

from ostream.protocol.ndjson import encode_line
from ostream.recording.format import JSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.recording.format import RecordedExchange

# What replay's help says of them.
FAULT_KINDS = "eof (no done), reset (connection), error (line) or stall, after K lines of each answer; or status:CODE"


class Fault:
    """`kind` is eof, reset, error, stall or status; `number` the lines before it, or the HTTP status.

    It comes instead of what would follow those lines; an answer of fewer lines stays as it is.
    """

    def __init__(self, kind: str, number: int) -> None:
        self.kind = kind
        self.number = number

    def inject(self, exchange: RecordedExchange) -> None:
        """Make this exchange fail."""
        if self.kind == "status":
            exchange.status, exchange.content_type = self.number, JSON
            exchange.lines = [(_error("an injected HTTP status"), 0)]
            exchange.ending = "end"
        elif self.number <= len(exchange.lines):
            exchange.lines = exchange.lines[: self.number]
            exchange.ending = self.kind if self.kind in ("reset", "stall") else "end"
            if self.kind == "error":
                exchange.lines.append((_error("an injected error"), exchange.elapsed_ns))


def _error(text: str) -> bytes:
    return encode_line({"error": text})


def parse_fault(text: str) -> Fault:
    """A fault by its name: `eof:3`, `status:503`. Raises ValueError."""
    match = re.fullmatch(r"(eof|reset|error|stall):(\d{1,9})|status:([45]\d\d)", text, re.ASCII)
    if not match:
        raise ValueError
    return Fault(match[1] or "status", int(match[2] or match[3]))
