"""Any chunks and message lines make a page that holds all their text in order, and every response ends its line."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostream.cli.transcript import Transcript
from ostream.protocol.chunk import content, thinking
from tests.fuzz.given import OBJECT


@given(st.lists(OBJECT, max_size=5), st.booleans())
def test_page(lines: list[dict[str, Any]], headings: bool) -> None:
    page = Transcript(headings)
    shown = ""
    for line in lines:
        parts = page.message(line) if "role" in line else page.chunk(line)
        if line.get("done") is True:
            parts += page.end()
        text = "".join(text for text, _ in parts)
        assert all(isinstance(aside, bool) for _, aside in parts)
        if "role" not in line:
            position = text.find(thinking(line))
            assert position >= 0
            assert text.find(content(line), position + len(thinking(line))) >= 0
        shown += text
    shown += "".join(text for text, _ in page.end())
    assert not shown or shown.endswith("\n")
