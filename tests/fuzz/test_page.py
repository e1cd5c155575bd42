"""The transcript of any lines contains all their text in order and ends with a line end."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostream.cli.transcript import Transcript
from ostream.protocol.chunk import content, thinking
from tests.fuzz.given import OBJECT


@given(st.lists(OBJECT, max_size=5), st.booleans())
def test_a_transcript_contains_all_text_in_order(lines: list[dict[str, Any]], headings: bool) -> None:
    transcript = Transcript(headings)
    shown = ""
    for line in lines:
        parts = transcript.message(line) if "role" in line else transcript.chunk(line)
        if line.get("done") is True:
            parts += transcript.end()
        text = "".join(text for text, _ in parts)
        assert all(isinstance(dim, bool) for _, dim in parts)
        if "role" not in line:
            position = text.find(thinking(line))
            assert position >= 0
            assert text.find(content(line), position + len(thinking(line))) >= 0
        shown += text
    shown += "".join(text for text, _ in transcript.end())
    assert not shown or shown.endswith("\n")
