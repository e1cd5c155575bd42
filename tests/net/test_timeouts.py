"""Each of the four timeouts expires by itself, whatever trickles in, and its message says how far the request got."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import threading
import time
from typing import Any, Callable, Iterator

import pytest

from ostream import Client, StreamTimeout
from ostream.errors import TEMPORARY
from ostream.net.http import Response
from ostream.net.socket import WatchedSocket
from ostream.net.timeouts import Timeouts
from ostream.system.polling import ReaderGone
from tests.server import black_hole, http_answer, resolve, stay_silent, talk, tcp
from tests.tiers import sample

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LINE = b'{"message":{"content":"hi"},"done":false}\n'
DONE = b'{"message":{"content":""},"done":true}\n'
SHORT_S = 0.25
# max-time also covers what must happen first.
SHORT_MAX_TIME_S = 2.5
# If a timeout did not expire, the trickle would end, and the response with it.
TRICKLE_S = 0.02


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def trickle(connection: socket.socket, data: bytes) -> None:
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(TRICKLE_S)


def after_request(*steps: bytes | Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """Read the request, send or do each step, and then be silent."""
    return talk(*steps, stay_silent)


def trickled(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: trickle(connection, data)


SPACES = b" " * 250
ANSWER = HEAD + http_chunk(LINE) + http_chunk(DONE)

BUSY = http_answer(503, b"", "Retry-After: 600")
BUSY_HEAD = b"HTTP/1.1 503 Busy\r\nRetry-After: 600\r\n\r\n"

# what happens: the timeout, the server, end of the message, how it is reached
CONNECTED, NOT_CONNECTED = "connected, but no response yet", "not connected yet"
EXPIRED = {
    "nothing after the request": ("first-byte", after_request(), CONNECTED, "http"),
    "headers dribble": ("first-byte", after_request(trickled(HEAD[:-2] + b"X: " + SPACES)), CONNECTED, "http"),
    "the first size line trickles": ("first-byte", after_request(HEAD, trickled(b"2a;" + SPACES)), CONNECTED, "http"),
    "after a line": ("idle", after_request(HEAD, http_chunk(LINE)), "42 bytes of the response received", "http"),
    "no answer at all": ("max-time", after_request(), CONNECTED, "http"),
    "the body trickles": (
        "max-time",
        after_request(HEAD, trickled(http_chunk(b" ") * 60)),
        "response received",
        "http",
    ),
    "an error's body trickles": ("max-time", after_request(BUSY_HEAD, trickled(SPACES)), "waiting to retry", "http"),
    "always busy": ("max-time", after_request(BUSY), "waiting to retry", "http"),
    "TLS that never answers": ("connect", stay_silent, NOT_CONNECTED, "https"),
    "TLS that trickles": ("connect", trickled(b"\x16\x03\x03\x40\x00" + b"\x02" * 200), NOT_CONNECTED, "https"),
    "a proxy that never answers": ("connect", stay_silent, NOT_CONNECTED, "proxy"),
    "a proxy that trickles": ("connect", trickled(b"HTTP/1.1 200 OK\r\nX: " + SPACES), NOT_CONNECTED, "proxy"),
    "max-time while there is no connection": ("max-time", stay_silent, NOT_CONNECTED, "https"),
}


@pytest.mark.parametrize(("name", "handle", "words", "way"), sample(EXPIRED.values(), 3), ids=EXPIRED)
def test_a_timeout_expires_by_itself_and_says_how_far_the_request_got(
    name: str, handle: Callable[[socket.socket], None], words: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = SHORT_MAX_TIME_S if name == "max-time" else SHORT_S
    argument = "max_time" if name == "max-time" else name.replace("-", "_") + "_timeout"
    limits: dict[str, Any] = {"connect_timeout": None, argument: seconds}
    with tcp(handle) as port:
        host = f"{way}://127.0.0.1:{port}"
        if way == "proxy":
            monkeypatch.setenv("https_proxy", f"127.0.0.1:{port}")
            host = "https://ollama.test"
        with pytest.raises(StreamTimeout) as caught:
            list(Client(host, retry=9 * (name == "max-time"), **limits).chat("m", stream=True))
    assert caught.value.timeout == name
    assert caught.value.error.startswith(f"{name} timeout after {seconds:g} s: ")
    assert caught.value.error.endswith(words)
    assert caught.value.advice == f"allow more with {name.replace('-', '_')}{'' if name == 'max-time' else '_timeout'}="
    assert caught.value.exit_status == TEMPORARY
    assert isinstance(caught.value, TimeoutError)
    assert pickle.loads(pickle.dumps(caught.value)).timeout == name
    assert caught.value.retryable is (name in ("connect", "first-byte"))


def test_the_connect_timeout_covers_a_silent_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = threading.Event()

    def getaddrinfo(*arguments: Any, flags: int = 0, **options: Any) -> Any:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror("no")
        silent.wait()
        return ["not used"]  # after an error, the thread would open a socket while the next test runs

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        with pytest.raises(StreamTimeout) as caught:
            Client("ollama.test", connect_timeout=SHORT_S).chat("m")
    finally:
        silent.set()
    assert caught.value.timeout == "connect"


def test_each_address_of_a_name_gets_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with black_hole() as nowhere, tcp(after_request(ANSWER)) as port:
        ports = iter([nowhere, port])
        resolve(monkeypatch, ollama_test="127.0.0.1")
        look_up = socket.getaddrinfo

        def getaddrinfo(host: str, _: int, **options: Any) -> Any:
            return [address for port in ports for address in look_up(host, port, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        stream = Client("http://ollama.test", connect_timeout=2).chat("m", stream=True)
        assert [chunk.done for chunk in stream] == [False, True]


class Time:
    """Replaces the time module: time passes only when `now` is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def monotonic_ns(self) -> int:
        return round(self.now * 1e9)


