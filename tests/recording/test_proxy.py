"""The proxy of record forwards at once, follows a side that leaves, and records each exchange in order."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Any, Iterator

import pytest

from ostream.net.host import parse_host
from ostream.recording.http_server import RequestHandler, Server
from ostream.recording.proxy import SPOOL_SIZE, ExchangeLog, Proxy
from tests.recording.test_http_server import post
from tests.server import Answers, http_answer, resolve, send_lines, serve, tcp

A = b'{"message":{"role":"assistant","content":"a"},"done":false}\n'
B = b'{"message":{"role":"assistant","content":"b"},"done":true,"done_reason":"stop"}\n'


class Recorded:
    """A proxy, the lines it recorded of each exchange, what it omitted, and its warnings."""

    def __init__(self, url: str) -> None:
        self.exchanges: list[list[dict[str, Any]]] = []
        self.omitted: list[str] = []
        self.warnings: list[str] = []
        self.change = threading.Condition()
        self.proxy = Proxy(parse_host(url), self._record, self.warnings.append)

    def _record(self, log: ExchangeLog) -> None:
        log.spool.seek(0)
        with self.change:
            self.omitted += [log.omitted] if log.omitted else []
            self.exchanges.append([json.loads(line) for line in log.spool.read().splitlines()])
            self.change.notify_all()

    def wait_for(self, count: int) -> list[list[dict[str, Any]]]:
        with self.change:
            assert self.change.wait_for(lambda: len(self.exchanges) >= count, 60)
            return self.exchanges


@contextlib.contextmanager
def proxying(url: str) -> Iterator[tuple[Server, Recorded]]:
    recorded = Recorded(url)
    with Server(recorded.proxy) as server:
        yield server, recorded
        recorded.proxy.finish()


@contextlib.contextmanager
def connected(server: Server, *requests: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as client:
        for request in requests:
            client.sendall(request)
        yield client


@contextlib.contextmanager
def asking(url: str, *requests: bytes) -> Iterator[tuple[socket.socket, Recorded]]:
    """A client of a proxy for the server at `url`."""
    with proxying(url) as (server, recorded), connected(server, *requests) as client:
        yield client, recorded


def read_to(client: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        block = client.recv(1 << 16)
        assert block, received
        received += block
    return received


class Steps:
    """Sends each piece when `go` is released; sets `left` when its client leaves."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.go = threading.Semaphore(0)
        self.requested = threading.Event()
        self.left = threading.Event()

    def __call__(self, exchange: RequestHandler) -> None:
        self.requested.set()
        for number, piece in enumerate(self.pieces):
            assert self.go.acquire(timeout=60)
            if not number:
                exchange.head(200, "application/x-ndjson")
            exchange.chunk(piece)
        if exchange.connection.recv(1) == b"":
            self.left.set()


def test_each_block_is_forwarded_at_once() -> None:
    """Part of a line, too."""
    respond = Steps(A[:10], A[10:], B)
    with serve(respond) as upstream, proxying(upstream.url) as (server, _), connected(server, post()) as client:
        for piece in respond.pieces:
            respond.go.release()
            read_to(client, b"%x\r\n%b\r\n" % (len(piece), piece))


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("leave", ["close", "shutdown"])
def test_a_client_that_leaves_ends_the_request_at_once(count: int, leave: str) -> None:
    respond = Steps(*[A][:count])
    respond.go.release()
    with serve(respond) as upstream, proxying(upstream.url) as (server, recorded):
        with connected(server, post()) as client:
            assert respond.requested.wait(60)
            if count:
                read_to(client, A + b"\r\n")
            if leave == "shutdown":
                client.shutdown(socket.SHUT_WR)
                assert respond.left.wait(60)
        assert respond.left.wait(60)
        ((request, *lines),) = recorded.wait_for(1)
    assert request.get("status") == (200 if count else None)
    assert [line.get("error") for line in lines] == [None, "the client disconnected"][1 - count :]
    assert lines[-1]["exit_status"] == 3


