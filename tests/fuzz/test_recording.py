"""Any lines are exchanges that a server can send, or NotNDJSON with file and line; stamps are reversible."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import NotNDJSON
from ostream.protocol.ndjson import split_lines
from ostream.recording.folding import converted
from ostream.recording.format import parse, request_line, stamp, unstamp
from ostream.recording.matching import MATCHES, Recordings
from tests.fuzz.given import LINES, OBJECT, TEXT


@given(LINES, OBJECT)
def test_a_recording(data: bytes, body: dict[str, Any]) -> None:
    try:
        exchanges = parse([line for batch in split_lines([data]) for line in batch], "file")
    except NotNDJSON as error:
        assert str(error).startswith(f"file:{error.lineno}: ") and error.lineno
        return
    for exchange in exchanges:
        assert 200 <= exchange.status <= 599
        exchange.content_type.encode("latin-1")
        assert "\n" not in exchange.content_type and "\r" not in exchange.content_type
        assert isinstance(exchange.path, str)
        assert all(isinstance(line, bytes) and elapsed_ns >= 0 for line, elapsed_ns in exchange.lines)
    for match in MATCHES:
        recordings = Recordings(exchanges, match)
        assert recordings.model is None or isinstance(recordings.model, str)
        for path in {"/api/chat", "/api/generate", *(exchange.path for exchange in exchanges)}:
            found = recordings.find("POST", path, body)
            assert found is None or found.exchange.path == path
            assert found or recordings.explain("POST", path, body).startswith("no recording")
    for exchange in exchanges:
        for stream in (True, False):
            response = converted(exchange, {"stream": stream})
            assert all(isinstance(line, bytes) for line, _ in response.lines)


@given(LINES, st.integers(0, 10**19 - 1))
def test_a_stamp(data: bytes, elapsed_ns: int) -> None:
    for line in data.splitlines(keepends=True):
        stamped = stamp(line, elapsed_ns)
        if stamped != line:
            assert unstamp(stamped) == (line.rstrip() + b"\n", elapsed_ns)


@given(TEXT, OBJECT, st.none() | st.integers(-5, 10**6), st.none() | TEXT)
def test_a_request_line(path: str, body: Any, status: Any, content_type: Any) -> None:
    try:
        line = request_line(path, body, status, content_type)
    except ValueError:
        return  # NaN, which no JSON body contains
    (exchange,) = parse([line], "file")
    assert exchange.path == path
