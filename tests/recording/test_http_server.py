"""The loopback server answers as a real one does, and no web page can drive it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from pathlib import Path
from typing import Callable

import pytest

from ostream.recording.http_server import WHOLE_LIMIT, RequestHandler, Server
from tests.server import send_raw, serve

LINES = [b'{"a":1}\n', b'{"b":2}\n']


def talk(url: str, *requests: bytes) -> bytes:
    """Everything a server says on one connection to these requests, until it closes it."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
        for request in requests:
            connection.sendall(request)
        with contextlib.suppress(OSError):  # it may be gone
            connection.shutdown(socket.SHUT_WR)
        said = b""
        for data in iter(lambda: connection.recv(1 << 16), b""):
            said += data
        return re.sub(rb"Date: [^\r]*\r\n", b"", said)


def stream(exchange: RequestHandler) -> None:
    exchange.head(200, "application/x-ndjson")
    for line in LINES:
        exchange.chunk(line)
    exchange.end()


def post(*headers: str, body: bytes = b"{}", version: str = "1.1") -> bytes:
    lines = [f"POST /api/chat HTTP/{version}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def test_a_stream_is_one_http_chunk_for_each_line() -> None:
    with serve(stream) as server:
        said = talk(server.url, post("Host: localhost"))
    assert said == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'8\r\n{"a":1}\n\r\n8\r\n{"b":2}\n\r\n0\r\n\r\n'
    )


def test_http_1_0_is_answered_to_the_end_of_the_connection() -> None:
    with serve(stream) as server:
        said = talk(server.url, post(version="1.0"), post(version="1.0"))
    assert said == b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n" + b"".join(LINES)


def test_a_connection_serves_several_requests() -> None:
    def respond(exchange: RequestHandler) -> None:
        exchange.send_body(200, "text/plain", exchange.command.encode() + exchange.path.encode() + exchange.body)

    with serve(respond) as server:
        get = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
        said = talk(server.url, post("Host: localhost", body=b"one"), get, post("Host: [::1]:1", body=b"two"))
    answers = said.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [
        b"POST/api/chatone",
        b"GET/x",
        b"POST/api/chattwo",
    ]


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
    ("Host: evil.test", "Host: localhost"),
]
OWN = ["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.9.1:11434", "[::1]", "[::1]:11434", "a.localhost", "0.0.0.0:1"]


@pytest.mark.parametrize("headers", FOREIGN)
def test_what_a_web_page_could_send_is_refused_with_an_empty_answer(headers: tuple[str, ...]) -> None:
    with serve(stream) as server:
        said = talk(server.url, post(*headers))
    assert said == b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    assert server.requests == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("host", OWN)
def test_every_name_of_this_machine_is_welcome(host: str) -> None:
    with serve(stream) as server:
        assert b"200 OK" in talk(server.url, post(f"Host: {host}"))


@pytest.mark.parametrize("command", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_a_web_page_is_refused_whatever_it_asks(command: str) -> None:
    with serve(stream) as server:
        said = talk(server.url, f"{command} / HTTP/1.1\r\nHost: evil.test\r\n\r\n".encode())
    assert said == b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("length", [0, 1, WHOLE_LIMIT, WHOLE_LIMIT + 1])
def test_a_whole_answer_is_chunked_above_a_limit_as_by_the_real_server(length: int) -> None:
    body = b"x" * length

    def respond(exchange: RequestHandler) -> None:
        exchange.send_body(404, "application/json", body)

    with serve(respond) as server:
        said = talk(server.url, post("Host: localhost"))
        head = talk(server.url, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    begin = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n"
    with_length = begin + b"Content-Length: %d\r\n\r\n" % length
    chunked = begin + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (length, body)
    assert said == (chunked if length > WHOLE_LIMIT else with_length + body)
    assert head == with_length


def test_headers_leave_with_the_first_bytes_of_the_body() -> None:
    told, has_head = threading.Event(), threading.Event()

    def respond(exchange: RequestHandler) -> None:
        exchange.head(299, None, X_Mine="yes")
        has_head.set()
        told.wait()
        exchange.end()

    with serve(respond) as server:
        port = server.server_port
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(post("Host: localhost"))
            has_head.wait()
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
            connection.settimeout(20)
            told.set()
            said = connection.recv(1 << 16)
    assert said.startswith(b"HTTP/1.1 299 \r\nDate: ")
    assert said.endswith(b"\r\nX-Mine: yes\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


def cut(exchange: RequestHandler) -> None:
    exchange.head(200, "application/x-ndjson")
    exchange.chunk(LINES[0])
    exchange.truncate()


def reset(exchange: RequestHandler) -> None:
    exchange.head(200, "application/x-ndjson")
    exchange.chunk(LINES[0])
    exchange.reset()


def test_a_killed_server_sends_nothing_more() -> None:
    with serve(cut) as server:
        said = talk(server.url, post("Host: localhost"))
    assert said.endswith(b'\r\n\r\n8\r\n{"a":1}\n\r\n')


def test_a_reset_tears_the_connection_down() -> None:
    with serve(reset) as server, pytest.raises(ConnectionResetError):
        talk(server.url, post("Host: localhost"))


@pytest.mark.parametrize("length", ["", "x", "-1", "²"])
def test_a_length_that_is_none_is_no_body(length: str) -> None:
    def respond(exchange: RequestHandler) -> None:
        exchange.send_body(200, None, b"body: %b" % exchange.body)

    request = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode("latin-1")
    with serve(respond) as server:
        assert talk(server.url, request).endswith(b"\r\n\r\nbody: ")


def wants_what_is_gone(exchange: RequestHandler) -> None:
    exchange.head(200, "application/x-ndjson")
    while True:
        exchange.chunk(b"x" * 65_536)


def has_a_bug(exchange: RequestHandler) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(("respond", "noise"), [(wants_what_is_gone, ""), (has_a_bug, "ZeroDivisionError")])
def test_a_client_that_leaves_is_no_error_and_a_bug_is(
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


def test_requests_are_served_at_the_same_time() -> None:
    both = threading.Barrier(2)

    def respond(exchange: RequestHandler) -> None:
        both.wait(20)
        stream(exchange)

    with serve(respond) as server:
        other = threading.Thread(target=talk, args=(server.url, post()))
        other.start()
        assert b"200 OK" in talk(server.url, post())
        other.join()


def test_it_listens_on_this_machine_only() -> None:
    with serve(stream) as server:
        assert server.url == f"http://127.0.0.1:{server.server_port}"
        assert server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc on this system")
def test_a_server_that_nobody_asks_does_not_wake_up() -> None:
    with serve(send_raw(b"")):
        before = switches()
        time.sleep(1)
        # Twenty for a look every 50 ms; this thread sleeps and wakes once.
        assert switches() - before < 10


def switches() -> int:
    """How often all threads of this process have waited for something."""
    statuses = [path.read_text() for path in Path("/proc/self/task").glob("*/status")]
    return sum(int(re.findall(r"\nvoluntary_ctxt_switches:\s+(\d+)", status)[0]) for status in statuses)
