"""The proxy of record: what goes through it, how soon, and who is told when somebody leaves."""

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


class Tape:
    """A proxy that serves, what it wrote down of each exchange, and what it told."""

    def __init__(self, url: str) -> None:
        self.exchanges: list[list[dict[str, Any]]] = []
        self.missing: list[str] = []
        self.told: list[str] = []
        self.kept = threading.Condition()
        self.proxy = Proxy(parse_host(url), self._keep, self.told.append)

    def _keep(self, note: ExchangeLog) -> None:
        note.spool.seek(0)
        with self.kept:
            self.missing += [note.missing] if note.missing else []
            self.exchanges.append([json.loads(line) for line in note.spool.read().splitlines()])
            self.kept.notify_all()

    def wait_for(self, count: int) -> list[list[dict[str, Any]]]:
        with self.kept:
            assert self.kept.wait_for(lambda: len(self.exchanges) >= count, 60)
            return self.exchanges


@contextlib.contextmanager
def proxying(url: str) -> Iterator[tuple[Server, Tape]]:
    tape = Tape(url)
    with Server(tape.proxy) as server:
        yield server, tape
        tape.proxy.finish()


@contextlib.contextmanager
def connected(server: Server, *requests: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as client:
        for request in requests:
            client.sendall(request)
        yield client


@contextlib.contextmanager
def asking(url: str, *requests: bytes) -> Iterator[tuple[socket.socket, Tape]]:
    """A client of a proxy for this server."""
    with proxying(url) as (server, tape), connected(server, *requests) as client:
        yield client, tape


def read_to(client: socket.socket, end: bytes) -> bytes:
    said = b""
    while not said.endswith(end):
        block = client.recv(1 << 16)
        assert block, said
        said += block
    return said


class Steps:
    """Sends its pieces one by one, each when it is told to; notices when its client leaves."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.go = threading.Semaphore(0)
        self.asked = threading.Event()
        self.left = threading.Event()

    def __call__(self, exchange: RequestHandler) -> None:
        self.asked.set()
        for number, piece in enumerate(self.pieces):
            assert self.go.acquire(timeout=60)
            if not number:
                exchange.head(200, "application/x-ndjson")
            exchange.chunk(piece)
        if exchange.connection.recv(1) == b"":
            self.left.set()


def test_what_has_come_is_passed_on_before_more_comes() -> None:
    """Half a line, too."""
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
    with serve(respond) as upstream, proxying(upstream.url) as (server, tape):
        with connected(server, post()) as client:
            assert respond.asked.wait(60)
            if count:
                read_to(client, A + b"\r\n")
            if leave == "shutdown":
                client.shutdown(socket.SHUT_WR)
                assert respond.left.wait(60)
        assert respond.left.wait(60)
        ((request, *lines),) = tape.wait_for(1)
    assert request.get("status") == (200 if count else None)
    assert [line.get("error") for line in lines] == [None, "the client left"][1 - count :]
    assert lines[-1]["exit_status"] == 3


def test_a_client_that_leaves_a_complete_answer_has_missed_nothing() -> None:
    respond = Steps(A, B)
    for _ in respond.pieces:
        respond.go.release()
    with serve(respond) as upstream, proxying(upstream.url) as (server, tape):
        with connected(server, post()) as client:
            read_to(client, B + b"\r\n")
        ((_, *lines),) = tape.wait_for(1)
    assert [line["done"] for line in lines] == [False, True]


def test_a_client_that_never_reads_holds_nobody_up(capfd: pytest.CaptureFixture[str]) -> None:
    """And is let go at the end."""

    def endless(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        while True:
            exchange.chunk(A * 1000)

    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(serve(endless))
        server, tape = stack.enter_context(proxying(upstream.url))
        reader, idler = (stack.enter_context(connected(server, post())) for _ in range(2))
        assert len(stack.enter_context(reader.makefile("rb")).read(1 << 20)) == 1 << 20
        assert idler.recv(1)
        tape.proxy.finish()
        assert len(tape.exchanges) == 2
    assert capfd.readouterr().err == ""


def test_exchanges_at_the_same_time_are_written_down_whole() -> None:
    together = threading.Barrier(4)
    filler = b"x" * SPOOL_SIZE

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        for _ in range(3):
            together.wait(60)
            exchange.chunk(b'{"who":%b,"text":"%b"}\n' % (exchange.body, filler))
        exchange.end()

    def ask(server: Server, number: int) -> None:
        with connected(server, post(body=b"%d" % number)) as client:
            read_to(client, b"\r\n0\r\n\r\n")

    with serve(respond) as upstream, proxying(upstream.url) as (server, tape):
        clients = [threading.Thread(target=ask, args=(server, number)) for number in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert len(tape.exchanges) == 4
    for request, *lines in tape.exchanges:
        assert [line["who"] for line in lines] == [request["request"]["body"]] * 3


def test_an_exchange_is_written_down_before_its_client_can_know_that_it_is_over() -> None:
    """However its length is told: so the next request of a script is also the next exchange."""
    answers = [send_lines(A, B), lambda exchange: exchange.send_body(200, "application/json", B[:-1])]
    for respond, end in zip(answers, (b"0\r\n\r\n", B[:-1])):
        with serve(respond) as upstream, proxying(upstream.url) as (server, tape):  # type: ignore[arg-type]
            for count in range(1, 4):
                with connected(server, post()) as client:
                    read_to(client, end)
                    assert len(tape.exchanges) == count


def forwarded(answer: bytes, *headers: str, upstream: str = "127.0.0.1") -> tuple[dict[str, str], bytes, Tape]:
    """What the server saw of the client's headers, what the client saw of the answer, and the tape."""
    server_side = Answers(answer)
    request = post("Connection: close", "Connection: a, X-Hop", *headers)
    with tcp(server_side) as port, asking(f"http://{upstream}:{port}", request) as (client, tape):
        said = b"".join(iter(lambda: client.recv(1 << 16), b""))
    ((_, seen, _),) = server_side.requests
    return seen, said, tape


def test_headers_from_end_to_end_are_passed_on_and_no_others() -> None:
    answer = http_answer(
        429, b"{}", "Retry-After: 7", "Status: 429 Slow", "Length: 3", "Keep-Alive: 1", "Connection: X-Hip", "X-Hip: 1"
    )
    sent = [
        "X-Mine: 1",
        "X-Hop: 1",
        "TE: x",
        "Proxy-Authorization: x",
        "Accept-Encoding: gzip",
        "X-Bad: \x01",
        "X-U: à",
    ]
    seen, said, tape = forwarded(answer, *sent, "Accept: a", "Accept: b")
    assert {"x-mine": "1", "accept-encoding": "identity", "connection": "close"}.items() <= seen.items()
    assert not {"x-hop", "te", "proxy-authorization", "x-bad", "x-u"} & set(seen)
    assert seen["host"].startswith("127.0.0.1:")
    head, _, body = said.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 429 Too Many Requests"
    assert {"Retry-After: 7", "Status: 429 Slow", "Length: 3", "Content-Length: 2"} <= set(lines)
    assert not {"Keep-Alive: 1", "X-Hip: 1"} & set(lines)
    assert body == b"{}"
    assert tape.exchanges[0][0]["status"] == 429


@pytest.mark.parametrize(
    ("upstream", "seen_by_it", "told"),
    [("127.0.0.1", "Bearer x", 0), ("ollama.test", None, 1), ("localhost", "Bearer x", 0)],
)
def test_authorization_goes_over_no_open_wire(
    upstream: str, seen_by_it: str | None, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, ollama_test="127.0.0.1")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    seen, _, tape = forwarded(http_answer(200, b"{}"), "authorization: Bearer x", upstream=upstream)
    assert seen.get("authorization") == seen_by_it
    assert len(tape.told) == told
    assert all(text.startswith("Authorization is not sent over plain http to http://ollama.test") for text in tape.told)


def test_it_is_said_once_that_authorization_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, ollama_test="127.0.0.1")
    with tcp(Answers(http_answer(200, b"{}"))) as port, proxying(f"http://ollama.test:{port}") as (server, tape):
        for _ in range(2):
            with connected(server, post("Authorization: x")) as client:
                read_to(client, b"{}")
    assert len(tape.told) == 1


