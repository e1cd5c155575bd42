"""Failures to inject into replayed responses, to test how a program handles them."""

from __future__ import annotations

import copy
import re

from ostream.protocol.ndjson import encode_line
from ostream.recording.format import COMPLETE, JSON, RecordedExchange

# Shell completion offers these for `replay --fault`.
FAULT_KINDS = ("eof", "reset", "error", "stall", "status")
FAULT_FORMS = "eof, reset, error or stall with :K, or status:CODE, optionally with @N"


class Fault:
    """A failure to inject into a response.

    Arguments:
        kind: one of FAULT_KINDS: "eof" ends the response early, "reset" resets the connection, "error" sends an error
            line, "stall" sends nothing more, and "status" sends an HTTP error status.
        number: for "status", the HTTP status; for the other kinds, the number of lines to send before the failure.
        request: the number of the request that fails, counted from 1; None means every request.
    """

    def __init__(self, kind: str, number: int = 0, request: int | None = None) -> None:
        self.kind = kind
        self.number = number
        self.request = request

    def __str__(self) -> str:
        request = f"@{self.request}" if self.request else ""
        return f"{self.kind}:{self.number}{request}"

    @property
    def needs_recording(self) -> bool:
        """False if the failure needs no line of a recorded response: `status`, and `reset` before the first line."""
        return not (self.kind == "status" or (self.kind == "reset" and not self.number))

    def applies_to(self, exchange: RecordedExchange) -> bool:
        """True if the failure changes this response. A response with too few lines is sent unchanged."""
        return self.number < len(exchange.lines) + (self.kind != "eof")

    def inject(self, exchange: RecordedExchange) -> RecordedExchange:
        """Return a copy of a recorded exchange that fails after `number` lines."""
        failed = copy.copy(exchange)
        failed.lines = exchange.lines[: self.number]
        failed.ending = self.kind if self.kind in ("reset", "stall") else COMPLETE
        if self.kind == "error":
            failed.lines.append((_error("an injected error"), failed.elapsed_ns))
        return failed

    def response(self, path: str) -> RecordedExchange:
        """Return the response for a fault that needs no recording. `path` is the path of the request."""
        failed = RecordedExchange(path, status=self.number or 200, content_type=JSON)
        if self.kind == "status":
            failed.status = self.number
            failed.lines = [(_error("an injected HTTP status"), 0)]
        else:
            failed.ending = "reset"
        return failed


def _error(text: str) -> bytes:
    return encode_line({"error": text})


def parse_fault(text: str) -> Fault:
    """Parse KIND[:K][@N], for example `eof:3`, `status:503@1` or `stall`. Raises ValueError with a message."""
    match = re.fullmatch(
        r"(?:(eof|reset|error|stall)(?::(\d{1,9}))?|status:([45]\d\d))(?:@([1-9]\d{0,8}))?", text, re.ASCII
    )
    if not match:
        raise ValueError(f"fault {text!r}: must be {FAULT_FORMS}")
    return Fault(match[1] or "status", int(match[2] or match[3] or 0), int(match[4]) if match[4] else None)
