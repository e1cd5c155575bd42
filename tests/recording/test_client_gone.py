"""The loopback server notices that its client has left, although nothing is sent."""

from __future__ import annotations

import socket
import threading

import pytest

from ostream.recording.http_server import RequestHandler, Server
from ostream.system.polling import ReaderGone, wait_ready
from tests.recording.test_http_server import post
from tests.server import serve


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=20)


def test_a_client_that_leaves_is_noticed(capfd: pytest.CaptureFixture[str]) -> None:
    waits, left = threading.Event(), threading.Event()

    def respond(exchange: RequestHandler) -> None:
        with exchange.watched() as client:
            waits.set()
            try:
                wait_ready(None, 0, client, lambda: 60)
            except ReaderGone:
                left.set()
                raise

    with serve(respond) as server:
        for leave in (lambda client: client.close(), lambda client: client.shutdown(socket.SHUT_WR)):
            with connect(server) as client:
                client.sendall(post())
                assert waits.wait(20)
                leave(client)
                assert left.wait(20)
            waits.clear()
            left.clear()
    assert capfd.readouterr().err == ""


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

    with serve(respond) as server, connect(server) as client:
        client.sendall(post(body=b"one"))
        assert received_first.wait(20)
        client.sendall(post(body=b"two"))
        sent_again.set()
        received = b""
        while not received.endswith(b"two"):
            received += client.recv(1000)
    assert bodies == [b"one", b"two"]