REFUSED = [
    (b"POST /api/chat HTTP/1.1\r\nHost: evil.test\r\n\r\n", b"403"),
    (b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n", b"403"),
    (b"POST http://elsewhere/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
    (b"POST @elsewhere/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
    (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
    (b"GET /\xe4 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
]


@pytest.mark.parametrize(("request_", "status"), REFUSED)
def test_what_is_not_meant_for_the_server_does_not_reach_it(request_: bytes, status: bytes) -> None:
    with serve(send_lines(B)) as upstream, asking(upstream.url, request_) as (client, tape):
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 " + status)
    assert upstream.requests == tape.exchanges == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT"])
def test_an_answer_without_a_body_ends_where_it_should(method: str) -> None:
    """The next answer on the same connection is not mistaken for it."""
    requests = [f"{method} /x HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), post()]
    answers = Answers(b"HTTP/1.1 204 No Content\r\n\r\n", http_answer(200, b"{}"))
    with tcp(answers) as port, proxying(f"127.0.0.1:{port}") as (server, tape), connected(server, *requests) as client:
        said = read_to(client, b"{}")
        assert said.count(b"HTTP/1.1") == 2
        tape.wait_for(2)


def test_what_is_not_http_is_a_502() -> None:
    with tcp(Answers(b"SSH-2.0\r\n")) as port, asking(f"127.0.0.1:{port}", post()) as (client, tape):
        said = read_to(client, b"}")
    assert said.startswith(b"HTTP/1.1 502 ")
    assert b"the answer is not HTTP" in said
    assert tape.exchanges[0][0]["status"] == 502


def test_after_the_end_nothing_is_asked_any_more() -> None:
    with serve(send_lines(B)) as upstream, asking(upstream.url, post()) as (client, tape):
        read_to(client, b"0\r\n\r\n")
        while tape.proxy._under_way:
            time.sleep(0.01)
        tape.proxy.finish()
        client.sendall(post())
        assert client.recv(1) == b""
    assert len(upstream.requests) == 1  # type: ignore[attr-defined]


UNRECORDED = {
    "compressed": (http_answer(200, b"\x1f\x8b", "Content-Encoding: gzip"), "the answer is compressed (gzip), unasked"),
    "a line too long": (http_answer(200, b"x" * (65 << 20)), "a line of more than 67,108,864 bytes"),
}


@pytest.mark.parametrize("name", UNRECORDED)
def test_what_cannot_be_recorded_is_passed_on_all_the_same(name: str) -> None:
    answer, why = UNRECORDED[name]
    _, said, tape = forwarded(answer)
    assert said.partition(b"\r\n\r\n")[2] == answer.partition(b"\r\n\r\n")[2]
    assert tape.missing == [f"POST /api/chat: {why}"]


def test_a_client_that_leaves_at_the_very_end_is_written_down_once() -> None:
    kept: list[ExchangeLog] = []

    def keep(note: ExchangeLog) -> None:
        kept.append(note)
        note._exchange.disconnect()

    with serve(send_lines(A, B)) as upstream:
        proxy = Proxy(parse_host(upstream.url), keep, str)
        with Server(proxy) as server, connected(server, post()) as client:
            while client.recv(1 << 16):
                pass
            proxy.finish()
    assert len(kept) == 1
