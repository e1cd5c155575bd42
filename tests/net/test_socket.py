"""A socket that keeps to the timeouts, and how to get one."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any, Iterator

import pytest

from ostream.errors import UNAVAILABLE, ConnectError, StreamTimeout
from ostream.net.socket import BLOCK, WatchedSocket, connect
from ostream.net.timeouts import Timeouts
from ostream.system.polling import ReaderGone
from tests.server import resolve, tcp

LARGE = os.urandom(1 << 20) * 4  # more than a socket holds


@pytest.fixture(name="pair")
def _pair() -> Iterator[tuple[socket.socket, WatchedSocket]]:
    there, here = socket.socketpair()
    with there, here:
        yield there, WatchedSocket(here, Timeouts(max_time=20), None)


def test_more_than_the_socket_holds_is_sent_as_the_other_end_takes_it(
    pair: tuple[socket.socket, WatchedSocket],
) -> None:
    there, wire = pair
    taken = bytearray()

    def take() -> None:
        while len(taken) < len(LARGE):
            taken.extend(there.recv(1 << 16))

    taker = threading.Thread(target=take)
    taker.start()
    wire.sendall(LARGE)
    taker.join()
    assert taken == LARGE


def test_what_is_short_goes_as_one_when_the_answer_is_read(pair: tuple[socket.socket, WatchedSocket]) -> None:
    there, wire = pair
    there.setblocking(False)
    wire.sendall(b"header ")
    wire.sendall(b"body")
    with pytest.raises(BlockingIOError):
        there.recv(1)
    there.sendall(b"answer")
    assert wire.makefile().read1(100) == b"answer"
    assert there.recv(100) == b"header body"


def test_who_has_answered_is_sent_no_more(pair: tuple[socket.socket, WatchedSocket]) -> None:
    there, wire = pair
    wire.sendall(b"x" * BLOCK + b"x")  # goes as it is
    there.sendall(b"no")
    wire.sendall(LARGE)
    assert wire.makefile().read1(100) == b"no"
    assert there.recv(len(LARGE), socket.MSG_WAITALL | socket.MSG_DONTWAIT) == b"x" * BLOCK + b"x"


def test_what_is_long_is_not_kept(pair: tuple[socket.socket, WatchedSocket]) -> None:
    there, wire = pair
    wire.sendall(b"header ")
    wire.sendall(b"x" * BLOCK)
    assert there.recv(7) == b"header "


def test_what_the_other_end_does_not_take_is_not_waited_for(pair: tuple[socket.socket, WatchedSocket]) -> None:
    _, wire = pair
    wire.timeouts = Timeouts(connect=0.1)
    with pytest.raises(StreamTimeout):
        wire.sendall(LARGE)


def test_who_hangs_up_while_we_send_may_have_answered_before(pair: tuple[socket.socket, WatchedSocket]) -> None:
    there, wire = pair
    there.sendall(b"too large")
    there.close()
    wire.sendall(LARGE)
    assert wire.makefile().read() == b"too large"


def test_a_read_watches_the_reader_of_our_output(pair: tuple[socket.socket, WatchedSocket]) -> None:
    _, wire = pair
    reader, writer = os.pipe()
    wire.reader = writer
    threading.Timer(0.05, os.close, (reader,)).start()
    try:
        with pytest.raises(ReaderGone):
            wire.makefile().read1(1)
    finally:
        os.close(writer)


def test_the_socket_stays_open_until_it_and_its_readers_are_closed(pair: tuple[socket.socket, WatchedSocket]) -> None:
    _, wire = pair
    first, second = wire.makefile(), wire.makefile()
    assert first.readable()
    wire.close()
    first.raw.close()
    first.raw.close()
    first.close()
    assert wire.sock.fileno() >= 0
    second.close()
    assert wire.sock.fileno() == -1


def look_up(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, int]) -> None:
    """A name stands for these families and ports of this machine."""
    found = [(family, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for family, port in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


@pytest.fixture(name="closed_port")
def _closed_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


NO_SUCH_FAMILY = 9999


def test_the_next_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    with tcp(lambda connection: connection.sendall(b"here")) as port:
        look_up(monkeypatch, (NO_SUCH_FAMILY, port), (socket.AF_INET, closed_port), (socket.AF_INET, port))
        with connect("ollama.test", 80, Timeouts(), None) as sock:
            sock.setblocking(True)
            assert sock.recv(9) == b"here"
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_refused_says_so_and_may_be_tried_again(closed_port: int) -> None:
    with pytest.raises(ConnectError) as caught:
        connect("127.0.0.1", closed_port, Timeouts(), None)
    assert str(caught.value) == f"127.0.0.1:{closed_port}: connection refused"
    assert "is Ollama running" in caught.value.advice
    assert caught.value.retryable
    assert caught.value.exit_status == UNAVAILABLE


def test_what_each_address_said_is_told_once(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    look_up(monkeypatch, (NO_SUCH_FAMILY, 1), (socket.AF_INET, closed_port), (socket.AF_INET, closed_port))
    with pytest.raises(ConnectError, match=r"not supported by protocol, connection refused$"):
        connect("ollama.test", 80, Timeouts(), None)


def test_an_address_that_cannot_be_reached_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up(monkeypatch, (NO_SUCH_FAMILY, 1))
    with pytest.raises(ConnectError) as caught:
        connect("ollama.test", 80, Timeouts(), None)
    assert not caught.value.retryable
    assert caught.value.advice == "check OLLAMA_HOST"


def test_an_address_that_no_connection_can_have_is_told() -> None:
    with pytest.raises(ConnectError, match=r"^255\.255\.255\.255:9: ") as caught:
        connect("255.255.255.255", 9, Timeouts(connect=10), None)
    assert not caught.value.retryable


@pytest.mark.parametrize("name", ["ollama..test", "x" * 300])
def test_a_name_that_cannot_be_one_is_no_host(name: str) -> None:
    with pytest.raises(ConnectError, match=r"no such host \(.+\)") as caught:
        connect(name, 80, Timeouts(connect=10), None)
    assert not caught.value.retryable


def test_a_name_that_the_name_server_does_not_know_is_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConnectError) as caught:
        connect("ollama.test", 80, Timeouts(), None)
    assert str(caught.value) == "ollama.test: no such host (Name or service not known)"
    assert caught.value.exit_status == UNAVAILABLE


def test_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, ollama_test="localhost")
    with tcp(lambda connection: connection.sendall(b"here")) as port, connect(
        "ollama.test", port, Timeouts(), None
    ) as sock:
        sock.setblocking(True)
        assert sock.recv(9) == b"here"


def test_while_connecting_the_reader_of_our_output_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = threading.Event(), threading.Event()

    def getaddrinfo(*_: Any, flags: int = 0, **__: Any) -> Any:
        if not flags & socket.AI_NUMERICHOST:
            asked.set()
            answered.wait()
        raise socket.gaierror("no")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    reader, writer = os.pipe()

    def leave() -> None:
        asked.wait()
        os.close(reader)

    threading.Thread(target=leave).start()
    try:
        with pytest.raises(ReaderGone):
            connect("ollama.test", 80, Timeouts(), writer)
    finally:
        answered.set()
        os.close(writer)
