"""The four timeouts: each runs out on its own, whatever dribbles in, and says how far the answer had come."""

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
from tests.server import black_hole, http_answer, resolve, talk, tcp
from tests.tiers import sample

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LINE = b'{"message":{"content":"hi"},"done":false}\n'
DONE = b'{"message":{"content":""},"done":true}\n'
SHORT_S = 0.25
# max-time also covers what must have happened before; the others begin after it.
SHORT_MAX_TIME_S = 1.0
# A clock that did not run out would let the dribble end, and the answer with it.
DRIBBLE_S, DRIBBLE_BYTES = 0.02, 150


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def dribble(connection: socket.socket, data: bytes) -> None:
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(DRIBBLE_S)


def until_the_client_leaves(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass


def after_request(*steps: bytes | Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """Read the request, then send each step or do it, then be silent."""
    return talk(*steps, until_the_client_leaves)


def dribbled(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: dribble(connection, data)


ENDLESS = b" " * DRIBBLE_BYTES
ANSWER = HEAD + http_chunk(LINE) + http_chunk(DONE)

BUSY = http_answer(503, b"", "Retry-After: 600")

# what happens: the clock, the server, words of the message, how it is reached
REAL = {
    "nothing but a connection": ("first-byte", until_the_client_leaves, "connected, but no answer yet", "http"),
    "nothing after the request": ("first-byte", after_request(), "connected, but no answer yet", "http"),
    "nothing after the headers": ("first-byte", after_request(HEAD), "connected, but no answer yet", "http"),
    "headers dribble": (
        "first-byte",
        after_request(dribbled(HEAD[:-2] + b"X-Filler: " + ENDLESS), ANSWER[len(HEAD) - 2 :]),
        "connected, but no answer yet",
        "http",
    ),
    "the first size line dribbles": (
        "first-byte",
        after_request(HEAD, dribbled(b"2a;" + ENDLESS), b"\r\n", LINE),
        "connected, but no answer yet",
        "http",
    ),
    "nothing after a line": ("idle", after_request(HEAD, http_chunk(LINE)), "42 bytes of the answer had come", "http"),
    "nothing after half a line": (
        "idle",
        after_request(HEAD, b"2a\r\n" + LINE[:7]),
        "7 bytes of the answer had come",
        "http",
    ),
    "no answer at all": ("max-time", after_request(), "connected, but no answer yet", "http"),
    "the body dribbles": (
        "max-time",
        after_request(HEAD + http_chunk(LINE), dribbled(b"".join(http_chunk(b" ") for _ in range(DRIBBLE_BYTES)))),
        "of the answer had come",
        "http",
    ),
    "an error's body dribbles": (
        "max-time",
        after_request(b"HTTP/1.1 503 Busy\r\nRetry-After: 600\r\n\r\n", dribbled(ENDLESS)),
        "waiting to try again",
        "http",
    ),
    "always busy": ("max-time", after_request(BUSY), "waiting to try again", "http"),
    "TLS that never answers": ("connect", until_the_client_leaves, "no connection yet", "https"),
    "TLS that dribbles": ("connect", dribbled(b"\x16\x03\x03\x40\x00" + b"\x02" * 200), "no connection yet", "https"),
    "a proxy that never answers": ("connect", until_the_client_leaves, "no connection yet", "proxy"),
    "a proxy that dribbles": ("connect", dribbled(b"HTTP/1.1 200 OK\r\nX: " + ENDLESS), "no connection yet", "proxy"),
    "max-time while there is no connection": ("max-time", until_the_client_leaves, "no connection yet", "https"),
}


@pytest.mark.parametrize(("clock", "handle", "words", "way"), sample(REAL.values(), 3), ids=REAL)
def test_a_clock_runs_out_on_its_own_and_says_how_far_the_answer_had_come(
    clock: str, handle: Callable[[socket.socket], None], words: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = SHORT_MAX_TIME_S if clock == "max-time" else SHORT_S
    argument = "max_time" if clock == "max-time" else clock.replace("-", "_") + "_timeout"
    limits: dict[str, Any] = {"connect_timeout": None, argument: seconds}
    with tcp(handle) as port:
        host = f"{way}://127.0.0.1:{port}"
        if way == "proxy":
            monkeypatch.setenv("https_proxy", f"127.0.0.1:{port}")
            host = "https://ollama.test"
        with pytest.raises(StreamTimeout) as caught:
            list(Client(host, retry=9, **limits).chat("m", stream=True))
    assert caught.value.timeout == clock
    assert str(caught.value).startswith(f"{clock} clock ran out after {seconds:g} s: ")
    assert str(caught.value).endswith(words)
    assert (
        caught.value.advice == f"allow more with {clock.replace('-', '_')}{'' if clock == 'max-time' else '_timeout'}="
    )
    assert caught.value.exit_status == TEMPORARY
    assert isinstance(caught.value, TimeoutError)
    assert pickle.loads(pickle.dumps(caught.value)).timeout == clock


def test_one_timeout_sets_three_clocks() -> None:
    for clock, handle, scheme in (
        ("connect", until_the_client_leaves, "https"),
        ("first-byte", after_request(), "http"),
        ("idle", after_request(HEAD + http_chunk(LINE)), "http"),
    ):
        with tcp(handle) as port, pytest.raises(StreamTimeout) as caught:
            Client(f"{scheme}://127.0.0.1:{port}", timeout=SHORT_S, connect_timeout=None).chat("m")
        assert caught.value.timeout == clock


def test_a_name_server_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = threading.Event()

    def getaddrinfo(*arguments: Any, flags: int = 0, **options: Any) -> Any:
        if not flags & socket.AI_NUMERICHOST:
            silent.wait()
        raise socket.gaierror("no")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        with pytest.raises(StreamTimeout) as caught:
            Client("ollama.test", connect_timeout=SHORT_S).chat("m")
    finally:
        silent.set()
    assert caught.value.timeout == "connect"


def test_an_address_that_swallows_everything_is_not_waited_for() -> None:
    with black_hole() as port, pytest.raises(StreamTimeout) as caught:
        Client(f"127.0.0.1:{port}", connect_timeout=SHORT_S, first_byte_timeout=10).chat("m")
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
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def monotonic_ns(self) -> int:
        return round(self.now * 1e9)


@contextlib.contextmanager
def answer(monkeypatch: pytest.MonkeyPatch, **limits: float) -> Iterator[tuple[socket.socket, Response, Time]]:
    """A server's end of a connection, the answer, and the time; the headers have been read."""
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


def test_bytes_restart_the_idle_clock_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with answer(monkeypatch, first_byte=10, idle=10, max_time=1000) as (server, response, moment):
        blocks = response.blocks()
        for _ in range(50):
            server.sendall(http_chunk(b"x"))
            assert next(blocks) == b"x"
            moment.now += 9
        assert moment.now > 1400


def test_max_time_is_restarted_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with answer(monkeypatch, idle=10, max_time=20) as (server, response, moment):
        blocks = response.blocks()
        for _ in range(3):
            server.sendall(http_chunk(b"x"))
            assert next(blocks) == b"x"
            moment.now += 9
        server.sendall(http_chunk(b"x"))
        assert next(blocks, None) is None
        assert response.failure.timeout == "max-time"


def test_the_time_that_our_own_reader_takes_is_not_the_silence_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with answer(monkeypatch, idle=10) as (server, response, moment):
        blocks = response.blocks()
        server.sendall(http_chunk(b"first"))
        assert next(blocks) == b"first"
        server.sendall(http_chunk(b"second"))
        moment.now += 1000
        assert next(blocks) == b"second"


def test_what_comes_after_a_complete_answer_must_come_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for limits in ({}, {"max_time": 1000.0}, {"max_time": 0.5}):
        with answer(monkeypatch, **limits) as (server, response, moment):
            blocks = response.blocks()
            server.sendall(http_chunk(b"done"))
            assert next(blocks) == b"done"
            response.timeouts.expire_in(1)
            moment.now += 0.25
            server.sendall(http_chunk(b"more"))
            assert next(blocks) == b"more"
            moment.now += 1
            assert next(blocks, None) is None
            failure = response.failure
            assert isinstance(failure, StreamTimeout)
            assert f"after {min(limits.get('max_time', 1), 1):g} s: 8 bytes" in str(failure)


def test_a_clock_without_a_limit_never_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with answer(monkeypatch) as (server, response, moment):
        blocks = response.blocks()
        server.sendall(http_chunk(b"x"))
        moment.now += 1e9
        assert next(blocks) == b"x"


def test_a_pause_ends_when_its_time_is_over_or_the_reader_left() -> None:
    timeouts = Timeouts(connect=0.001)
    timeouts.pause(0.05)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(ReaderGone):
            timeouts.pause(1e9, writer)
    finally:
        os.close(writer)


def test_a_pause_is_inside_max_time() -> None:
    with pytest.raises(StreamTimeout) as caught:
        Timeouts(max_time=0.05).pause(float("inf"))
    assert caught.value.timeout == "max-time"
