"""Faults: their notation, and the response that each makes of a recorded one."""

from __future__ import annotations

import pytest

from ostream.recording.faults import parse_fault
from ostream.recording.format import COMPLETE, JSON, NDJSON, TRUNCATED, RecordedExchange

NOTATION = [
    ("eof:0", "eof", 0, None),
    ("reset:12", "reset", 12, None),
    ("error:999999999@1", "error", 999_999_999, 1),
    ("stall@20", "stall", 0, 20),
    ("status:599@3", "status", 599, 3),
]


@pytest.mark.parametrize(("text", "kind", "number", "request_number"), NOTATION)
def test_a_fault_is_a_kind_a_number_and_a_request(
    text: str, kind: str, number: int, request_number: int | None
) -> None:
    fault = parse_fault(text)
    assert (fault.kind, fault.number, fault.request) == (kind, number, request_number)


WRONG = ["", "eof:", "eof:-1", "eof:1.5", " eof:1", "eof:1\n", "EOF:1", "eof:²", "eof:1:2", "eof@0", "eof:9999999999"]
WRONG += ["halt:1", "status", "status:399", "status:600", "status:40", "eof@x"]


@pytest.mark.parametrize("text", WRONG)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_fault(text)


A, B = (b'{"a":1}\n', 10), (b'{"b":1}\n', 20)
ERROR = b'{"error":"an injected error"}\n'
INJECTED = [
    # the fault, the lines and the ending of the response it makes of A and B; None: it does not apply
    ("eof:0", [], COMPLETE),
    ("eof:1", [A], COMPLETE),
    ("eof:2", None, ""),
    ("reset:2", [A, B], "reset"),
    ("reset:3", None, ""),
    ("stall:0", [], "stall"),
    ("error:1", [A, (ERROR, 10)], COMPLETE),
]


@pytest.mark.parametrize(("text", "lines", "ending"), INJECTED)
def test_a_fault_replaces_the_lines_from_its_number_on(text: str, lines: list[object] | None, ending: str) -> None:
    exchange = RecordedExchange("/api/chat")
    exchange.lines, exchange.ending = [A, B], TRUNCATED
    fault = parse_fault(text)
    assert fault.applies_to(exchange) is (lines is not None)
    if lines is not None:
        failed = fault.inject(exchange)
        assert (failed.status, failed.content_type, failed.lines, failed.ending) == (200, NDJSON, lines, ending)
    assert (exchange.lines, exchange.ending) == ([A, B], TRUNCATED)


def test_a_status_and_an_immediate_reset_need_no_recording() -> None:
    status, reset = parse_fault("status:503@2"), parse_fault("reset")
    assert not status.needs_recording
    assert not reset.needs_recording
    assert parse_fault("reset:1").needs_recording
    refused = status.response("/x")
    assert (refused.status, refused.content_type) == (503, JSON)
    assert refused.lines == [(b'{"error":"an injected HTTP status"}\n', 0)]
    assert reset.response("/x").ending == "reset"
    assert str(status) == "status:503@2"
