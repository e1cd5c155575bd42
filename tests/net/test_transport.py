"""Whatever a server sends, the result is an answer or an OstreamError that names what arrived."""

from __future__ import annotations

import socket

import pytest

from ostream import Client, IncompleteStream, OstreamError, ResponseError
from ostream.net.host import parse_host
from ostream.net.timeouts import Timeouts
from ostream.net.tls import TLSConfig
from ostream.net.transport import ERROR_BODY_LIMIT, request
from ostream.recording.http_server import RequestHandler
from tests.server import Answers, http_answer, send_raw, serve, tcp

DONE = b'{"message":{"role":"assistant","content":"hi"},"done":true}\n'
HTML = b"<!DOCTYPE html><html><head><title>Sign  in</title></head><body>" + b"x" * 5000


# what the server sends: class of the error, its status code, parts of its message and of its advice
ANSWERS: dict[str, tuple[bytes, type[OstreamError], int | None, str, str]] = {
    "garbage": (b"\x00\xff\x15garbage\n\n", ResponseError, -1, "the response is not HTTP: ", "check the port"),
    "endless garbage": (b"x" * 100_000, ResponseError, -1, "the response is not HTTP: ", "check the port"),
    "a TLS alert": (b"\x15\x03\x01\x00\x02\x02\x16", ResponseError, -1, "not HTTP", "https://"),
    "an empty line": (b"\r\n", ResponseError, -1, "not HTTP", ""),
    "an invalid status": (b"HTTP/1.1 xyz OK\r\n\r\n", ResponseError, -1, "not HTTP", ""),
    "another protocol": (b"HTTP/9.9 200 OK\r\n\r\n", ResponseError, -1, "not HTTP", ""),
    "half a status line": (b"HTTP/1.1", ResponseError, -1, "not HTTP", ""),
    "early hints and nothing more": (b"HTTP/1.1 103 Early Hints\r\n\r\n", IncompleteStream, None, "closed", ""),
    "JSON error": (http_answer(404, b'{"error":"no such model"}'), ResponseError, 404, "no such", "'ollama pull NAME'"),
    "HTML error": (http_answer(502, HTML, content_type="text/html"), ResponseError, 502, "Sign in", "retry=N"),
    "empty error": (http_answer(403), ResponseError, 403, "empty response", "Host"),
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
