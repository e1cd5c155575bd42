"""A socket that keeps to the clocks and notices when the reader of our output leaves; and how to get one.

Nothing here blocks but in `wait`: the socket does not, TLS does not, and a thread asks the name server.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import threading
import time

from ostream.errors import ConnectError, OstreamError, RequestError, reason
from ostream.net.clocks import Clocks
from ostream.wait import READABLE, WRITABLE, wait

try:
    import ssl
except ImportError:  # a python3 built without OpenSSL
    ssl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

BLOCK = 64 << 10


class Wire:
    """A non-blocking socket that keeps to the clocks, in the shape http.client wants a socket to have."""

    def __init__(self, sock: socket.socket, clocks: Clocks, watch: int | None) -> None:
        self.sock = sock
        self.clocks = clocks
        self.watch = watch
        self._unsent = b""
        self._has_sent = False
        self._closed = False
        self._readers = 0
        sock.setblocking(False)

    def attempt(self, call: Callable[..., Any], events: int, *arguments: Any) -> Any:
        """Do what may have to wait for `events`, for as long as the clocks allow."""
        while True:
            self.clocks.left()
            try:
                return call(*arguments)
            except BlockingIOError:
                wanted = events
            except OSError as error:
                if ssl is None or not isinstance(error, (ssl.SSLWantReadError, ssl.SSLWantWriteError)):
                    raise
                wanted = READABLE if isinstance(error, ssl.SSLWantReadError) else WRITABLE
            wait(self.sock.fileno(), wanted, self.watch, self.clocks.left)

    def sendall(self, data: bytes) -> None:
        """Send it, or keep it until the answer is read: a header and a short body go as one."""
        if len(self._unsent) + len(data) <= BLOCK:
            self._unsent += data
        else:
            self._flush()
            self._send_all(data)

    def _flush(self) -> None:
        data, self._unsent = self._unsent, b""
        self._send_all(data)

    def _send_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            send = self._send_more if self._has_sent else self.sock.send
            try:
                view = view[self.attempt(send, WRITABLE if self._is_tls else READABLE | WRITABLE, view) :]
            except OstreamError:
                raise
            except OSError:
                return  # who refuses a large body may answer and close before it has read it: see what it says
            self._has_sent = True

    @property
    def _is_tls(self) -> bool:
        return ssl is not None and isinstance(self.sock, ssl.SSLSocket)

    def _send_more(self, view: memoryview) -> int:
        """How much was sent. Who answers before it has read all may never read the rest: then it is all the same."""
        if not self._is_tls:  # there, what comes may be TLS's own
            try:
                self.sock.recv(1, socket.MSG_PEEK)
                return len(view)
            except BlockingIOError:
                pass
        return self.sock.send(view)

    def recv_into(self, buffer: Any) -> int:
        """How much came; waits until something has."""
        if self._unsent:
            self._flush()
        if not self._is_tls:  # which may have more in it than the socket has
            wait(self.sock.fileno(), READABLE, self.watch, self.clocks.left)
        count: int = self.attempt(self.sock.recv_into, READABLE, buffer)
        return count

    def makefile(self, mode: str = "rb", buffering: int = -1) -> io.BufferedReader:
        self._readers += 1
        return io.BufferedReader(_Reader(self), BLOCK)

    def release(self) -> None:
        """A reader has been closed."""
        self._readers -= 1
        self._close()

    def close(self) -> None:
        # As with a real socket, a file made from it keeps it open.
        self._closed = True
        self._close()

    def _close(self) -> None:
        if self._closed and not self._readers:
            self.sock.close()


class _Reader(io.RawIOBase):
    """Reads from a Wire; lies under a buffer, so that it is asked only when nothing is there."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wire = self._wire
        if wire.clocks.clock == "idle":
            # Anew for each read: the time that our own reader takes in between is not the server's silence.
            wire.clocks.start("idle")
        return wire.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._wire.release()


def dial(name: str, port: int, clocks: Clocks, watch: int | None) -> socket.socket:
    """A connected socket; each address of the name gets its share of the time that is left."""
    codes: list[int] = []
    addresses = _look_up(name, port, clocks, watch)
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # a family that this system has switched off
            codes.append(error.errno or 0)
            continue
        try:
            code = _connect(sock, address, _share(clocks, len(addresses) - index), watch)
        except BaseException:
            sock.close()
            raise
        if not code:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        sock.close()
        codes.append(code)
    refused = errno.ECONNREFUSED in codes
    failure = ConnectError(
        f"{name}:{port}: {', '.join(dict.fromkeys(os.strerror(code).lower() for code in codes))}",
        advice="is Ollama running ('ollama serve')? OLLAMA_HOST or --host say where"
        if refused
        else "check OLLAMA_HOST",
    )
    failure.retryable = refused
    raise failure


