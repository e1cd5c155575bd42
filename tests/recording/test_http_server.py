"""The loopback server frames its responses as Ollama does, limits what it reads, and refuses web pages."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Callable

import pytest

from ostream.errors import OstreamError, RequestError
from ostream.recording.http_server import RequestHandler, Server
from ostream.recording.request_handler import BODY_LIMIT, CHUNKED_ABOVE, DRAIN_LIMIT, LARGE_BODY
from ostream.system.polling import wait_ready
from tests.process import ROOT
from tests.server import reserved_port, serve

LINES = [b'{"a":1}\n', b'{"b":2}\n']


def exchange_bytes(url: str, *requests: bytes) -> bytes:
    """Send requests on one connection, and return all that the server sends until it closes it, without dates."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
        for request in requests:
            connection.sendall(request)
        with contextlib.suppress(OSError):  # the server may have closed it
            connection.shutdown(socket.SHUT_WR)
        received = b""
        for data in iter(lambda: connection.recv(1 << 16), b""):
            received += data
        return re.sub(rb"Date: [^\r]*\r\n", b"", received)


def stream(exchange: RequestHandler) -> None:
    exchange.head(200, "application/x-ndjson")
    for line in LINES:
        exchange.chunk(line)
    exchange.end()


def post(*headers: str, body: bytes = b"{}", version: str = "1.1") -> bytes:
    lines = [f"POST /api/chat HTTP/{version}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
FRAMED = [
    ((post("Host: localhost"),), b'Transfer-Encoding: chunked\r\n\r\n8\r\n{"a":1}\n\r\n8\r\n{"b":2}\n\r\n0\r\n\r\n'),
    ((post(version="1.0"), post(version="1.0")), b"\r\n" + b"".join(LINES)),  # the end of the connection is the end
]


@pytest.mark.parametrize(("requests", "response"), FRAMED)
def test_each_line_of_a_stream_is_an_http_chunk_except_in_http_1_0(requests: list[bytes], response: bytes) -> None:
    with serve(stream) as server:
        assert exchange_bytes(server.url, *requests) == HEAD + response


def test_a_connection_serves_several_requests() -> None:
    def respond(exchange: RequestHandler) -> None:
        exchange.send_body(200, "text/plain", exchange.command.encode() + exchange.path.encode() + exchange.body)

    with serve(respond) as server:
        get = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
        received = exchange_bytes(server.url, post(body=b"one"), get, post("Host: [::1]:1", body=b"two"))
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in received.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [b"POST/api/chatone", b"GET/x", b"POST/api/chattwo"]


FOREIGN = [
    ("Host: evil.test",),
    ("Host: evil.test:11434",),
    ("Host: localhost.evil.test",),
    ("Host: 127.0.0.1.evil.test",),
    ("Host: 192.0.2.1",),
    ("Host: [2001:db8::1]:80",),
    ("Host: localhost", "Origin: http://localhost"),
    ("Host: localhost", "Origin: null"),
    ("Host: localhost", "origin:"),
    ("Host: localhost", "Sec-Fetch-Site: cross-site"),
    ("Host: localhost", "sec-fetch-site: same-site"),
    ("Host: evil.test", "Host: localhost"),
]
OWN = ["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.9.1:11434", "[::1]", "[::1]:11434", "a.localhost", "0.0.0.0:1"]


REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("command", ["GET", "POST"])
def test_a_request_of_a_web_page_is_refused_before_its_body_is_read(command: str, headers: tuple[str, ...]) -> None:
    reports: list[str] = []
    with Server(stream, report=reports.append) as server:
        begin = [f"{command} /api/tags?x HTTP/1.1", "Content-Length: 1000000000", "Expect: 100-continue"]
        head = [*begin, *headers, "", ""]
        received = exchange_bytes(server.url, "\r\n".join(head).encode())
    assert received == REFUSED
    assert reports[0].startswith(f"refused {command} /api/tags: ")


def test_a_client_that_is_still_sending_receives_the_refusal() -> None:
    with serve(stream) as server:
        head = f"POST / HTTP/1.1\r\nOrigin: null\r\nContent-Length: {DRAIN_LIMIT}\r\n\r\n".encode()
        assert exchange_bytes(server.url, head, b"x" * (DRAIN_LIMIT - (1 << 16))) == REFUSED


def test_refusals_are_reported_up_to_a_limit() -> None:
    reports: list[str] = []
    with Server(stream, report=reports.append) as server:
        for _ in range(9):
            exchange_bytes(server.url, post("Origin: null"))
    assert reports == ["refused POST /api/chat: sent by a web page (null)"] * 5 + [
        "more requests were refused; they are not reported"
    ]


@pytest.mark.parametrize("headers", [*((f"Host: {name}",) for name in OWN), ("Sec-Fetch-Site: same-origin",)])
def test_a_request_to_this_machine_is_answered(headers: tuple[str, ...]) -> None:
    with serve(stream) as server:
        assert b"200 OK" in exchange_bytes(server.url, post(*headers))


@pytest.mark.parametrize("length", [0, 1, CHUNKED_ABOVE, CHUNKED_ABOVE + 1])
def test_a_complete_body_is_chunked_above_a_limit(length: int) -> None:
    body = b"x" * length

    def respond(exchange: RequestHandler) -> None:
        exchange.send_body(404, "application/json", body)

    with serve(respond) as server:
        received = exchange_bytes(server.url, post("Host: localhost"))
        head = exchange_bytes(server.url, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    begin = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n"
    with_length = begin + b"Content-Length: %d\r\n\r\n" % length
    chunked = begin + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (length, body)
    assert received == (chunked if length > CHUNKED_ABOVE else with_length + body)
    assert head == with_length


def echo(exchange: RequestHandler) -> None:
    exchange.send_body(200, None, b"%d:%b" % (len(exchange.body), exchange.body[:9]))


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", encoding: str = "chunked") -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {encoding}\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


BODIES = [
    # a request, the status and the body of the response
    (chunked(b"a", b"bc"), b"200", b"3:abc"),
    (chunked(b"a", end=b"00;x=1\r\nTrailer: 1\r\n\r\n"), b"200", b"1:a"),
    (chunked(b"x" * LARGE_BODY, b"x", b"x"), b"200", b"%d:xxxxxxxxx" % (LARGE_BODY + 2)),
    (post(body=b"x" * (LARGE_BODY + 1)), b"200", b"%d:xxxxxxxxx" % (LARGE_BODY + 1)),
    (chunked(end=b"%x\r\n" % (BODY_LIMIT + 1)), b"413", b""),
    (chunked(end=b"-1\r\n"), b"400", b""),
    (chunked(end=b"\r\n"), b"400", b""),
    (chunked(end=b"1\r\nab\r\n0\r\n\r\n"), b"400", b""),
    (chunked(encoding="gzip"), b"501", b""),
    (f"POST / HTTP/1.1\r\nContent-Length: {BODY_LIMIT + 1}\r\n\r\n".encode(), b"413", b""),
    *(
        (f"POST / HTTP/1.1\r\nContent-Length: {each}\r\n\r\n".encode("latin-1"), b"400", b"")
        for each in ("x", "-1", "²", "")
    ),
]


@pytest.mark.parametrize(("request_", "status", "body"), BODIES, ids=range(len(BODIES)))
def test_a_body_is_read_or_refused(request_: bytes, status: bytes, body: bytes) -> None:
    reports: list[str] = []
    with Server(echo, report=reports.append) as server:
        received = exchange_bytes(server.url, request_)
    assert received.startswith(b"HTTP/1.1 " + status)
    assert received.endswith(b"\r\n\r\n" + body)
    assert len(reports) == (status != b"200")


def test_a_client_that_leaves_inside_its_request_gets_no_response(capfd: pytest.CaptureFixture[str]) -> None:
    with serve(echo) as server:
        for request in (post(body=b"abc")[:-1], chunked(b"abc")[:-9]):
            assert exchange_bytes(server.url, request) == b""
        assert server.requests == []  # type: ignore[attr-defined]
    assert capfd.readouterr().err == ""


def test_a_client_is_invited_to_send_its_body_once_its_headers_are_accepted() -> None:
    with serve(echo) as server, socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as client:
        client.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"x")
        assert client.recv(1000).endswith(b"1:x")


def test_a_client_that_sends_its_next_request_has_not_left() -> None:
    bodies: list[bytes] = []
    received_first, sent_again = threading.Event(), threading.Event()

    def respond(exchange: RequestHandler) -> None:
        with exchange.watched() as client:
            bodies.append(exchange.body)
            received_first.set()
            assert sent_again.wait(20)
            assert not wait_ready(None, 0, client, iter([0.1, 0]).__next__)
        exchange.send_body(200, None, exchange.body)

    with serve(respond) as server, socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as client:
        client.sendall(post(body=b"one"))
        assert received_first.wait(20)
        client.sendall(post(body=b"two"))
        sent_again.set()
        received = b""
        while not received.endswith(b"two"):
            received += client.recv(1000)
    assert bodies == [b"one", b"two"]


def test_large_bodies_wait_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostream.recording.http_server.ALL_BODIES", LARGE_BODY * 2)
    arrived, release = threading.Semaphore(0), threading.Event()

    def respond(exchange: RequestHandler) -> None:
        arrived.release()
        release.wait(20)
        echo(exchange)

    with serve(respond) as server:
        request = post("Connection: close", body=b"x" * (LARGE_BODY + 1))
        clients = [threading.Thread(target=exchange_bytes, args=(server.url, request)) for _ in range(2)]
        for client in clients:
            client.start()
        assert arrived.acquire(timeout=20)
        assert not arrived.acquire(timeout=0.3)
        release.set()
        for client in clients:
            client.join()


def sends_for_ever(exchange: RequestHandler) -> None:
    exchange.head(200, "application/x-ndjson")
    while True:
        exchange.chunk(b"x" * 65_536)


def has_a_bug(exchange: RequestHandler) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(("respond", "noise"), [(sends_for_ever, ""), (has_a_bug, "ZeroDivisionError")])
def test_a_traceback_is_printed_for_a_defect_but_not_for_a_client_that_leaves(
    respond: Callable[[RequestHandler], None], noise: str, capfd: pytest.CaptureFixture[str]
) -> None:
    handled = threading.Event()

    class Watched(Server):
        def shutdown_request(self, request: object) -> None:
            super().shutdown_request(request)  # type: ignore[arg-type]
            handled.set()

    with Watched(respond) as server:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
            connection.sendall(post("Host: localhost"))
            connection.recv(1)
        assert handled.wait(20)
    printed = capfd.readouterr().err
    assert noise in printed
    assert bool(printed) is bool(noise)


def test_a_port_can_be_chosen_and_is_free_afterwards() -> None:
    with reserved_port() as port:
        for _ in range(2):
            with Server(echo, port) as server:
                assert server.url == f"http://127.0.0.1:{port}"
                assert server.socket.getsockname() == ("127.0.0.1", port)
                with pytest.raises(RequestError, match=f"^port {port}: Address already in use$"):
                    Server(echo, port)
                idle = socket.create_connection(("127.0.0.1", port), timeout=20)
                idle.sendall(post())
                assert idle.recv(1000)
            assert idle.recv(1) == b"", "a connection that was left open is closed with the server"
            idle.close()


@pytest.mark.full
def test_more_clients_than_descriptors_wait_for_their_turn() -> None:
    """Neither a failure nor a busy loop."""
    script = """
import resource, sys, threading, time, urllib.request
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
from ostream.recording.http_server import Server
def respond(exchange):
    with exchange.watched():
        arrived.acquire(timeout=0.2)
    exchange.send_body(200, None, b"x")
arrived = threading.Semaphore(0)
with Server(respond, report=lambda text: print(text, flush=True)) as server:
    print(server.server_port, flush=True)
    begin = time.process_time()
    sys.stdin.read()
    print(time.process_time() - begin)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        idle = [socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) for _ in range(3)]
        time.sleep(1.5)  # longer than the server waits before it looks again
        for connection in idle:
            connection.close()
        answers: list[bytes] = []
        clients = [threading.Thread(target=lambda: answers.append(exchange_bytes(url, post()))) for _ in range(12)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        output, _ = process.communicate("")
    assert [answer[-1:] for answer in answers] == [b"x"] * 12
    note, cpu_s = output.splitlines()
    assert note == "serving 2 connections at a time; raise 'ulimit -n' for more"
    assert float(cpu_s) < 1.5


def test_accept_waits_when_the_process_is_out_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError(errno.EMFILE, "x"), OSError(errno.ECONNABORTED, "x")]

    class Failing(Server):
        def get_request(self) -> Any:
            if failures:
                raise failures.pop()
            return super().get_request()

    reports: list[str] = []
    with Failing(echo, report=reports.append) as server:
        assert exchange_bytes(server.url, post()).endswith(b"2:{}")
    assert reports == ["serving 0 connections at a time; raise 'ulimit -n' for more"]


def test_without_more_threads_connections_are_served_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any, the server reports it and closes its port."""

    def respond(exchange: RequestHandler) -> None:
        with exchange.watched():
            echo(exchange)

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    reports: list[str] = []
    with Server(respond, report=reports.append) as server:
        monkeypatch.setattr(threading.Thread, "start", fail)
        assert [exchange_bytes(server.url, post())[-4:] for _ in range(3)] == [b"2:{}"] * 3
    assert reports == ["serving one connection at a time, because the limit of threads is reached"]
    before = set(os.listdir("/dev/fd"))
    message = r"^http://127.0.0.1:\d+: cannot serve, because no thread can be started$"
    with pytest.raises(OstreamError, match=message), Server(echo):
        pass
    assert set(os.listdir("/dev/fd")) <= before


def test_without_a_port_the_message_names_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(server: object) -> None:
        raise OSError(errno.EADDRNOTAVAIL, "no such address")

    monkeypatch.setattr(Server, "server_bind", fail)
    with pytest.raises(RequestError, match=r"\A127\.0\.0\.1: no such address\Z"):
        Server(print)
