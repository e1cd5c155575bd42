"""The body comes out of its HTTP framing complete, wherever the bytes are split."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import sys
import threading
from typing import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.net.http import SIZE_LINE_LIMIT, Response
from ostream.net.socket import WatchedSocket
from ostream.net.timeouts import Timeouts
from tests.server import NAMES, SOME_NAMES, body_of, raw_of
from tests.tiers import sample

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="no SOCK_SEQPACKET between the ends of a pair")

OK = b"HTTP/1.1 200 OK\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
RECORDED_CHUNKED = [name for name in NAMES if b"chunked" in raw_of(name).partition(b"\r\n\r\n")[0]]
# A read that waits for more than has arrived fails after so many seconds.
PATIENCE_S = 20


@contextlib.contextmanager
def response_pair() -> Iterator[tuple[socket.socket, Response]]:
    """The server's end of a connection, and the response at the other end; each send is one read."""
    # SOCK_STREAM could join or split what is sent.
    there, here = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wire = WatchedSocket(here, Timeouts(max_time=PATIENCE_S), None)
    response = Response(wire)  # type: ignore[arg-type]
    response.timeouts = wire.timeouts
    wire.close()
    with there, contextlib.closing(response):
        yield there, response


def read(*pieces: bytes) -> tuple[bytes, Response]:
    """Return the body of a response that arrives in these pieces, and the response."""
    with response_pair() as (server, response):

        def send() -> None:
            with contextlib.suppress(ConnectionError):  # a client that has seen the end closes the connection
                for piece in pieces:
                    server.sendall(piece)
            server.close()

        sender = threading.Thread(target=send)
        if len(pieces) < 3:
            send()
        else:  # so many may fill the socket
            sender.start()
        response.begin()
        body = b"".join(response.blocks())
        response.close()
        if sender.ident:
            sender.join()
        return body, response


def read_with_http_client(data: bytes) -> bytes:
    """Return the body as http.client reads it."""
    there, here = socket.socketpair()
    with here, there:
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(here)
        response.begin()
        try:
            return response.read()
        except http.client.IncompleteRead as error:
            return error.partial
        finally:
            response.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_response_has_the_same_body_at_once_and_byte_by_byte(name: str) -> None:
    raw, body = raw_of(name), body_of(name)
    assert read_with_http_client(raw) == body
    for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
        got, response = read(*pieces)
        assert got == body
        assert response.failure is None


@pytest.mark.parametrize("name", sample(RECORDED_CHUNKED, SOME_NAMES))
def test_a_recorded_response_truncated_at_any_offset_gives_what_arrived(name: str) -> None:
    raw, body = raw_of(name), body_of(name)
    head, framed = raw[: raw.index(b"\r\n\r\n") + 4], raw[raw.index(b"\r\n\r\n") + 4 :]
    inside = b"".join(b"x" if is_body else b"." for is_body in _which_bytes_are_body(framed))
    for cut in range(len(framed) + 1):
        got, response = read(head + framed[:cut])
        assert got == body[: inside[:cut].count(b"x")], cut
        assert response.failure is None


def _which_bytes_are_body(framed: bytes) -> Iterator[bool]:
    while framed:
        size_line = framed[: framed.index(b"\n") + 1]
        size = int(size_line, 16)
        end = len(size_line) + size + 2
        yield from [False] * len(size_line) + [True] * size + [False] * (min(end, len(framed)) - len(size_line) - size)
        framed = framed[end:]


BODIES = st.binary(min_size=1, max_size=20) | st.text("5a;\r\n", min_size=1, max_size=20).map(str.encode)
SIZES = st.sampled_from([b"%x", b"%X", b"%04x"])
EXTENSIONS = st.sampled_from([b"", b"", b"", b";a", b" ; a=b", b';q="0"', b" "])
LINE_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])
LAST = st.sampled_from([b"0\r\n\r\n", b"0;last\r\nTrailer: x\r\n\r\n", b"000\r\n\r\n", b"0\r\n", b""])
CUTS = st.lists(st.integers(0, 300), max_size=4)


def split_at(framed: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut for cut in cuts if cut < len(framed)), len(framed)]
    return [framed[a:b] for a, b in zip(places, places[1:]) if a < b]


