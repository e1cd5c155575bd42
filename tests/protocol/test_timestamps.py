"""RFC 3339 times."""

from __future__ import annotations

from typing import Any

import pytest

from ostream.protocol.timestamps import timestamps

TIMES = [
    ("1970-01-01T00:00:01Z", 1_000_000_000),
    ("1970-01-01T00:00:01.5Z", 1_500_000_000),
    ("1970-01-01T00:00:00.123456789Z", 123_456_789),
    ("1970-01-01T02:00:00.5+02:00", 500_000_000),
    ("0001-01-01T00:00:00Z", -62_135_596_800_000_000_000),
    ("2026-13-01T00:00:00Z", None),
    ("1970-01-01T00:00:00.1234567890Z", None),
    ("1970-01-01T00:00:00.٣Z", None),
    ("1970-01-01 00:00:00.5Z", None),
    ("1970-01-01T00:00:00.Z", None),
    ("yesterday", None),
    (None, None),
    (7, None),
]


@pytest.mark.parametrize(("created_at", "ns"), TIMES)
def test_timestamp_reads_rfc_3339_with_up_to_nine_digits(created_at: Any, ns: int | None) -> None:
    assert timestamps([created_at]) == [ns]


def test_times_are_converted_together_as_they_are_one_by_one() -> None:
    values, expected = zip(*TIMES)
    assert timestamps(values) == [*expected]
    of_ollama = [f"1970-01-01T00:{minute:02}:07.{minute}Z" for minute in range(60)] * 2
    of_ollama += [f"1970-01-01T01:{minute:02}:07.{minute}Z" for minute in range(60)]
    assert timestamps(of_ollama) == [timestamps([value])[0] for value in of_ollama]
