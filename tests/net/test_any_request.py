"""Any request of HTTP can be sent to the server, and any answer read, to its end or to where it was cut."""

from __future__ import annotations

import pytest

from ostream.net.host import parse_host
from ostream.net.timeouts import Timeouts
from ostream.net.tls import TLSConfig
from ostream.net.transport import request
from tests.server import Answers, http_answer, tcp

ENDS = [
    # headers, body, does the framing come to its end
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


@pytest.mark.parametrize(("headers", "body", "is_whole"), ENDS)
def test_an_answer_knows_whether_its_framing_came_to_an_end(headers: list[str], body: bytes, is_whole: bool) -> None:
    head = "\r\n".join(["HTTP/1.1 404 X", *headers, "", ""]).encode()
    with tcp(Answers(head + body)) as port:
        host = parse_host(f"127.0.0.1:{port}")
        response = request(host, "GET", "/x", None, {}, Timeouts(), TLSConfig())
        for _ in response.blocks():
            assert not response.is_whole
        response.close()
    assert (response.status, response.is_whole) == (404, is_whole)


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("DELETE", b"{}"), ("HEAD", None), ("POST", b"")])
def test_any_method_can_be_asked(method: str, body: bytes | None) -> None:
    server = Answers(http_answer(200, b"" if method == "HEAD" else b"{}"))
    with tcp(server) as port:
        host = parse_host(f"127.0.0.1:{port}/base")
        response = request(host, method, "/x?y", body, {"X-Mine": "1"}, Timeouts(), TLSConfig())
        response.close()
    ((first, headers, sent),) = server.requests
    assert (first, sent) == (f"{method} /base/x?y HTTP/1.1", body or b"")
    assert headers["x-mine"] == "1"
    assert "authorization" not in headers
