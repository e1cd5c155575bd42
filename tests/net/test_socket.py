"""A WatchedSocket sends and receives within the timeouts, and stops sending when the final response arrives."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any, Callable, Iterator

import pytest

from ostream.errors import StreamTimeout
from ostream.net.http import Response
from ostream.net.socket import BLOCK, WatchedSocket, _SocketFile
from ostream.net.timeouts import Timeouts
from ostream.stream import Stream
from ostream.system.polling import ReaderGone

LARGE = os.urandom(1 << 20) * 4  # more than a socket buffers
FIRST = b"x" * (BLOCK + 1)  # too long to be kept, short enough to be buffered
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
RESPONSE = b"HTTP/1.1 413 Too Large\r\n\r\n"


@pytest.fixture(name="pair")
def _pair() -> Iterator[tuple[socket.socket, WatchedSocket]]:
    there, here = socket.socketpair()
    with there, here:
        yield there, WatchedSocket(here, Timeouts(max_time=20), None)


@pytest.mark.parametrize("early", [b"", CONTINUE, HINTS + CONTINUE, CONTINUE[:9], HINTS[:30]])
def test_a_large_body_is_sent_completely_whatever_interim_responses_arrive(
    early: bytes, pair: tuple[socket.socket, WatchedSocket]
) -> None:
    there, sock = pair
    received = bytearray()

    def receive() -> None:
        while len(received) < len(FIRST + LARGE):
            received.extend(there.recv(1 << 16))

    sock.sendall(FIRST)
    there.sendall(early)
    receiver = threading.Thread(target=receive)
    receiver.start()
    sock.sendall(LARGE)
    receiver.join()
    assert received == FIRST + LARGE
    there.sendall((HINTS + CONTINUE if early[:10] == HINTS[:10] else CONTINUE)[len(early) :] + RESPONSE)
    there.close()
    assert sock.makefile().read().endswith(RESPONSE)


@pytest.mark.parametrize("delay_s", [0, 0.1])
@pytest.mark.parametrize(
    "response",
    [RESPONSE, CONTINUE + RESPONSE, b"HTTP/1.1 101 Switch\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 199 " * 9999],
)
def test_sending_stops_when_a_final_response_arrives(
    response: bytes, delay_s: float, pair: tuple[socket.socket, WatchedSocket]
) -> None:
    there, sock = pair
    sock.sendall(FIRST)
    threading.Timer(delay_s, there.sendall, (response,)).start()
    sock.sendall(LARGE)  # the other end reads nothing
    assert sock.makefile().read1(9) in response


@pytest.mark.parametrize("end", [socket.socket.close, lambda there: there.shutdown(socket.SHUT_WR)])
def test_an_end_while_sending_is_found_by_the_read_that_follows(
    end: Callable[[socket.socket], None], pair: tuple[socket.socket, WatchedSocket]
) -> None:
    there, sock = pair
    sock.sendall(FIRST)
    there.sendall(RESPONSE)
    end(there)
    sock.sendall(LARGE)
    assert sock.makefile().read() == RESPONSE


def test_an_end_before_sending_is_found_by_the_read_that_follows(pair: tuple[socket.socket, WatchedSocket]) -> None:
    there, sock = pair
    there.close()
    sock.sendall(LARGE)
    assert sock.makefile().read() == b""


def test_headers_and_a_short_body_leave_together_when_the_response_is_read(
    pair: tuple[socket.socket, WatchedSocket],
) -> None:
    there, sock = pair
    there.setblocking(False)
    sock.sendall(b"header ")
    sock.sendall(b"body")
    with pytest.raises(BlockingIOError):
        there.recv(1)
    there.sendall(b"response")
    assert sock.makefile().read1(100) == b"response"
    assert there.recv(100) == b"header body"
    sock.sendall(b"header ")
    sock.sendall(b"x" * BLOCK)
    assert there.recv(7) == b"header "


def test_sending_obeys_the_timeouts(pair: tuple[socket.socket, WatchedSocket]) -> None:
    _, sock = pair
    sock.begin_request(Timeouts(connect=0.1), None)
    with pytest.raises(StreamTimeout):
        sock.sendall(LARGE)


def test_a_read_ends_when_the_reader_of_our_output_leaves(pair: tuple[socket.socket, WatchedSocket]) -> None:
    _, sock = pair
    reader, writer = os.pipe()
    sock.begin_request(Timeouts(max_time=20), writer)
    threading.Timer(0.05, os.close, (reader,)).start()
    try:
        with pytest.raises(ReaderGone):
            sock.makefile().read1(1)
    finally:
        os.close(writer)


def test_the_socket_stays_open_until_it_and_its_files_are_closed(pair: tuple[socket.socket, WatchedSocket]) -> None:
    _, sock = pair
    first, second = sock.makefile(), sock.makefile()
    assert first.readable()
    sock.close()
    first.raw.close()
    first.raw.close()
    first.close()
    assert sock.sock.fileno() >= 0
    second.close()
    assert sock.sock.fileno() == -1


@pytest.mark.parametrize(("kind", "method"), [(Stream, "__del__"), (Response, "close"), (_SocketFile, "close")])
def test_an_object_can_be_closed_although_its_constructor_was_interrupted(kind: Any, method: str) -> None:
    """KeyboardInterrupt, or another exception of a signal handler, can end a constructor before its first line."""
    getattr(kind.__new__(kind), method)()
