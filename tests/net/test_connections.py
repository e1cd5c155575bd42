"""A client keeps a connection for its next request if the response was read to its end, and notices a stale one."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Callable, Iterator

import pytest

from ostream import Client, IncompleteStream, chat
from ostream.net.exchange import Connection
from tests.server import certificate, http_answer, read_request, reset, resolve, server_context, tcp

DONE = b'{"message":{"role":"assistant","content":"hi"},"done":true}\n'
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWER = b"%x\r\n%b\r\n" % (len(DONE), DONE)
CHUNKED = HEAD + ANSWER + b"0\r\n\r\n"
PLAIN = http_answer(200, DONE)
REUSED, NEW = [2], [1, 1]  # the number of requests on each connection


class Connections:
    """Send `responses`, one for each request on a connection, then close it. `counts` are the requests of each."""

    def __init__(self, *responses: bytes, close: Callable[[socket.socket], None] = socket.socket.close) -> None:
        self.responses = responses
        self.close = close
        self.counts: list[int] = []
        self.targets: list[str] = []
        self.tls = None
        self.closed = threading.Condition()

    def __call__(self, connection: socket.socket) -> None:
        if self.tls:
            connection = self.tls.wrap_socket(connection, server_side=True)
        index = len(self.counts)
        self.counts.append(0)
        with connection:
            for response in self.responses:
                with contextlib.suppress(ValueError):
                    self.targets.append(read_request(connection)[0])
                    self.counts[index] += 1
                    connection.sendall(response)
            with self.closed:
                self.close(connection)
                self.closed.notify_all()


# name: the response to both requests, the requests on each connection
KEPT = {
    "chunked": (CHUNKED, REUSED),
    "Content-Length": (PLAIN, REUSED),
    "an HTTP error": (http_answer(404, b'{"error":"no"}'), REUSED),
    "Connection: close": (http_answer(200, DONE, "Connection: close"), NEW),
    "to the end of the connection": (b"HTTP/1.1 200 OK\r\n\r\n" + DONE, NEW),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(DONE), DONE), NEW),
    "more than Content-Length": (PLAIN + b"x", NEW),
    "more after the last HTTP chunk": (CHUNKED + b"x", NEW),
    "trailers": (HEAD + ANSWER + b"0\r\nX: y\r\n\r\n", NEW),
    "more chunks after done": (HEAD + ANSWER + ANSWER, NEW),
    "nothing after done": (HEAD + ANSWER, NEW),
}


@pytest.mark.parametrize(("response", "counts"), KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_is_kept_if_the_response_was_complete(response: bytes, counts: list[int], stream: bool) -> None:
    over = threading.Event()
    server = Connections(response, response, close=lambda connection: over.wait(20))
    with tcp(server) as port, Client(f"127.0.0.1:{port}") as client:
        for _ in range(2):
            with contextlib.suppress(Exception):
                list(client.chat("m", stream=stream))
        over.set()
    assert server.counts == counts


def test_requests_on_a_kept_connection_have_the_same_headers() -> None:
    received: list[tuple[str, dict[str, str], bytes]] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            for end in ("X: y", "X: y", "Connection: close"):
                received.append(read_request(connection))
                connection.sendall(http_answer(200, DONE, end))

    with tcp(serve) as port, Client(f"127.0.0.1:{port}") as client:
        for prompt in ("a", "bc", "def", "g"):
            client.chat("m", [{"role": "user", "content": prompt}])
        client.generate("m", "h")
    lengths = [int(headers.pop("content-length")) for _, headers, _ in received]
    assert lengths == [len(body) for *_, body in received]
    assert [headers for _, headers, _ in received] == [received[0][1]] * 5


def test_a_response_that_was_not_read_to_its_end_closes_its_connection() -> None:
    left = threading.Event()

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(HEAD + b"2e\r\n" + b'{"message":{"content":"a"},"done":false}     \n\r\n')
        connection.recv(1)  # returns when the client has left
        left.set()

    with tcp(handle) as port, Client(f"127.0.0.1:{port}") as client:
        with client.chat("m", stream=True) as stream:
            next(stream)
        assert left.wait(20)


@pytest.mark.parametrize("close", [socket.socket.close, reset])
def test_a_connection_that_the_server_closed_is_not_used(close: Callable[[socket.socket], None]) -> None:
    server = Connections(CHUNKED, close=close)
    with tcp(server) as port, Client(f"127.0.0.1:{port}") as client:
        for _ in range(3):
            assert client.chat("m").done
            with server.closed:
                pass
    assert server.counts == [1, 1, 1]


@pytest.mark.parametrize("close", [socket.socket.close, reset])
def test_a_request_on_a_kept_connection_that_fails_without_a_byte_is_sent_once_more(
    close: Callable[[socket.socket], None],
) -> None:
    def handle(connection: socket.socket) -> None:
        for response in (CHUNKED, b""):
            bodies.append(read_request(connection)[2])
            connection.sendall(response)
        close(connection)

    bodies: list[bytes] = []
    with tcp(handle) as port, Client(f"127.0.0.1:{port}") as client:
        assert client.chat("m").done
        assert client.chat("m").done  # without `retry`
        assert len(bodies) == 3
        # On a new connection that fails the same way, it is an error.
        client.chat("m")
        client.close()
    with tcp(lambda connection: close(connection) if read_request(connection) else None) as port, pytest.raises(
        IncompleteStream
    ):
        Client(f"127.0.0.1:{port}").chat("m")


@pytest.mark.parametrize(("rest", "counts"), [(b"0\r\n\r\n", REUSED), (b"0\r\n\r\nx", NEW), (b"0\r\n", NEW)])
def test_the_end_of_a_response_may_arrive_after_the_answer(rest: bytes, counts: list[int]) -> None:
    read, sent = threading.Event(), threading.Event()

    def handle(connection: socket.socket) -> None:
        found.append(0)
        for _ in range(2):
            read_request(connection)
            found[-1] += 1
            connection.sendall(HEAD + ANSWER)
            assert read.wait(20)
            connection.sendall(rest)
            sent.set()

    found: list[int] = []
    with tcp(handle) as port, Client(f"127.0.0.1:{port}") as client:
        assert [chunk.done for chunk in client.chat("m", stream=True)] == [True]
        read.set()
        assert sent.wait(20)
        assert [chunk.done for chunk in client.chat("m", stream=True)] == [True]
    assert found == counts


def test_a_request_whose_response_has_begun_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def exchange(self: Connection, _: object) -> None:
        self._wire.has_received = True
        self.close()
        raise ConnectionResetError

    server = Connections(CHUNKED)
    with tcp(server) as port, Client(f"127.0.0.1:{port}") as client:
        assert client.chat("m").done
        monkeypatch.setattr(Connection, "exchange", exchange)
        monkeypatch.setattr(Connection, "is_usable", lambda self: True)
        with pytest.raises(IncompleteStream):
            client.chat("m")
    assert server.counts == [1]


def test_a_kept_connection_that_fails_after_a_byte_is_an_error() -> None:
    server = Connections(CHUNKED, b"HTTP/1.1")
    with tcp(server) as port, Client(f"127.0.0.1:{port}") as client:
        assert client.chat("m").done
        with pytest.raises(Exception, match="not HTTP"):
            client.chat("m")
    assert server.counts == [2]


def test_functions_of_the_module_keep_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Connections(CHUNKED, CHUNKED)
    with tcp(server) as port:
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{port}")
        assert chat("m").done
        assert chat("m").done
    assert server.counts == NEW


def test_a_forked_child_uses_a_connection_of_its_own() -> None:
    server = Connections(CHUNKED, CHUNKED)
    with tcp(server) as port, Client(f"127.0.0.1:{port}") as client:
        assert client.chat("m").done
        child = os.fork()
        if not child:
            os._exit(not client.chat("m").done)
        assert os.waitpid(child, 0)[1] == 0
        assert client.chat("m").done
    assert sorted(server.counts) == [1, 2]


def test_a_forked_child_does_not_keep_the_connection_of_a_response_of_its_parent() -> None:
    server = Connections(CHUNKED, CHUNKED)
    with tcp(server) as port, Client(f"127.0.0.1:{port}") as client:
        response = client._session.post("/api/chat", b"{}")
        assert b"".join(response.blocks()) == DONE
        child = os.fork()
        if not child:
            response.close()
            os._exit(not client.chat("m").done)
        assert os.waitpid(child, 0)[1] == 0
        response.close()
        assert client.chat("m").done
    assert sorted(server.counts) == [1, 2]


@pytest.fixture(name="pem", scope="module")
def _pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("certificates"), "local", "IP:127.0.0.1")


def test_a_tls_connection_is_kept_and_a_closed_one_is_noticed(pem: Path) -> None:
    server = Connections(CHUNKED, PLAIN)
    server.tls = server_context(pem)  # type: ignore[assignment]
    with tcp(server) as port, Client(f"https://127.0.0.1:{port}", cacert=str(pem)) as client:
        for _ in range(3):
            assert client.chat("m").done
    assert server.counts == [2, 1]


@pytest.fixture(name="proxy")
def _proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connections]:
    resolve(monkeypatch, example_test="127.0.0.1")
    server = Connections(CHUNKED, CHUNKED)
    with tcp(server) as port:
        monkeypatch.setenv("http_proxy", f"http://me:pass@127.0.0.1:{port}")
        yield server


def test_a_connection_to_a_proxy_is_kept_for_that_proxy_only(
    proxy: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client("http://example.test/base") as client:
        assert client.chat("m").done
        assert client.chat("m").done
        assert proxy.targets == ["POST http://example.test:80/base/api/chat HTTP/1.1"] * 2
        monkeypatch.setenv("no_proxy", "example.test")
        with pytest.raises(OSError):
            client.chat("m")
    assert proxy.counts == REUSED