@given(chunks=st.lists(st.tuples(BODIES, SIZES, EXTENSIONS, LINE_ENDS), max_size=8), last=LAST, cuts=CUTS)
def test_any_body_in_any_http_chunks_split_anywhere_is_the_same(
    chunks: list[tuple[bytes, bytes, bytes, bytes]], last: bytes, cuts: list[int]
) -> None:
    framed = b"".join(
        size % len(body) + extension + line_end + body + line_end for body, size, extension, line_end in chunks
    )
    got, response = read(CHUNKED, *split_at(framed + last, cuts))
    assert got == b"".join(body for body, _, _, _ in chunks)
    assert response.failure is None
    assert response.is_complete is bool(last)


@given(
    chunks=st.lists(st.tuples(BODIES, SIZES, EXTENSIONS, LINE_ENDS), max_size=8),
    damage=st.tuples(st.integers(0, 300), st.integers(0, 2), st.sampled_from([b"", b"\r", b"\n", b"0", b"g"])),
    cuts=CUTS,
)
def test_damaged_framing_has_the_same_result_at_once_and_byte_by_byte(
    chunks: list[tuple[bytes, bytes, bytes, bytes]], damage: tuple[int, int, bytes], cuts: list[int]
) -> None:
    framed = b"".join(size % len(body) + ext + line_end + body + line_end for body, size, ext, line_end in chunks)
    place, length, replacement = damage
    framed = framed[:place] + replacement + framed[place + length :]
    at_once, byte_by_byte = (read(CHUNKED, *split_at(framed, cut)) for cut in (cuts, [*range(len(framed))]))
    assert at_once[0] == byte_by_byte[0]
    assert str(at_once[1].failure) == str(byte_by_byte[1].failure)
    assert at_once[1].is_complete is byte_by_byte[1].is_complete