@pytest.mark.parametrize(
    ("pieces", "partials"), [((A, b'{"par'), [None, '{"par']), ((B, b'{"par'), [None]), ((A, B), [None, None])]
)
def test_a_client_that_leaves_inside_a_line_has_a_partial_line(pieces: Any, partials: list[str | None]) -> None:
    """Unless the answer was complete before. A large error body is one line, which no client reads to its end."""
    respond = Steps(*pieces)
    for _ in respond.pieces:
        respond.go.release()
    with serve(respond) as upstream, proxying(upstream.url) as (server, recorded):
        with connected(server, post()) as client:
            read_to(client, pieces[-1] + b"\r\n")
        ((_, *lines),) = recorded.wait_for(1)
    assert [line.get("partial") for line in lines] == partials
    assert lines[-1].get("done") is (None if partials[-1] else True)


def test_a_client_that_never_reads_does_not_delay_others(capfd: pytest.CaptureFixture[str]) -> None:
    """It is disconnected at the end."""

    def endless(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        while True:
            exchange.chunk(A * 1000)

    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(serve(endless))
        server, recorded = stack.enter_context(proxying(upstream.url))
        reader, idler = (stack.enter_context(connected(server, post())) for _ in range(2))
        assert len(stack.enter_context(reader.makefile("rb")).read(1 << 20)) == 1 << 20
        assert idler.recv(1)
        recorded.proxy.finish()
        assert len(recorded.exchanges) == 2
    assert capfd.readouterr().err == ""


def test_concurrent_exchanges_are_recorded_one_after_the_other() -> None:
    together = threading.Barrier(4)
    filler = b"x" * SPOOL_SIZE

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        for _ in range(3):
            together.wait(60)
            exchange.chunk(b'{"client":%b,"text":"%b"}\n' % (exchange.body, filler))
        exchange.end()

    def ask(server: Server, number: int) -> None:
        with connected(server, post(body=b"%d" % number)) as client:
            read_to(client, b"\r\n0\r\n\r\n")

    with serve(respond) as upstream, proxying(upstream.url) as (server, recorded):
        clients = [threading.Thread(target=ask, args=(server, number)) for number in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert len(recorded.exchanges) == 4
    for request, *lines in recorded.exchanges:
        assert [line["client"] for line in lines] == [request["request"]["body"]] * 3


def test_an_exchange_is_recorded_before_its_client_can_know_that_it_is_complete() -> None:
    """With HTTP chunks and with a length: so the next request of a script is also the next exchange."""
    answers = [send_lines(A, B), lambda exchange: exchange.send_body(200, "application/json", B[:-1])]
    for respond, end in zip(answers, (b"0\r\n\r\n", B[:-1])):
        with serve(respond) as upstream, proxying(upstream.url) as (server, recorded):
            for count in range(1, 4):
                with connected(server, post()) as client:
                    read_to(client, end)
                    assert len(recorded.exchanges) == count


def forwarded(answer: bytes, *headers: str, upstream: str = "127.0.0.1") -> tuple[dict[str, str], bytes, Recorded]:
    """Return the headers that the server received, what the client received, and what was recorded."""
    server_side = Answers(answer)
    request = post("Connection: close", "Connection: a, X-Hop", *headers)
    with tcp(server_side) as port, asking(f"http://{upstream}:{port}", request) as (client, recorded):
        received = b"".join(iter(lambda: client.recv(1 << 16), b""))
    ((_, seen, _),) = server_side.requests
    return seen, received, recorded


def test_only_end_to_end_headers_are_forwarded() -> None:
    answer = http_answer(
        429, b"{}", "Retry-After: 7", "Status: 429 Slow", "Length: 3", "Keep-Alive: 1", "Connection: X-Hip", "X-Hip: 1"
    )
    sent = ["X-Mine: 1", "X-Hop: 1", "TE: x", "Proxy-Authorization: x", "Accept-Encoding: gzip", "X-Bad: \x01"]
    seen, received, recorded = forwarded(answer, *sent, "X-U: à", "Accept: a", "Accept: b")
    assert {"x-mine": "1", "accept-encoding": "identity", "connection": "close"}.items() <= seen.items()
    assert not {"x-hop", "te", "proxy-authorization", "x-bad", "x-u"} & set(seen)
    assert seen["host"].startswith("127.0.0.1:")
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 429 Too Many Requests"
    assert {"Retry-After: 7", "Status: 429 Slow", "Length: 3", "Content-Length: 2"} <= set(lines)
    assert not {"Keep-Alive: 1", "X-Hip: 1"} & set(lines)
    assert body == b"{}"
    assert recorded.exchanges[0][0]["status"] == 429


def test_authorization_is_not_forwarded_in_clear_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning is given once."""
    resolve(monkeypatch, ollama_test="127.0.0.1")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for upstream, value in (("127.0.0.1", "Bearer x"), ("localhost", "Bearer x"), ("ollama.test", None)):
        answers = Answers(http_answer(200, b"{}"))
        with tcp(answers) as port, proxying(f"http://{upstream}:{port}") as (server, recorded):
            for _ in range(2):
                with connected(server, post("authorization: Bearer x")) as client:
                    read_to(client, b"{}")
        assert [headers.get("authorization") for _, headers, _ in answers.requests] == [value] * 2
        warning = f"Authorization is not sent over plain http to http://ollama.test:{port}; use https"
        assert recorded.warnings == ([] if value else [warning])


REFUSED = [
    (b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n", b"403"),
    (b"POST http://elsewhere/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
    (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
    (b"GET /\xe4 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
]


@pytest.mark.parametrize(("request_", "status"), REFUSED)
def test_a_request_that_is_not_for_the_server_is_not_forwarded(request_: bytes, status: bytes) -> None:
    with serve(send_lines(B)) as upstream, asking(upstream.url, request_) as (client, recorded):
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 " + status)
    assert upstream.requests == recorded.exchanges == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT"])
def test_a_response_without_a_body_ends_with_its_headers(method: str) -> None:
    """The next response on the same connection is not taken for its body."""
    requests = [f"{method} /x HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), post()]
    answers = Answers(b"HTTP/1.1 204 No Content\r\n\r\n", http_answer(200, b"{}"))
    with tcp(answers) as port, proxying(f"127.0.0.1:{port}") as (server, recorded), connected(
        server, *requests
    ) as client:
        received = read_to(client, b"{}")
        assert received.count(b"HTTP/1.1") == 2
        recorded.wait_for(2)


def test_a_finished_proxy_forwards_nothing() -> None:
    with serve(send_lines(B)) as upstream, asking(upstream.url, post()) as (client, recorded):
        read_to(client, b"0\r\n\r\n")
        while recorded.proxy._running:
            time.sleep(0.01)
        recorded.proxy.finish()
        client.sendall(post())
        assert client.recv(1) == b""
    assert len(upstream.requests) == 1  # type: ignore[attr-defined]


def test_a_response_that_cannot_be_recorded_is_forwarded() -> None:
    gzip = "the server sent an unrequested Content-Encoding: gzip"
    for body, header, why in (
        (b"\x1f\x8b", "Content-Encoding: gzip", gzip),
        (b"x" * (65 << 20), "X: 1", "a line of more than 67,108,864 bytes"),
    ):
        _, received, recorded = forwarded(http_answer(200, body, header))
        assert received.partition(b"\r\n\r\n")[2] == body
        assert recorded.omitted == [f"POST /api/chat: {why}"]


def test_a_request_that_is_too_large_for_a_line_is_forwarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostream.recording.proxy.LINE_LIMIT", 10)
    _, received, recorded = forwarded(http_answer(200, b"{}"))
    assert received.endswith(b"{}")
    assert recorded.omitted == ["POST /api/chat: the request is larger than 10 bytes"]


def test_a_client_that_leaves_at_the_end_is_recorded_once() -> None:
    logs: list[ExchangeLog] = []

    def record(log: ExchangeLog) -> None:
        logs.append(log)
        log._handler.disconnect()

    with serve(send_lines(A, B)) as upstream:
        proxy = Proxy(parse_host(upstream.url), record, str)
        with Server(proxy) as server, connected(server, post()) as client:
            while client.recv(1 << 16):
                pass
            proxy.finish()
    assert len(logs) == 1
