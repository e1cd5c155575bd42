"""Where faults are met: servers on real sockets that do exactly what a row of the table says, and nothing else."""

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

from tests.process import environment
from tests.server import black_hole, certificate, http_answer, server_context, talk, tcp

Step = Union[bytes, Callable[[socket.socket], None]]
Handle = Callable[[socket.socket], None]
Place = Callable[[], ContextManager["Site"]]
Names = Tuple[str, ...]


class Site:
    """A server, and how to ask it: `options` are those of the library and, with dashes, of `send`."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.options = options
        self.wrapper: list[str] = []  # what the asking process must be started by
        self.connections = 0
        self.elsewhere = 0  # connections to where a redirect points


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunks(*lines: bytes) -> bytes:
    """One HTTP chunk for each line, as the real server sends them."""
    return b"".join(map(chunk, lines))


def hang_up(connection: socket.socket) -> None:
    """Without a word, though not before something came: what is unread would make it a reset."""
    connection.recv(1 << 16)


def hold(connection: socket.socket) -> None:
    """Nothing more, until the client leaves."""
    while connection.recv(1 << 16):
        pass


def dribble(data: bytes, pause_s: float) -> Handle:
    """One byte for each segment."""

    def step(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(pause_s)

    return step


def endless(data: bytes, pause_s: float = 0) -> Handle:
    """The same again and again, until the client leaves."""

    def step(connection: socket.socket) -> None:
        while True:
            connection.sendall(data)
            time.sleep(pause_s)

    return step


@contextlib.contextmanager
def _serving(handle: Handle, scheme: str = "http", **options: Any) -> Iterator[Site]:
    site = Site("", **options)

    def counted(connection: socket.socket) -> None:
        site.connections += 1
        handle(connection)

    with tcp(counted) as port:
        site.url = f"{scheme}://127.0.0.1:{port}"
        yield site


def connected(handle: Handle, scheme: str = "http", **options: Any) -> Place:
    """A server that does this with every connection."""
    return lambda: _serving(handle, scheme, **options)


def sends(*steps: Step, **options: Any) -> Place:
    """A server that reads a request and then takes these steps."""
    return connected(talk(*steps), **options)


def answers(status: int, body: bytes, *headers: str, content_type: str = "application/json") -> Place:
    """A whole HTTP answer. The body is sent behind its headers, not copied: it may be large."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers, "", ""]
    return sends("\r\n".join(lines).encode(), body)


@contextlib.contextmanager
def refused() -> Iterator[Site]:
    """A port that nobody listens on, and that stays ours meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield Site(f"http://127.0.0.1:{sock.getsockname()[1]}")


@contextlib.contextmanager
def swallowed(**options: Any) -> Iterator[Site]:
    """A listener whose queue is full."""
    with black_hole() as port:
        yield Site(f"http://127.0.0.1:{port}", **options)


def redirects(status: int, to_other_origin: bool) -> Place:
    @contextlib.contextmanager
    def place() -> Iterator[Site]:
        def seen(connection: socket.socket) -> None:
            site.elsewhere += 1

        def moved(connection: socket.socket) -> None:
            talk(http_answer(status, b"", f"Location: {url if to_other_origin else site.url}/elsewhere"))(connection)

        with tcp(seen) as port, _serving(moved) as site:
            url = f"http://127.0.0.1:{port}"
            yield site

    return place


LOCAL = "DNS:localhost, IP:127.0.0.1"


def tls(
    *steps: Step, scheme: str = "https", names: str = LOCAL, end: str = "491231000000Z", trusted: bool = True
) -> Place:
    """A server that speaks TLS, with a certificate of its own which the client is told to trust or not."""

    @contextlib.contextmanager
    def place() -> Iterator[Site]:
        pytest.importorskip("ssl", reason="this python3 has no ssl module")
        with tempfile.TemporaryDirectory() as directory:
            pem = certificate(Path(directory), "server", names, end)
            context = server_context(pem)

            def handle(connection: socket.socket) -> None:
                with context.wrap_socket(connection, server_side=True) as secured:
                    talk(*steps)(secured)

            with _serving(handle, scheme, **({"cacert": str(pem)} if trusted else {})) as site:
                yield site

    return place


def in_the_clear(connection: socket.socket) -> None:
    """What an HTTP server says to a greeting in TLS."""
    connection.recv(1 << 16)
    connection.sendall(http_answer(400, b"what?"))


def is_not_tls(connection: socket.socket) -> None:
    """What TLS libraries do with a request in the clear: they hang up, once it has come."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(connection.recv(1 << 16))
    with contextlib.suppress(ssl.SSLError):
        handshake.do_handshake()
    connection.sendall(outgoing.read())
    connection.shutdown(socket.SHUT_WR)
    hold(connection)


def looked_up(how: str, **options: Any) -> Place:
    """A name that is looked up by a real resolver in a network of its own; see names.py."""

    @contextlib.contextmanager
    def place() -> Iterator[Site]:
        wrapper = _namespace()
        if not wrapper:
            pytest.skip("needs unshare, and the right to a network and a mount namespace")
        site = Site("http://ollama.test:11434", **options)
        site.wrapper = [*wrapper, how]
        yield site

    return place


@functools.lru_cache(maxsize=None)
def _namespace() -> Names:
    """What runs a command in namespaces of its own, as root or as a user who may have them; nothing if neither."""
    for user in ((), ("--user", "--map-root-user")):
        wrapper = ("unshare", *user, "--net", "--mount", sys.executable, "-m", "tests.torture.names")
        with contextlib.suppress(FileNotFoundError):
            tried = subprocess.run([*wrapper, "nobody", "true"], env=environment(), capture_output=True, check=False)
            if not tried.returncode:
                return wrapper
    return ()
