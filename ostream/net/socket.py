"""A non-blocking socket that obeys the timeouts and stops when the reader of our output closes the pipe."""

from __future__ import annotations

import io
import socket

from ostream.errors import OstreamError
from ostream.net.timeouts import Timeouts
from ostream.system.polling import READABLE, WRITABLE, Waiter, wait_ready

try:
    import ssl
except ImportError:  # a python3 built without OpenSSL
    ssl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ostream.system.polling import Reader

BLOCK = 64 << 10

_WOULD_BLOCK = (BlockingIOError,) if ssl is None else (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class WatchedSocket:
    """A non-blocking socket with the methods that http.client needs.

    All waits obey `timeouts` and watch `reader`, a descriptor or Wakeup (see `polling.Waiter`).
    """

    def __init__(self, sock: socket.socket, timeouts: Timeouts, reader: Reader | None) -> None:
        self.sock = sock
        sock.setblocking(False)
        self._closed = False
        self._files = 0
        self.begin_request(timeouts, reader)

    def begin_request(self, timeouts: Timeouts, reader: Reader | None) -> None:
        """Use these timeouts and this reader for the next request on the connection."""
        self.timeouts = timeouts
        self.reader = reader
        self._readable = Waiter({self.sock.fileno(): READABLE}, reader)
        self.has_received = False
        self._unsent = b""  # the beginning of the request, which is sent when the response is read
        self._has_sent = False
        self._early = b""  # data received while the request was still being sent

    def attempt(self, call: Callable[..., Any], events: int, *arguments: Any) -> Any:
        """Call `call` until it does not block, and return its result. Between calls, wait for `events`.

        Raises StreamTimeout and ReaderGone.
        """
        while True:
            self.timeouts.total_left()
            try:
                # Try before checking the other timeouts, so that a process that was suspended past its timeout still
                # gets the data that arrived.
                return call(*arguments)
            except BlockingIOError:
                wanted = events
            except _WOULD_BLOCK as error:
                wanted = READABLE if isinstance(error, ssl.SSLWantReadError) else WRITABLE
            wait_ready(self.sock.fileno(), wanted, self.reader, self.timeouts.left)

    def sendall(self, data: bytes) -> None:
        """Send `data`. Small data is kept until the response is read, so that headers and body go out in one packet."""
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
            # Once a part has been sent, the server may respond early and never read the rest.
            if self._has_sent and self._has_response():
                return
            try:
                view = view[self.attempt(self._send, READABLE | WRITABLE, view) :]
            except OstreamError:
                raise
            except OSError:
                return  # the server may have rejected a large body and closed early: its response can still be read
            self._has_sent = True

    def _send(self, view: memoryview) -> int:
        try:
            return self.sock.send(view)
        except _WOULD_BLOCK:
            if self._has_sent and self._has_response():
                return len(view)
            raise BlockingIOError from None

    def _has_response(self) -> bool:
        """True if a final response has begun to arrive or the connection has ended. A 1xx response is not final."""
        try:
            while len(self._early) <= BLOCK:
                block = self.sock.recv(BLOCK)
                if not block:
                    return True
                self._early += block
        except _WOULD_BLOCK:
            pass
        except OSError:
            return True
        self._early = _skip_interim(self._early)
        return not _may_be_interim(self._early)

    def recv_into(self, buffer: Any) -> int:
        """Wait for data and receive it into `buffer`. Return the number of bytes, or 0 at the end of the connection."""
        if self._unsent:
            self._flush()
        if self._early:
            count = min(len(buffer), len(self._early))
            buffer[:count] = self._early[:count]
            self._early = self._early[count:]
        else:
            if not self.is_tls:  # a TLS socket may hold decrypted data that poll() does not report
                self._readable.wait(self.timeouts.left)
            count = self.attempt(self.sock.recv_into, READABLE, buffer)
        self.has_received = self.has_received or count > 0
        return count

    def has_exactly(self, expected: bytes) -> bool:
        """Read all bytes that have arrived. Return True if they equal `expected` and the connection is open.

        Never waits. Uses recv(), because poll() and MSG_PEEK can't tell TLS session tickets from response data.
        """
        received = b""
        try:
            while len(received) <= len(expected):
                block = self.sock.recv(BLOCK)
                if not block:
                    return False
                received += block
        except _WOULD_BLOCK:
            return received == expected
        except OSError:
            pass
        return False

    @property
    def is_tls(self) -> bool:
        """True once the TLS handshake has begun."""
        return ssl is not None and isinstance(self.sock, ssl.SSLSocket)

    def makefile(self, mode: str = "rb", buffering: int = -1) -> io.BufferedReader:
        """Return a buffered file that reads from the socket. The socket stays open until the file is closed."""
        self._files += 1
        return io.BufferedReader(_SocketFile(self), BLOCK)

    def release(self) -> None:
        """Record that a file from `makefile` was closed. If `close` was called, the last file closes the socket."""
        self._files -= 1
        self._close()

    def close(self) -> None:
        """Close the socket, or let the last open file from `makefile` close it."""
        self._closed = True
        self._close()

    def _close(self) -> None:
        if self._closed and not self._files:
            self.sock.close()


def _skip_interim(data: bytes) -> bytes:
    """Return `data` without the complete 1xx responses at its beginning. 101 is kept, because it is final."""
    while data[:5] == b"HTTP/" and data[8:10] == b" 1" and data[9:12] != b"101":
        _, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            break
        data = rest
    return data


def _may_be_interim(data: bytes) -> bool:
    """True if `data` is empty or may be a part of a 1xx response. The caller has removed complete 1xx responses."""
    if len(data) < 12:
        return b"HTTP/".startswith(data[:5])
    return data[8:10] == b" 1" and data[9:12] != b"101" and len(data) <= BLOCK


class _SocketFile(io.RawIOBase):
    """The raw file that a BufferedReader reads from. It is called only when the buffer is empty."""

    def __init__(self, sock: WatchedSocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        timeouts = self._sock.timeouts
        if timeouts.running == "idle":
            # Restart the idle timeout before each read, so that it does not count the time that our caller used.
            timeouts.start("idle")
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            if hasattr(self, "_sock"):  # an exception of a signal handler may have ended __init__
                self._sock.release()
