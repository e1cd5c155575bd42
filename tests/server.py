"""Servers on real sockets: the replay server with scripted responses, and plain TCP."""

from __future__ import annotations

import contextlib
import copy
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator

import pytest

from ostream.recording.http_server import RequestHandler, Server

if TYPE_CHECKING:
    import ssl

STREAMS = Path(__file__).parent / "streams"
NAMES = sorted(path.stem for path in STREAMS.glob("*.ndjson"))
# One recording of each kind, for make test.
SOME_NAMES = ["chat-stream", "chat-tools-think", "chat-unknown-model", "generate-nostream", "kill-chat"]


def body_of(name: str) -> bytes:
    """The body of a recorded response, without HTTP framing."""
    return (STREAMS / f"{name}.ndjson").read_bytes()


def raw_of(name: str) -> bytes:
    """A recorded response as received: status line, headers, framed body."""
    return (STREAMS / f"{name}.raw").read_bytes()


@contextlib.contextmanager
def serve(respond: Callable[[RequestHandler], None]) -> Iterator[Server]:
    """Run a server that calls `respond` for each request. `.url` is its address, `.requests` the requests so far."""

    def keep(exchange: RequestHandler) -> None:
        # A copy: one handler serves all requests of a kept connection.
        server.requests.append(copy.copy(exchange))  # type: ignore[attr-defined]
        respond(exchange)

    with Server(keep) as server:
        server.requests = []  # type: ignore[attr-defined]
        yield server


def send_raw(data: bytes) -> Callable[[RequestHandler], None]:
    """Respond with exactly these bytes, then close the connection."""

    def respond(exchange: RequestHandler) -> None:
        exchange.raw(data)
        exchange.truncate()

    return respond


def send_lines(
    *lines: bytes, status: int = 200, content_type: str = "application/x-ndjson"
) -> Callable[[RequestHandler], None]:
    """Respond as Ollama streams: one HTTP chunk per line and a proper end."""

    def respond(exchange: RequestHandler) -> None:
        exchange.head(status, content_type)
        for line in lines:
            exchange.chunk(line)
        exchange.end()

    return respond


@contextlib.contextmanager
def tcp(handle: Callable[[socket.socket], None], listener: socket.socket | None = None) -> Iterator[int]:
    """Run a plain TCP server on a free port and yield the port."""
    with listener or socket.create_server(("127.0.0.1", 0)) as listener:

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


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port whose accept queue is full: connections are neither accepted nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        unanswered = 0
        for _ in range(16):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.2)
            try:
                filler.connect(listener.getsockname())
            except OSError:
                unanswered += 1  # on a busy machine, one may only have been late
                if unanswered == 2:
                    yield listener.getsockname()[1]
                    return
        pytest.skip("the backlog of this system does not fill")


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port without a server. No other process can take it, and the test can start servers on it."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        if sys.platform == "darwin":
            sock.close()  # only Linux lets a server use the port of a socket that does not listen
        yield port


def reset(connection: socket.socket) -> None:
    """Reset a connection, like a killed server with unread data."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stay_silent(connection: socket.socket) -> None:
    """Send nothing more until the client closes."""
    while connection.recv(1 << 16):
        pass


def read_request(connection: socket.socket) -> tuple[str, dict[str, str], bytes]:
    """Read a request: its first line, headers by lower-case name, and body."""
    with connection.makefile("rb") as file:
        first = file.readline().decode("latin-1").strip()
        headers = {}
        for line in iter(file.readline, b"\r\n"):
            if not line:
                raise ConnectionError("the client hung up inside its request")
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return first, headers, file.read(int(headers.get("content-length", "0")))


def talk(*steps: bytes | Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """Read the request, send or call each step, and close."""

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        for step in steps:
            if callable(step):
                step(connection)
            else:
                connection.sendall(step)

    return handle


class Answers:
    """Handler for `tcp`: answers one request per connection with the next of `answers`, and repeats the last one."""

    def __init__(self, *answers: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers = list(answers)
        self._tls = tls
        self._lock = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True)
        with connection:
            request = read_request(connection)
            with self._lock:
                self.requests.append(request)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            connection.sendall(answer)


def http_answer(status: int, body: bytes = b"", *headers: str, content_type: str = "application/json") -> bytes:
    """A complete HTTP response with Content-Length."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def resolve(monkeypatch: pytest.MonkeyPatch, **addresses: str) -> None:
    """Resolve host names to these addresses; `_` in a name means a dot."""
    names = {name.replace("_", "."): address for name, address in addresses.items()}
    look_up = socket.getaddrinfo

    def getaddrinfo(host: bytes | str, *arguments: Any, **options: Any) -> Any:
        name = host if isinstance(host, str) else host.decode()
        return look_up(names.get(name, host), *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


_CERTIFICATES = """
[ca]
default_ca = authority
[authority]
database = {name}.index
serial = {name}.serial
new_certs_dir = .
default_md = sha256
policy = policy
x509_extensions = extensions
[policy]
commonName = supplied
[extensions]
subjectAltName = {names}
basicConstraints = critical, CA:TRUE
subjectKeyIdentifier = hash
"""


def certificate(directory: Path, name: str, names: str, end: str = "491231000000Z") -> Path:
    """Write a PEM file with a key and a self-signed certificate for `names`, valid from 2020 to `end`."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("needs the openssl command to make certificates")
    (directory / f"{name}.cnf").write_text(_CERTIFICATES.format(name=name, names=names))
    (directory / f"{name}.index").touch()
    (directory / f"{name}.serial").write_text("01")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
    dates = ["-startdate", "200101000000Z", "-enddate", end]
    sign = ["-batch", "-notext", "-selfsign", "-config", f"{name}.cnf", "-keyfile", f"{name}.key", *dates]
    for arguments in (
        ["req", "-new", *key, "-out", f"{name}.req", "-subj", f"/CN={name}"],
        ["ca", *sign, "-in", f"{name}.req", "-out", f"{name}.crt"],
    ):
        subprocess.run([openssl, *arguments], cwd=directory, check=True, capture_output=True)
    both = directory / f"{name}.pem"
    both.write_bytes((directory / f"{name}.key").read_bytes() + (directory / f"{name}.crt").read_bytes())
    return both


def server_context(pem: Path) -> ssl.SSLContext:
    """TLS context of a server with this certificate."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
