"""The notation of faults; commands/test_replay_faults.py shows what each does."""

from __future__ import annotations

import pytest

from ostream.recording.faults import parse_fault

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
