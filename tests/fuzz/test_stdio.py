"""Any text is encoded, any block written whole, any message one line, and the worst status wins in any order."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import STATUSES, OstreamError, worst
from ostream.protocol.ndjson import encode_line
from ostream.system.input import read_blocks
from ostream.system.output import Output, encode_text
from ostream.system.terminal import one_line
from tests.fuzz.given import LINES, TEXT

ANY = st.text(st.characters() | st.characters(categories=["Cs"]))


@given(st.lists(ANY, max_size=4), st.lists(LINES, max_size=4))
def test_what_is_written_is_read(texts: list[str], lines: list[bytes]) -> None:
    here, there = os.pipe()
    out = Output(there, "pipe")
    out.write_text(*texts)
    for data in lines:
        out.write_lines(data)
    os.close(there)
    read = b"".join(read_blocks(here, "pipe"))
    os.close(here)
    assert read == b"".join([*map(encode_text, texts), *lines])


@given(ANY, ANY, st.binary())
def test_a_message(text: str, advice: str, partial: Any) -> None:
    error = OstreamError(text, advice=advice)
    error.partial = partial
    line = encode_text(one_line(f"{error}; {error.advice}")).decode()
    assert len(line.splitlines()) <= 1
    assert encode_line(error.error_line()).count(b"\n") == 1


@given(st.lists(st.sampled_from([status.code for status in STATUSES]), min_size=2), TEXT)
def test_the_worst_status_wins_in_any_order(statuses: list[int], _: str) -> None:
    there = back = statuses[0]
    for status in statuses:
        there = worst(there, status)
    for status in reversed(statuses):
        back = worst(back, status)
    assert there == back in statuses