@contextlib.contextmanager
def response_pair(monkeypatch: pytest.MonkeyPatch, **limits: float) -> Iterator[tuple[socket.socket, Response, Time]]:
    """The server's end of a connection, the response with its headers read, and the time."""
    moment = Time()
    monkeypatch.setattr("ostream.net.timeouts.time", moment)
    here, there = socket.socketpair()
    wire = WatchedSocket(here, Timeouts(**limits), None)
    with there, contextlib.closing(Response(wire)) as response:  # type: ignore[arg-type]
        wire.close()
        response.timeouts = wire.timeouts
        there.sendall(HEAD)
        response.begin()
        wire.timeouts.start("first-byte")
        yield there, response, moment


def test_bytes_restart_the_idle_timeout_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with response_pair(monkeypatch, first_byte=10, idle=10, max_time=1000) as (server, response, moment):
        blocks = response.blocks()
        for _ in range(50):
            server.sendall(http_chunk(b"x"))
            assert next(blocks) == b"x"
            moment.now += 9
        assert moment.now > 1400


def test_time_spent_by_the_consumer_is_not_server_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with response_pair(monkeypatch, idle=10) as (server, response, moment):
        blocks = response.blocks()
        server.sendall(http_chunk(b"first"))
        assert next(blocks) == b"first"
        server.sendall(http_chunk(b"second"))
        moment.now += 1000
        assert next(blocks) == b"second"


def test_data_after_the_answer_does_not_extend_the_wait_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for limits in ({}, {"max_time": 1000.0}, {"max_time": 0.5}):
        with response_pair(monkeypatch, **limits) as (server, response, moment):
            blocks = response.blocks()
            server.sendall(http_chunk(b"done"))
            assert next(blocks) == b"done"
            response.timeouts.start("linger")
            moment.now += 0.25
            server.sendall(http_chunk(b"more"))
            assert next(blocks) == b"more"
            moment.now += 1
            assert next(blocks, None) is None
            failure = response.failure
            assert isinstance(failure, StreamTimeout)
            assert f"after {min(limits.get('max_time', 1), 1):g} s: the response did not end" in str(failure)


def test_a_pause_ends_with_its_time_or_with_the_reader() -> None:
    timeouts = Timeouts(connect=0.001)
    timeouts.pause(0.05)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(ReaderGone):
            timeouts.pause(1e9, writer)
    finally:
        os.close(writer)


@pytest.mark.parametrize("limit", [10**400, float("inf")])
def test_a_limit_beyond_any_number_of_seconds_is_no_limit(limit: float) -> None:
    timeouts = Timeouts(limit, limit, limit, limit)
    for name in ("connect", "first-byte", "idle"):
        timeouts.start(name)
        assert timeouts.left() == float("inf")
