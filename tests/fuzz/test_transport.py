"""For any bytes from a server, send and a filter agree on a documented status, and the library raises OstreamError."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ostream import Client, OstreamError
from tests.fuzz.given import LINES
from tests.process import call
from tests.protocol.test_line_pattern import ORDINARY, mutated
from tests.server import NAMES, http_answer, raw_of, tcp

ODD_STATUS_LINES = [
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 404 No\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 999 X\r\n",
    b"HTTP/1.1 204\r\n",
    b"HTTP/9 200\r\n",
    b"200 OK\r\n",
    b"\r\n",
]
STATUS_LINE = st.just(b"HTTP/1.1 200 OK\r\n") | st.sampled_from(ODD_STATUS_LINES) | st.binary(max_size=20)
HEADER = st.sampled_from(
    [
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Content-Length: 20\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: x\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Type: text/html\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Location: /\xff\r\n",
        b"Retry-After: \xb2\r\n",
        b"Retry-After: -5\r\n",
        b"no colon\r\n",
        b" folded\r\n",
        b": empty\r\n",
    ]
) | st.binary(max_size=12)


def chunked(body: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(body[i : i + 7]), body[i : i + 7]) for i in range(0, len(body), 7))


STREAM = st.lists(st.sampled_from([*ORDINARY, b"".join(ORDINARY) * 8]) | mutated() | LINES, max_size=6).map(b"".join)
BODY = (
    STREAM | LINES | LINES.map(chunked) | LINES.map(lambda body: chunked(body) + b"0\r\n\r\n") | st.binary(max_size=40)
)
DONE = b'{"message":{"content":"a"},"done":true}\n'
ANSWER = st.tuples(STATUS_LINE, st.lists(HEADER, max_size=3).map(b"".join), BODY | st.just(DONE)).map(
    lambda parts: parts[0] + parts[1] + b"\r\n" + parts[2]
) | LINES.map(lambda body: http_answer(200, body + DONE, content_type="application/x-ndjson"))


@st.composite
def damaged_recording(draw: Any) -> bytes:
    raw = raw_of(draw(st.sampled_from(NAMES)))
    begin = draw(st.integers(0, len(raw)))
    return raw[:begin] + draw(st.binary(max_size=20)) + raw[draw(st.integers(begin, min(begin + 30, len(raw)))) :]


def answers(data: bytes, cut: int) -> Any:
    def handle(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (data[: cut % (len(data) + 1)], data[cut % (len(data) + 1) :]):
            connection.sendall(piece)

    return handle


# Fewer examples, since sockets are slow.
fewer = settings(max_examples=max(10, settings().max_examples // 2))


@fewer
@given(ANSWER, st.integers(0, 1000))
def test_send(data: bytes, cut: int) -> None:
    with tcp(answers(data, cut)) as port:
        sent = call("send", "-m", "m", "--host", f"http://127.0.0.1:{port}", "hi")
    assert sent.returncode in (0, 1, 3, 75), sent
    assert sent.stderr.count(b"\n") == (sent.returncode != 0), sent
    filtered = call("collect", stdin=sent.stdout)
    assert filtered.returncode == sent.returncode, (sent, filtered)


@fewer
@given(ANSWER | damaged_recording(), st.integers(0, 1000), st.booleans())
def test_the_library(data: bytes, cut: int, stream: bool) -> None:
    with tcp(answers(data, cut)) as port:
        try:
            answer: Any = Client(f"http://127.0.0.1:{port}").chat("m", stream=stream)
            chunks = list(answer) if stream else [answer]
        except OstreamError as error:
            assert str(error)
        else:
            assert chunks[-1].done is True
