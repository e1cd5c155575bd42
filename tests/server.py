"""Servers for the tests, on real sockets: the replay server's own parts with a scripted answer, and bare TCP."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Callable, Iterator

from ostream.loopback import Exchange, Server

STREAMS = Path(__file__).parent / "streams"
NAMES = sorted(path.stem for path in STREAMS.glob("*.ndjson"))


def body_of(name: str) -> bytes:
    """The body of a recorded answer, without its HTTP framing."""
    return (STREAMS / f"{name}.ndjson").read_bytes()


def raw_of(name: str) -> bytes:
    """A recorded answer whole: status line, headers, framing."""
    return (STREAMS / f"{name}.raw").read_bytes()


@contextlib.contextmanager
def serve(respond: Callable[[Exchange], None]) -> Iterator[Server]:
    """A server that answers every request with `respond`; `.url` is where, `.requests` what was asked so far."""

    def keep(exchange: Exchange) -> None:
        server.requests.append(exchange)  # type: ignore[attr-defined]
        respond(exchange)

    with Server(keep) as server:
        server.requests = []  # type: ignore[attr-defined]
        yield server


def send_raw(data: bytes) -> Callable[[Exchange], None]:
    """Answer with exactly these bytes, then close the connection."""

    def respond(exchange: Exchange) -> None:
        exchange.raw(data)
        exchange.cut()

    return respond


def send_lines(
    *lines: bytes, status: int = 200, content_type: str = "application/x-ndjson"
) -> Callable[[Exchange], None]:
    """Answer as the real server streams: one HTTP chunk for each line, and the proper end."""

    def respond(exchange: Exchange) -> None:
        exchange.head(status, content_type)
        for line in lines:
            exchange.chunk(line)
        exchange.end()

    return respond


@contextlib.contextmanager
def tcp(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A bare TCP server on a free port, for what no HTTP server would do; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                handle(connection)

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
