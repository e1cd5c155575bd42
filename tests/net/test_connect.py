"""Connecting tries each address of a name, and an error names what went wrong and what to do."""

from __future__ import annotations

import errno
import os
import resource
import socket
import threading
from typing import Any, Iterator

import pytest

from ostream.errors import UNAVAILABLE, ConnectError
from ostream.net.connect import connect
from ostream.net.timeouts import Timeouts
from ostream.system.polling import ReaderGone
from tests.server import resolve, tcp

NO_SUCH_FAMILY = 9999


def set_addresses(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, int]) -> None:
    """Let any name have these address families and ports of this machine."""
    found = [(family, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for family, port in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


@pytest.fixture(name="closed_port")
def _closed_port() -> Iterator[int]:
    """A port that refuses connections and that no other process can take."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_addresses_are_tried_in_turn_and_the_connection_is_probed(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    with tcp(lambda connection: connection.sendall(b"here")) as port:
        set_addresses(monkeypatch, (NO_SUCH_FAMILY, port), (socket.AF_INET, closed_port), (socket.AF_INET, port))
        with connect("ollama.test", 80, Timeouts(), None) as sock:
            sock.setblocking(True)
            assert sock.recv(9) == b"here"
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_KEEPIDLE"):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_each_failure_is_named_once(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    set_addresses(monkeypatch, (NO_SUCH_FAMILY, 1), (socket.AF_INET, closed_port), (socket.AF_INET, closed_port))
    with pytest.raises(ConnectError, match=r"not supported by protocol, connection refused$") as caught:
        connect("ollama.test", 80, Timeouts(), None)
    assert caught.value.retryable
    assert "'ollama serve'" in caught.value.advice
    assert caught.value.exit_status == UNAVAILABLE


def test_an_address_that_cannot_be_reached_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectError, match=r"^255\.255\.255\.255:9: ") as caught:
        connect("255.255.255.255", 9, Timeouts(connect=10), None)
    assert not caught.value.retryable
    set_addresses(monkeypatch, (NO_SUCH_FAMILY, 1))
    with pytest.raises(ConnectError) as caught:
        connect("ollama.test", 80, Timeouts(), None)
    assert (caught.value.retryable, caught.value.advice) == (False, "check OLLAMA_HOST")


@pytest.mark.parametrize("name", ["ollama..test", "x" * 300])
def test_an_impossible_name_is_not_found(name: str) -> None:
    with pytest.raises(ConnectError, match=r"host not found \(.+\)") as caught:
        connect(name, 80, Timeouts(connect=10), None)
    assert not caught.value.retryable


def test_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, tcp(lambda connection: connection.sendall(b"here")) as port:
        resolve(patch, ollama_test="localhost")
        with connect("ollama.test", port, Timeouts(), None) as sock:
            sock.setblocking(True)
            assert sock.recv(9) == b"here"


LOOKUPS = [
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "host not found (Name or service not known)"),
    (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
]


@pytest.mark.parametrize(("error", "message"), LOOKUPS)
def test_a_lookup_that_fails_is_an_error_with_the_name(
    error: OSError, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: Any, flags: int = 0, **__: Any) -> Any:
        raise socket.gaierror("no number") if flags & socket.AI_NUMERICHOST else error

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ConnectError) as caught:
        connect("ollama.test", 80, Timeouts(), None)
    assert str(caught.value) == f"ollama.test: {message}"


def test_a_lookup_ends_when_the_reader_of_our_output_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    started, may_end = threading.Event(), threading.Event()

    def getaddrinfo(*_: Any, flags: int = 0, **__: Any) -> Any:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror("no")
        started.set()
        may_end.wait()
        return ["not used"]  # after an error, the thread would open a socket while the next test runs

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    reader, writer = os.pipe()

    def leave() -> None:
        started.wait()
        os.close(reader)

    threading.Thread(target=leave).start()
    try:
        with pytest.raises(ReaderGone):
            connect("ollama.test", 80, Timeouts(), writer)
    finally:
        may_end.set()
        os.close(writer)


@pytest.mark.parametrize(("host", "free"), [("127.0.0.1", 0), ("localhost", 0), ("no-such-host.invalid", 2)])
def test_without_descriptors_the_limit_is_named_and_not_the_host(host: str, free: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    # 0 to 2 are open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + free if free else 3, limits[1]))
    try:
        with pytest.raises(ConnectError, match=f"^{host}(:1)?: too many open files$") as caught:
            connect(host, 1, Timeouts(), None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (caught.value.errno, caught.value.advice) == (errno.EMFILE, "raise the limit with 'ulimit -n'")


def test_without_threads_a_name_cannot_be_looked_up_and_an_address_needs_none() -> None:
    usual = threading.stack_size(1 << 60)  # no thread gets a stack of that size
    try:
        with pytest.raises(ConnectError, match=r"^localhost: can't start new thread$"):
            connect("localhost", 1, Timeouts(), None)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            connect("127.0.0.1", listener.getsockname()[1], Timeouts(), None).close()
    finally:
        threading.stack_size(usual)
