"""A socket that keeps to the timeouts and notices when the reader of our output leaves; and how to get one.

Nothing here blocks but in `wait`: the socket does not, TLS does not, and a thread asks the name server.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import threading
import time

from ostream.errors import ConnectError, OstreamError, reason
from ostream.net.timeouts import Timeouts
from ostream.system.polling import READABLE, WRITABLE, wait_ready
from ostream.system.wakeup import Wakeup

try:
    import ssl
except ImportError:  # a python3 built without OpenSSL
    ssl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ostream.system.polling import Reader

BLOCK = 64 << 10


class WatchedSocket:
    """A non-blocking socket that keeps to the timeouts, in the shape http.client wants a socket to have."""

    def __init__(self, sock: socket.socket, timeouts: Timeouts, reader: Reader | None) -> None:
        self.sock = sock
        self.timeouts = timeouts
        self.reader = reader
        self._unsent = b""
        self._has_sent = False
        self._closed = False
        self._readers = 0
        sock.setblocking(False)

    def attempt(self, call: Callable[..., Any], events: int, *arguments: Any) -> Any:
        """Do what may have to wait for `events`, for as long as the timeouts allow."""
        while True:
            self.timeouts.left()
            try:
                return call(*arguments)
            except BlockingIOError:
                wanted = events
            except OSError as error:
                if ssl is None or not isinstance(error, (ssl.SSLWantReadError, ssl.SSLWantWriteError)):
                    raise
                wanted = READABLE if isinstance(error, ssl.SSLWantReadError) else WRITABLE
            wait_ready(self.sock.fileno(), wanted, self.reader, self.timeouts.left)

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
            wait_ready(self.sock.fileno(), READABLE, self.reader, self.timeouts.left)
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
    """Reads from a WatchedSocket; lies under a buffer, so that it is asked only when nothing is there."""

    def __init__(self, wire: WatchedSocket) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wire = self._wire
        if wire.timeouts.clock == "idle":
            # Anew for each read: the time that our own reader takes in between is not the server's silence.
            wire.timeouts.start("idle")
        return wire.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._wire.release()


def connect(name: str, port: int, timeouts: Timeouts, reader: Reader | None) -> socket.socket:
    """A connected socket; each address of the name gets its share of the time that is left."""
    codes: list[int] = []
    addresses = _look_up(name, port, timeouts, reader)
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # a family that this system has switched off
            codes.append(error.errno or 0)
            continue
        try:
            code = _connect(sock, address, _share(timeouts, len(addresses) - index), reader)
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


def _share(timeouts: Timeouts, addresses: int) -> Callable[[], float | None]:
    """The seconds left for the next of so many addresses; the last may use all there are."""
    left = timeouts.left()
    if left is None or addresses == 1:
        return timeouts.left
    end = time.monotonic() + left / addresses
    return lambda: end - time.monotonic()


def _connect(sock: socket.socket, address: Any, left_s: Callable[[], float | None], reader: Reader | None) -> int:
    """0, or the errno of the failure."""
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code != errno.EINPROGRESS:
        return code
    if not wait_ready(sock.fileno(), WRITABLE, reader, left_s):
        return errno.ETIMEDOUT
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    # A reset comes from a connection that stood: the server hung up, whether that is seen now or a moment later.
    return 0 if code == errno.ECONNRESET else code


def _look_up(name: str, port: int, timeouts: Timeouts, reader: Reader | None) -> list[Any]:
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
        answered = Wakeup()

        def ask_and_wake() -> None:
            ask()
            if isinstance(answer[0], Exception):
                try:  # without a descriptor left to query with, every name is unknown
                    os.close(os.dup(answered.fileno()))
                except OSError as error:
                    answer[:] = [error]
            answered.wake()

        with answered:
            try:
                threading.Thread(target=ask_and_wake, daemon=True).start()
            except RuntimeError as error:
                answer[:] = [error]
            else:
                wait_ready(answered.fileno(), READABLE, reader, timeouts.left)
    if isinstance(answer[0], socket.gaierror):
        raise ConnectError(f"{name}: no such host ({answer[0].args[-1]})", advice="check OLLAMA_HOST")
    if isinstance(answer[0], Exception):
        raise ConnectError(f"{name}: can't be looked up: {reason(answer[0]).lower()}", advice="see ulimit -a")
    return answer
