"""Any object can be read as a chunk: its parts have the right types, and reading does not change it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import NotNDJSON
from ostream.protocol.accumulator import Accumulator
from ostream.protocol.chunk import content, thinking, tool_calls
from ostream.protocol.ndjson import decode_line, encode_line
from ostream.protocol.objects import ChatResponse, Message, wrap_chunk
from tests.fuzz.given import OBJECT


def as_sent(value: Any) -> dict[str, Any]:
    """The object as a stream can carry it."""
    try:
        return decode_line(encode_line(value)) or {}
    except (NotNDJSON, ValueError):
        return {}  # NaN and infinity


@given(st.lists(OBJECT.map(as_sent), max_size=4))
def test_chunk(chunks: list[dict[str, Any]]) -> None:
    accumulator = Accumulator()
    for chunk in chunks:
        accumulator.add(chunk)
        assert all(isinstance(text, str) for text in (content(chunk), thinking(chunk)))
        assert all(isinstance(call, dict) for call in tool_calls(chunk))
        wrapped: Any = wrap_chunk(ChatResponse, chunk)
        if "arguments" not in repr(chunk):  # JSON text in arguments is decoded
            assert wrapped == chunk
        assert isinstance(repr(wrapped), str)
        for name in ("model", "done", "eval_count"):
            assert getattr(wrapped, name) == chunk.get(name)
        assert isinstance(wrapped.message, Message)
    assert accumulator.content == "".join(map(content, chunks))
    assert accumulator.thinking == "".join(map(thinking, chunks))
    assert accumulator.tool_calls == [call for chunk in chunks for call in tool_calls(chunk)]
    assert as_sent(accumulator.response) == accumulator.response
    assert "role" in accumulator.message
    together = Accumulator()
    together.add_all(chunks)
    assert (together.response, together.message) == (accumulator.response, accumulator.message)
