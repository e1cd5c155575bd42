"""Whatever a server sends, the result is an answer or an OstreamError that names what arrived."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Any, Callable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ostream import (
    Chunk,
    Client,
    ConnectError,
    IncompleteStream,
    NotNDJSON,
    OstreamError,
    ResponseError,
)
from ostream.net.host import parse_host
from ostream.net.session import Session
from ostream.net.timeouts import Timeouts
from ostream.net.tls import TLSConfig
from ostream.net.transport import ERROR_BODY_LIMIT, request
from ostream.recording.http_server import RequestHandler
from tests.server import NAMES, Answers, body_of, http_answer, raw_of, send_lines, send_raw, serve, tcp

DONE = b'{"message":{"role":"assistant","content":"hi"},"done":true}\n'
HTML = b"<!DOCTYPE html><html><head><title>Sign  in</title></head><body>" + b"x" * 5000


def reset(exchange: RequestHandler) -> None:
    exchange.reset()


# what the server sends: class of the error, its status code, parts of its message and of its advice
ANSWERS: dict[str, tuple[bytes, type[OstreamError], int | None, str, str]] = {
    "no answer": (b"", IncompleteStream, None, "the server closed the connection without a response", ""),
    "garbage": (b"\x00\xff\x15garbage\n\n", ResponseError, -1, "the response is not HTTP: ", "check the port"),
    "endless garbage": (b"x" * 100_000, ResponseError, -1, "the response is not HTTP: ", "check the port"),
    "a TLS alert": (b"\x15\x03\x01\x00\x02\x02\x16", ResponseError, -1, "not HTTP", "https://"),
    "an empty line": (b"\r\n", ResponseError, -1, "not HTTP", ""),
    "an invalid status": (b"HTTP/1.1 xyz OK\r\n\r\n", ResponseError, -1, "not HTTP", ""),
    "another protocol": (b"HTTP/9.9 200 OK\r\n\r\n", ResponseError, -1, "not HTTP", ""),
    "an endless header": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, ResponseError, -1, "not HTTP", ""),
    "endless headers": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200, ResponseError, -1, "not HTTP", ""),
    "half a status line": (b"HTTP/1.1", ResponseError, -1, "not HTTP", ""),
    "headers and no body": (b"HTTP/1.1 200 OK\r\n\r\n", IncompleteStream, None, "ended early", ""),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", IncompleteStream, None, "ended early", ""),
    "early hints and nothing more": (b"HTTP/1.1 103 Early Hints\r\n\r\n", IncompleteStream, None, "closed", ""),
    "JSON error": (
        http_answer(404, b'{"error":"no such model"}'),
        ResponseError,
        404,
        "no such model",
        "'ollama pull NAME'",
    ),
    "error in JSON in JSON": (
        http_answer(400, json.dumps({"error": '{"error":{"code":400,"message":"too long"}}'}).encode()),
        *(ResponseError, 400, "too long", ""),
    ),
    "error object": (http_answer(500, b'{"error":{"message":"boom"}}'), ResponseError, 500, "boom", ""),
    "detail": (http_answer(401, b'{"detail":"Not authenticated"}'), ResponseError, 401, "Not auth", "OLLAMA_API_KEY"),
    "sign in": (
        http_answer(401, b'{"error":"unauthorized","signin_url":"https://ollama.test/x"}'),
        *(
            ResponseError,
            401,
            "unauthorized",
            "run 'ollama signin' where the server runs, or open https://ollama.test/x",
        ),
    ),
    "JSON that is no object": (http_answer(500, b"[1]"), ResponseError, 500, "[1]", ""),
    "HTML error": (http_answer(502, HTML, content_type="text/html"), ResponseError, 502, "Sign in", "retry=N"),
    "text error": (http_answer(404, b"404 page not found"), ResponseError, 404, "404 page not found", "OLLAMA_HOST"),
    "empty error": (http_answer(403), ResponseError, 403, "empty response", "Host"),
    "error of ten megabytes": (http_answer(500, b"word " * (2 << 20)), ResponseError, 500, "word word", ""),
    "truncated error": (
        b'HTTP/1.1 500 X\r\nContent-Length: 99\r\n\r\n{"error":"bo',
        *(ResponseError, 500, '{"error":"bo', ""),
    ),
    "error in invalid framing": (
        b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nboom\r\nx\r\n",
        *(ResponseError, 500, "boom", ""),
    ),
    "error to the end of the connection": (b"HTTP/1.0 500 X\r\n\r\nboom", ResponseError, 500, "boom", ""),
    "a web page with 200": (
        http_answer(200, HTML, content_type="Text/HTML; charset=utf-8"),
        *(ResponseError, 200, "Sign in", "this is a web page, not Ollama"),
    ),
    "compressed": (
        http_answer(200, b"\x1f\x8b", "Content-Encoding: gzip"),
        *(ResponseError, 200, "the server sent an unrequested Content-Encoding: gzip", ""),
    ),
    "redirected to nowhere": (http_answer(304), ResponseError, 304, "empty response", ""),
    "server-sent events": (http_answer(200, b"data: {}\n\n"), NotNDJSON, None, "server-sent events", ""),
    "error with 200": (http_answer(200, b'{"error":"boom"}\n'), ResponseError, -1, "boom", ""),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_response_that_is_no_answer_is_an_error_that_describes_it(
    answer: tuple[bytes, type[OstreamError], int | None, str, str],
) -> None:
    raw, kind, status_code, words, advice = answer
    with serve(send_raw(raw)) as server, pytest.raises(OstreamError) as caught:
        Client(server.url).chat("m")
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400
    assert advice in caught.value.advice
    assert getattr(caught.value, "status_code", None) == status_code


def test_only_the_beginning_of_an_error_is_read() -> None:
    def respond(exchange: RequestHandler) -> None:
        exchange.head(500, "text/plain")
        block = b"x" * 65_536
        for _ in range(ERROR_BODY_LIMIT // len(block) + 1):
            exchange.chunk(block)
        exchange.connection.recv(1)  # returns when the client has left

    with serve(respond) as server, pytest.raises(ResponseError, match="xxx"):
        Client(server.url).chat("m")


@pytest.mark.parametrize(
    ("respond", "words"),
    [
        (reset, "the server closed the connection without a response"),
        (send_raw(b""), "the server closed the connection without a response"),
    ],
)
def test_an_end_before_the_first_byte_may_be_retried(respond: Callable[[RequestHandler], None], words: str) -> None:
    with serve(respond) as server, pytest.raises(IncompleteStream, match=words) as caught:
        Client(server.url).chat("m")
    assert caught.value.retryable
    assert caught.value.partial is None


def test_a_reset_inside_the_answer_is_an_incomplete_stream() -> None:
    has_read = threading.Event()

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        exchange.chunk(DONE)
        has_read.wait()
        exchange.reset()

    with serve(respond) as server, contextlib.closing(Session(server.url).post("/api/chat", b"{}")) as response:
        blocks = response.blocks()
        assert next(blocks) == DONE
        has_read.set()
        assert list(blocks) == []
    assert isinstance(response.failure, IncompleteStream)
    assert "connection lost: " in str(response.failure)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_and_never_followed(status: int) -> None:
    with serve(send_lines(DONE)) as elsewhere:
        location = f"{elsewhere.url}/api/chat"
        with serve(send_raw(http_answer(status, b"moved", f"Location: {location}"))) as server:
            with pytest.raises(ResponseError) as caught:
                Client(server.url, headers={"Authorization": "Bearer secret"}, retry=3).chat("m")
            assert len(server.requests) == 1  # type: ignore[attr-defined]
        assert elsewhere.requests == []  # type: ignore[attr-defined]
    assert f"redirected to {location}; redirects are not followed" in str(caught.value)
    assert caught.value.status_code == status
    assert "OLLAMA_HOST" in caught.value.advice


def test_a_rejection_that_arrives_before_the_body_was_read_is_reported() -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(100)  # not even all headers: closing resets the connection
        connection.sendall(http_answer(413, b'{"error":"too large"}'))

    with tcp(refuse) as port, pytest.raises(ResponseError, match="too large") as caught:
        Client(f"127.0.0.1:{port}").generate("m", "x" * (32 << 20))
    assert caught.value.status_code == 413


def test_an_answer_needs_no_content_type() -> None:
    for raw in (b"HTTP/1.1 200 OK\r\n\r\n" + DONE, http_answer(200, DONE, "Content-Encoding: Identity")):
        with serve(send_raw(raw)) as server:
            assert Client(server.url).chat("m").message.content == "hi"


def test_the_headers_of_a_request() -> None:
    answers = Answers(http_answer(200, DONE))
    with tcp(answers) as port:
        Client(f"http://127.0.0.1:{port}/base/", headers={"content-type": "x/y", "Host": "localhost"}).chat("m")
    first, headers, body = answers.requests[0]
    assert first == "POST /base/api/chat HTTP/1.1"
    assert headers.pop("user-agent").startswith("ostream/")
    assert headers == {
        "accept": "application/x-ndjson, application/json",
        "accept-encoding": "identity",
        "content-length": str(len(body)),
        "content-type": "x/y",
        "host": "localhost",
    }


def test_an_answer_over_ipv6() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    answers = Answers(http_answer(200, DONE))
    with tcp(answers, listener) as port:
        assert Client(f"[::1]:{port}").chat("m").done
    assert answers.requests[0][1]["host"] == f"[::1]:{port}"


@pytest.fixture(name="ask", scope="module")
def _ask() -> Iterator[Callable[[bytes], Any]]:
    """Send a request to a server that responds with exactly these bytes."""
    answers = Answers(b"")
    with tcp(answers) as port:
        client = Client(f"127.0.0.1:{port}", max_time=60)

        def ask(raw: bytes) -> Any:
            answers.answers[:] = [raw]
            return client.chat("m")

        yield ask


@settings(deadline=None, max_examples=100)
@given(raw=st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"HTTP/1.1 200 OK\r\n\r\n" + tail))
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\xb2\r\nx")
def test_any_bytes_are_an_answer_or_an_ostream_error(ask: Callable[[bytes], Any], raw: bytes) -> None:
    try:
        assert isinstance(ask(raw), Chunk)
    except OstreamError:
        pass


@settings(deadline=None, max_examples=150)
@given(name=st.sampled_from(NAMES), data=st.data())
def test_a_damaged_recording_is_an_answer_or_an_ostream_error(
    ask: Callable[[bytes], Any], name: str, data: st.DataObject
) -> None:
    raw = raw_of(name)
    begin = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(begin, min(begin + 30, len(raw))))
    damaged = raw[:begin] + data.draw(st.binary(max_size=20)) + raw[end:]
    try:
        assert isinstance(ask(damaged), Chunk)
    except OstreamError:
        pass


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_response_is_its_chunks_or_its_error(name: str) -> None:
    status = int(raw_of(name).split()[1])
    lines = body_of(name).splitlines()
    with serve(send_raw(raw_of(name))) as server:
        stream = Client(server.url).chat("m", stream=True)
        chunks: list[Any] = []
        if status == 200 and b'"done":true' in lines[-1]:
            chunks.extend(stream)
            assert stream.response.done
        else:
            with pytest.raises(OstreamError) as caught:
                chunks.extend(stream)
            assert getattr(caught.value, "status_code", 200) in (status, -1)
            assert not isinstance(caught.value, ConnectError)
    good = [json.loads(line) for line in lines if status == 200 and b'{"error"' not in line]
    assert chunks == good


ENDS = [
    # headers, body, whether the framing is complete
    (["Content-Length: 4"], b"a\nb\n", True),
    (["Content-Length: 5"], b"a\nb\n", False),
    (["Content-Length: 0"], b"", True),
    ([], b"a\nb\n", True),
    (["Transfer-Encoding: chunked"], b"4\r\na\nb\n\r\n0\r\n\r\n", True),
    (["Transfer-Encoding: chunked"], b"4\r\na\nb\n\r\n", False),
    (["Transfer-Encoding: chunked"], b"4\r\na\nb", False),
    (["Transfer-Encoding: chunked"], b"what?\r\n", False),
    (["Transfer-Encoding: chunked"], b"", False),
]


@pytest.mark.parametrize(("headers", "body", "is_complete"), ENDS)
def test_a_response_knows_whether_its_framing_was_complete(headers: list[str], body: bytes, is_complete: bool) -> None:
    head = "\r\n".join(["HTTP/1.1 404 X", *headers, "", ""]).encode()
    with tcp(Answers(head + body)) as port:
        host = parse_host(f"127.0.0.1:{port}")
        response = request(host, "GET", "/x", None, {}, Timeouts(), TLSConfig())
        for _ in response.blocks():
            assert not response.is_complete
        response.close()
    assert (response.status, response.is_complete) == (404, is_complete)


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("DELETE", b"{}"), ("HEAD", None), ("POST", b"")])
def test_any_method_can_be_sent(method: str, body: bytes | None) -> None:
    server = Answers(http_answer(200, b"" if method == "HEAD" else b"{}"))
    with tcp(server) as port:
        host = parse_host(f"127.0.0.1:{port}/base")
        response = request(host, method, "/x?y", body, {"X-Mine": "1"}, Timeouts(), TLSConfig())
        response.close()
    ((first, headers, sent),) = server.requests
    assert (first, sent) == (f"{method} /base/x?y HTTP/1.1", body or b"")
    assert headers["x-mine"] == "1"
    assert "authorization" not in headers
