"""For any stream of a server, the status of `send > FILE` is that of a filter that reads FILE."""

from __future__ import annotations

from typing import Any, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.recording.http_server import Server
from tests.fuzz.given import LINES
from tests.process import call
from tests.protocol.test_line_pattern import ORDINARY, mutated
from tests.server import send_raw, serve

DONE = b'{"message":{"content":""},"done":true}\n'
STREAM = st.lists(
    st.sampled_from([DONE, b'{"role":"user"}\n', b'{"request":{"path":"/api/tags"}}\n', b"\n", *ORDINARY])
    | mutated()
    | LINES
    | st.just(b"".join(ORDINARY) * 8),
    max_size=6,
).map(b"".join)


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[Server]:
    with serve(lambda exchange: send_raw(exchange.server.answer)(exchange)) as server:  # type: ignore[attr-defined]
        yield server


@given(STREAM, st.sampled_from([b"application/x-ndjson", b"application/json"]))
def test_send_and_a_filter_agree(server: Any, stream: bytes, content_type: bytes) -> None:
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nConnection: close\r\n\r\n%b" % (content_type, stream)
    sent = call("send", "-m", "m", "--host", server.url, "hi")
    read = call("extract-thinking", stdin=sent.stdout)
    assert (sent.returncode, read.stderr) == (read.returncode, b"")