def _share(clocks: Clocks, addresses: int) -> Callable[[], float | None]:
    """The seconds left for the next of so many addresses; the last may use all there are."""
    left = clocks.left()
    if left is None or addresses == 1:
        return clocks.left
    end = time.monotonic() + left / addresses
    return lambda: end - time.monotonic()


def _connect(sock: socket.socket, address: Any, left_s: Callable[[], float | None], watch: int | None) -> int:
    """0, or the errno of the failure."""
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code != errno.EINPROGRESS:
        return code
    if not wait(sock.fileno(), WRITABLE, watch, left_s):
        return errno.ETIMEDOUT
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    # A reset comes from a connection that stood: the server hung up, whether that is seen now or a moment later.
    return 0 if code == errno.ECONNRESET else code


def _look_up(name: str, port: int, clocks: Clocks, watch: int | None) -> list[Any]:
    """The addresses of a name. A name server's silence can be neither timed nor interrupted, so a thread asks."""
    answer: list[Any] = []

    def ask(flags: int = 0) -> None:
        try:
            # As bytes: text would load the codec of international names, and `parse_host` has done its work.
            answer[:] = socket.getaddrinfo(name.encode(), port, type=socket.SOCK_STREAM, flags=flags)
        except OSError as error:
            answer[:] = [error]

    ask(socket.AI_NUMERICHOST)
    if isinstance(answer[0], Exception):
        here, there = os.pipe()

        def ask_and_tell() -> None:
            ask()
            if isinstance(answer[0], Exception):
                try:  # without a descriptor to ask with, every name is unknown
                    os.close(os.dup(there))
                except OSError as error:
                    answer[:] = [error]
            os.close(there)

        try:
            threading.Thread(target=ask_and_tell, daemon=True).start()
        except RuntimeError as error:
            os.close(there)
            answer[:] = [error]
        try:
            wait(here, READABLE, watch, clocks.left)
        finally:
            os.close(here)
    if isinstance(answer[0], socket.gaierror):
        raise ConnectError(f"{name}: no such host ({answer[0].args[-1]})", advice="check OLLAMA_HOST")
    if isinstance(answer[0], Exception):
        raise ConnectError(f"{name}: can't be looked up: {reason(answer[0]).lower()}", advice="see ulimit -a")
    return answer


class Trust:
    """What TLS believes: the system's authorities, those in a file, or anything."""

    def __init__(self, cacert: str | None = None, insecure: bool = False) -> None:
        self.cacert = cacert
        self.insecure = insecure
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Made once, and used by all threads."""
        if self._context is None:
            self._context = self._new_context()
        return self._context

    def _new_context(self) -> ssl.SSLContext:
        if ssl is None:
            raise ConnectError(
                "https: this python3 has no ssl module", advice="use an http address, or another python3"
            )
        try:
            context = ssl.create_default_context(cafile=self.cacert)
        except (OSError, ValueError) as error:
            raise RequestError(f"{self.cacert}: {reason(error)}", advice="--cacert takes a PEM file") from None
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def start_tls(wire: Wire, name: str, port: int, trust: Trust) -> None:
    """TLS over a connected wire, by the clocks."""
    context = trust.context()
    try:
        wire.sock.getpeername()  # raises if the connection is gone already; ssl would raise too, and leave it open
        wire.sock = tls = context.wrap_socket(wire.sock, server_hostname=name, do_handshake_on_connect=False)
        wire.attempt(tls.do_handshake, READABLE)
    except OstreamError:
        raise
    except (OSError, ValueError) as error:
        raise _tls_error(error, f"{name}:{port}") from None


def _tls_error(error: Exception, where: str) -> ConnectError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectError(
            f"{where}: TLS: {error.verify_message}", advice="--cacert FILE trusts an authority of your own"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOTCONN:
        error = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))  # that is what became of it
    failure = getattr(error, "reason", None) or reason(error)
    if failure in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
        return ConnectError(f"{where}: TLS: the server does not speak it on this port", advice="try http://")
    broken = ConnectError(f"{where}: TLS: {failure}")
    broken.retryable = isinstance(error, ConnectionError)
    return broken