GOOD = b"5\r\nhello\r\n"
DAMAGED = {
    "negative size": b"-5\r\nhello\r\n",
    "signed size": b"+5\r\nhello\r\n",
    "0x": b"0x5\r\nhello\r\n",
    "underscore": b"1_0\r\nhello\r\n",
    "more digits than any size has": b"00000000000000005\r\nhello\r\n",
    "a line of the body in its place": b'{"done":true}\n',
    "not hexadecimal": b"5g\r\nhello\r\n",
    "two words": b"5 5\r\nhello\r\n",
    "endless size": b"1" * (SIZE_LINE_LIMIT + 1),
    "endless extension": b"5;" + b"x" * SIZE_LINE_LIMIT,
    "endless extension that ends": b"5;" + b"x" * SIZE_LINE_LIMIT + b"\r\nhello\r\n",
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_invalid_framing_is_a_failure_after_the_body_before_it(damage: bytes) -> None:
    raw = CHUNKED + GOOD + damage
    for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
        got, response = read(*pieces)
        assert got == b"hello"
        assert str(response.failure) == "invalid HTTP framing in the response"
        assert not response.is_complete


# name: what the server sends, the body, whether the framing is complete
ENDINGS = {
    "several lines in one HTTP chunk": (CHUNKED + b"6\r\na\nb\nc\n\r\n0\r\n\r\n", b"a\nb\nc\n", True),
    "a line over several HTTP chunks": (CHUNKED + b"1\r\na\r\n1\r\nb\r\n1\r\n\n\r\n0\r\n\r\n", b"ab\n", True),
    "no terminator": (CHUNKED + GOOD, b"hello", False),
    "data after the terminator": (CHUNKED + GOOD + b"0\r\n\r\n5\r\nworld\r\n", b"hello", True),
    "chunk size too large": (CHUNKED + b"ffffffffffffffff\r\nhello", b"hello", False),
    "length": (HEAD + b"Content-Length: 5\r\n\r\nhello", b"hello", True),
    "length too long": (HEAD + b"Content-Length: 9\r\n\r\nhello", b"hello", False),
    "length too short": (HEAD + b"Content-Length: 2\r\n\r\nhello", b"he", True),
    "length zero": (HEAD + b"Content-Length: 0\r\n\r\nhello", b"", True),
    "length is garbage": (HEAD + b"Content-Length: x\r\n\r\nhello", b"hello", True),
    "to the end of the connection": (HEAD + b"\r\nhello", b"hello", True),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello", True),
    "no body by status": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
}


@pytest.mark.parametrize(("raw", "body", "is_complete"), ENDINGS.values(), ids=ENDINGS)
def test_a_body_ends_by_its_framing_or_with_the_connection(raw: bytes, body: bytes, is_complete: bool) -> None:
    for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
        got, response = read(*pieces)
        assert got == body
        assert (response.failure, response.is_complete) == (None, is_complete)


# head, and for each send of the server the block that one read returns
READS = {
    "chunked": (
        CHUNKED,
        [
            (b"5\r\nhel", b"hel"),
            (b"lo", b"lo"),
            (b"\r\n5", None),
            (b";x=y\r\nworld\r\n3\r\nfoo\r\n2", b"worldfoo"),
            (b"\r\nab\r\n0", b"ab"),
        ],
    ),
    "length": (HEAD + b"Content-Length: 10\r\n\r\n", [(b"he", b"he"), (b"llo", b"llo"), (b"w", b"w")]),
    "to the end": (HEAD + b"\r\n", [(b"he", b"he"), (b"llo", b"llo")]),
}


@pytest.mark.parametrize(("head", "steps"), READS.values(), ids=READS)
def test_a_read_never_waits_for_more_than_has_arrived(head: bytes, steps: list[tuple[bytes, bytes | None]]) -> None:
    with response_pair() as (server, response):
        server.sendall(head)
        response.begin()
        blocks = response.blocks()
        for sent, expected in steps:
            server.sendall(sent)
            if expected is not None:
                assert next(blocks) == expected
        assert response.timeouts.received == sum(len(expected or b"") for _, expected in steps)


LENGTH = b"Content-Length: 2\r\n"
HEADS = {
    "length": OK + LENGTH,
    "chunks": OK + b"Transfer-Encoding: chunked\r\nX-Y: a, b\r\n",
    "close": OK + LENGTH + b"Connection: Close\r\n",
    "names in any case": OK + b"content-LENGTH: 2\r\nCONNECTION: keep-alive\r\n",
    "no length": OK,
    "both": OK + LENGTH + b"Transfer-Encoding: chunked\r\n",
    "another encoding": OK + b"Transfer-Encoding: gzip\r\n" + LENGTH,
    "a list of encodings": OK + b"Transfer-Encoding: gzip, chunked\r\n",
    "chunks in another case": OK + b"Transfer-Encoding: Chunked\r\n",
    "a negative length": OK + b"Content-Length: -2\r\n",
    "an endless length": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n",
    "a repeated header": OK + LENGTH + b"X: 1\r\nX: 2\r\n",
    "a folded header": OK + LENGTH + b"X: 1\r\n 2\r\n",
    "a header without a colon": OK + b"X\r\n" + LENGTH,
    "a space before the colon": OK + b"X : y\r\n" + LENGTH,
    "spaces around a value": OK + b"Content-Length:  2 \r\n",
    "no space before a value": OK + b"Content-Length:2\r\n",
    "a lone CR": OK + b"X: a\rY: b\r\n" + LENGTH,
    "a lone LF": OK + b"X: a\nY: b\r\n" + LENGTH,
    "Latin-1": OK + b"X: \xe9\r\n" + LENGTH,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + LENGTH,
    "another status": b"HTTP/1.1 404 Not Found\r\n" + LENGTH,
    "a status without a body": b"HTTP/1.1 204 No Content\r\n" + LENGTH,
}


@pytest.mark.parametrize("method", ["POST", "HEAD"])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_head_means_what_it_means_to_http_client(head: bytes, method: str) -> None:
    results = []
    for kind in (http.client.HTTPResponse, Response):
        here, there = socket.socketpair()
        with here, there:
            there.sendall(head + b"\r\nab")
            wire = WatchedSocket(here, Timeouts(max_time=PATIENCE_S), None) if kind is Response else here
            response = kind(wire, method=method)  # type: ignore[arg-type]
            with contextlib.closing(response):
                response.begin()
                names = ("status", "reason", "version", "chunked", "length", "will_close")
                results.append(
                    ([getattr(response, name) for name in names], response.getheaders(), response.fp.read1(9))
                )
    assert results[0] == results[1]


def test_a_long_body_arrives_in_blocks_of_bounded_size() -> None:
    data = bytes(range(256)) * 4096
    there, here = socket.socketpair()
    wire = WatchedSocket(here, Timeouts(max_time=PATIENCE_S), None)
    with there, contextlib.closing(Response(wire)) as response:  # type: ignore[arg-type]
        wire.close()
        response.timeouts = wire.timeouts
        raw = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
        sender = threading.Thread(target=there.sendall, args=(raw,))
        sender.start()
        response.begin()
        blocks = list(response.blocks())
        sender.join()
    assert b"".join(blocks) == data
    assert max(map(len, blocks)) <= 64 << 10


def test_a_response_can_be_closed_after_its_file() -> None:
    """The garbage collector closes the objects of a reference cycle in any order."""
    response = Response.__new__(Response)
    response.fp = io.BytesIO()
    response.fp.close()
    closed: list[object] = []
    response.on_close = closed.append
    response.close()
    assert closed == [None]
