"""Faults: what their names say, and what they make of a recorded answer."""

from __future__ import annotations

import pytest

from ostream.recording.faults import parse_fault
from ostream.recording.format import JSON, NDJSON, RecordedExchange

NAMES = [
    ("eof:0", "eof", 0),
    ("reset:12", "reset", 12),
    ("error:999999999", "error", 999_999_999),
    ("stall:007", "stall", 7),
    ("status:400", "status", 400),
    ("status:599", "status", 599),
]


@pytest.mark.parametrize(("text", "kind", "number"), NAMES)
def test_a_name_is_a_kind_and_a_number(text: str, kind: str, number: int) -> None:
    seen = parse_fault(text)
    assert (seen.kind, seen.number) == (kind, number)


WRONG = ["", "eof", "eof:", "eof:-1", "eof:1.5", "eof:x", "eof:1 ", " eof:1", "eof:1\n", "EOF:1", "eof:²", "eof:1:2"]
WRONG += ["eof:9999999999", "halt:1", "status:", "status:200", "status:399", "status:600", "status:4000", "status:40"]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_fault(text)


A, B = (b'{"a":1}\n', 10), (b'{"b":1}\n', 20)
ERROR = b'{"error":"an injected error"}\n'
REFUSED = (503, JSON, [(b'{"error":"an injected HTTP status"}\n', 0)], "end")
INJECTED = [
    # the fault, the ending of the answer, what it is then: status, type, lines, ending
    ("eof:0", "end", (200, NDJSON, [], "end")),
    ("eof:1", "end", (200, NDJSON, [A], "end")),
    ("eof:2", "cut", (200, NDJSON, [A, B], "end")),
    ("eof:3", "cut", (200, NDJSON, [A, B], "cut")),
    ("reset:1", "end", (200, NDJSON, [A], "reset")),
    ("reset:2", "end", (200, NDJSON, [A, B], "reset")),
    ("reset:3", "end", (200, NDJSON, [A, B], "end")),
    ("stall:0", "end", (200, NDJSON, [], "stall")),
    ("error:0", "end", (200, NDJSON, [(ERROR, 0)], "end")),
    ("error:1", "cut", (200, NDJSON, [A, (ERROR, 10)], "end")),
    ("status:503", "cut", REFUSED),
]


@pytest.mark.parametrize(("text", "ending", "expected"), INJECTED)
def test_what_becomes_of_an_answer(text: str, ending: str, expected: object) -> None:
    exchange = RecordedExchange("/api/chat")
    exchange.lines, exchange.ending = [A, B], ending
    parse_fault(text).inject(exchange)
    assert (exchange.status, exchange.content_type, exchange.lines, exchange.ending) == expected
