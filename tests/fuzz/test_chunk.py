"""Any object has its text, thinking and tool calls, of the right type, folds into one that can be written out, and
answers attributes without changing."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import NotNDJSON
from ostream.protocol.accumulator import Accumulator
from ostream.protocol.chunk import Chunk, content, thinking, tool_calls
from ostream.protocol.ndjson import decode_line, encode_line
from tests.fuzz.given import OBJECT


def as_sent(value: Any) -> dict[str, Any]:
    """The object as a stream can carry it."""
    try:
        return decode_line(encode_line(value)) or {}
    except (NotNDJSON, ValueError):
        return {}  # NaN and infinity


@given(st.lists(OBJECT.map(as_sent), max_size=4))
def test_chunk(chunks: list[dict[str, Any]]) -> None:
    so_far = Accumulator()
    for chunk in chunks:
        so_far.add(chunk)
        assert all(isinstance(text, str) for text in (content(chunk), thinking(chunk)))
        assert all(isinstance(call, dict) for call in tool_calls(chunk))
        dressed = Chunk(chunk)
        assert dressed == chunk
        for name in ("model", "done", "tool_calls", "logprobs", "eval_count"):
            assert getattr(dressed, name) == chunk.get(name)
        assert dressed.message == (chunk.get("message") or dressed.message)
    assert so_far.content == "".join(map(content, chunks))
    assert so_far.thinking == "".join(map(thinking, chunks))
    assert as_sent(so_far.response) == so_far.response
    assert "role" in so_far.message
