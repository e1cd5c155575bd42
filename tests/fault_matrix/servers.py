"""Servers on real sockets that cause the faults."""

from __future__ import annotations

import contextlib
import functools
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterator, Tuple, Union

import pytest

from tests.fault_matrix.answer import LINES
from tests.process import environment
from tests.server import black_hole, certificate, http_answer, server_context, stay_silent, talk, tcp

Step = Union[bytes, Callable[[socket.socket], None]]
Handle = Callable[[socket.socket], None]
Serve = Callable[[], ContextManager["FaultyServer"]]
Names = Tuple[str, ...]


class FaultyServer:
    """A running server. `options` are passed to the library and, with dashes, to `send`.

    The library and batch make `requests` requests, one after another, and the last one meets the fault.
    """

    def __init__(self, url: str, requests: int = 1, **options: Any) -> None:
        self.url = url
        self.requests = requests
        self.options = options
        self.wrapper: list[str] = []  # command prefix for the client process
        self.connections = 0
        self.elsewhere = 0  # connections to the target of a redirect


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunks(*lines: bytes) -> bytes:
    """One HTTP chunk per line, as Ollama sends them."""
    return b"".join(map(chunk, lines))


def close(connection: socket.socket) -> None:
    """Close after reading something; closing with unread data would be a reset."""
    connection.recv(1 << 16)


def send_bytewise(data: bytes, pause_s: float) -> Handle:
    """Send one byte per TCP segment."""

    def step(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(pause_s)

    return step


def endless(data: bytes, pause_s: float = 0) -> Handle:
    """Repeat until the client closes."""

    def step(connection: socket.socket) -> None:
        while True:
            connection.sendall(data)
            time.sleep(pause_s)

    return step


@contextlib.contextmanager
def _serving(handle: Handle, scheme: str = "http", **options: Any) -> Iterator[FaultyServer]:
    server = FaultyServer("", **options)

    def counted(connection: socket.socket) -> None:
        server.connections += 1
        handle(connection)

    with tcp(counted) as port:
        server.url = f"{scheme}://127.0.0.1:{port}"
        yield server


def connected(handle: Handle, scheme: str = "http", **options: Any) -> Serve:
    """A server that calls `handle` for every connection."""
    return lambda: _serving(handle, scheme, **options)


def sends(*steps: Step, **options: Any) -> Serve:
    """A server that reads the request, then performs the steps."""
    return connected(talk(*steps), **options)


def keeps(*steps: Step) -> Serve:
    """A server that answers the first request on each connection, then reads the next one and performs the steps."""

    def handle(connection: socket.socket) -> None:
        talk(CHUNKED, chunks(*LINES), LAST)(connection)
        if steps:
            talk(*steps)(connection)

    return connected(handle, requests=2)


def streams(*lines: bytes) -> Serve:
    """A server that sends these lines as a complete chunked response."""
    return sends(CHUNKED, chunks(*lines) + LAST)


def answers(status: int, body: bytes, *headers: str, content_type: str = "application/json") -> Serve:
    """A complete HTTP response. The body may be large, so it is not copied."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers, "", ""]
    return sends("\r\n".join(lines).encode(), body)


@contextlib.contextmanager
def refused() -> Iterator[FaultyServer]:
    """A bound port without a listener."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield FaultyServer(f"http://127.0.0.1:{sock.getsockname()[1]}")


@contextlib.contextmanager
def full_queue(**options: Any) -> Iterator[FaultyServer]:
    """A listener whose accept queue is full."""
    with black_hole() as port:
        yield FaultyServer(f"http://127.0.0.1:{port}", **options)


def redirects(status: int, to_other_origin: bool) -> Serve:
    @contextlib.contextmanager
    def serve() -> Iterator[FaultyServer]:
        def seen(connection: socket.socket) -> None:
            server.elsewhere += 1

        def moved(connection: socket.socket) -> None:
            talk(http_answer(status, b"", f"Location: {url if to_other_origin else server.url}/elsewhere"))(connection)

        with tcp(seen) as port, _serving(moved) as server:
            url = f"http://127.0.0.1:{port}"
            yield server

    return serve


LOCAL = "DNS:localhost, IP:127.0.0.1"


def tls(
    *steps: Step, scheme: str = "https", names: str = LOCAL, end: str = "491231000000Z", trusted: bool = True
) -> Serve:
    """A TLS server. If `trusted`, the client gets its certificate as cacert."""

    @contextlib.contextmanager
    def serve() -> Iterator[FaultyServer]:
        pytest.importorskip("ssl", reason="this python3 has no ssl module")
        with tempfile.TemporaryDirectory() as directory:
            pem = certificate(Path(directory), "server", names, end)
            context = server_context(pem)

            def handle(connection: socket.socket) -> None:
                with context.wrap_socket(connection, server_side=True) as secured:
                    talk(*steps)(secured)

            with _serving(handle, scheme, **({"cacert": str(pem)} if trusted else {})) as server:
                yield server

    return serve


def answer_plain_http(connection: socket.socket) -> None:
    """Answer a TLS client hello as an HTTP server does."""
    connection.recv(1 << 16)
    connection.sendall(http_answer(400, b"what?"))


def reject_non_tls(connection: socket.socket) -> None:
    """Reject a plain-text request as a TLS library does: send an alert and close."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(connection.recv(1 << 16))
    with contextlib.suppress(ssl.SSLError):
        handshake.do_handshake()
    connection.sendall(outgoing.read())
    connection.shutdown(socket.SHUT_WR)
    stay_silent(connection)


def resolved(how: str, **options: Any) -> Serve:
    """A host name resolved by the system resolver in a network namespace; see name_server.py."""

    @contextlib.contextmanager
    def serve() -> Iterator[FaultyServer]:
        wrapper = _namespace()
        if not wrapper:
            pytest.skip("needs unshare, and the right to a network and a mount namespace")
        server = FaultyServer("http://ollama.test:11434", **options)
        server.wrapper = [*wrapper, how]
        yield server

    return serve


@functools.lru_cache(maxsize=None)
def _namespace() -> Names:
    """Prefix that runs a command in its own namespaces; empty if that is not permitted."""
    for user in ((), ("--user", "--map-root-user")):
        wrapper = ("unshare", *user, "--net", "--mount", sys.executable, "-m", "tests.fault_matrix.name_server")
        with contextlib.suppress(FileNotFoundError):
            tried = subprocess.run([*wrapper, "nobody", "true"], env=environment(), capture_output=True, check=False)
            if not tried.returncode:
                return wrapper
    return ()
