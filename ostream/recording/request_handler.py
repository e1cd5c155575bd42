"""Read an HTTP request on a loopback connection, and refuse it or send a response with the same framing as Ollama.

- A request is read completely before it is answered. If a connection is closed while input is unread, it is reset, and
  the client could lose the end of the response.
- Requests that a web page could have sent are refused before their body is read.
"""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
import struct
import threading

from ostream.net.host import is_loopback
from ostream.protocol.ndjson import LINE_LIMIT
from ostream.system.polling import READABLE, ReaderGone, wait_ready
from ostream.system.wakeup import Wakeup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator

# A larger body could not be recorded, because a line of a recording has this limit.
BODY_LIMIT = LINE_LIMIT
# A request with a larger body waits until the server has reserved memory for it.
LARGE_BODY = 1 << 20
# After a refusal, at most this many bytes of the request are read, so that the client can receive the response.
DRAIN_LIMIT = 4 << 20
# Ollama sends JSON responses of more bytes than this in HTTP chunks.
CHUNKED_ABOVE = 2048


class _Refused(Exception):
    """Raised to refuse a request. `status` is the HTTP status of the response; the text is the reason."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _too_large() -> _Refused:
    return _Refused(413, f"the body is larger than {BODY_LIMIT:,} bytes")


class RequestHandler(http.server.BaseHTTPRequestHandler):
    """One request (`command`, `path`, `headers` and `body`), and the methods that send the response to it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any  # an http_server.Server
    body: bytes

    def setup(self) -> None:
        super().setup()
        self._head = b""
        self._chunked = False

    def answer(self) -> None:
        """Read the request and call the server's `respond` with it, or refuse it."""
        if self.server.is_crowded:
            self.close_connection = True  # an idle connection would make other clients wait
        with contextlib.ExitStack() as stack:
            try:
                self._refuse_foreign()
                self.body = self._read_body(stack)
            except _Refused as refused:
                self._refuse(refused)
            else:
                self.server.respond(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer

    def handle_expect_100(self) -> bool:
        return True  # _read_body() sends "100 Continue", after the headers have been checked

    def _refuse_foreign(self) -> None:
        """Refuse a request that a web page could have sent. Raises _Refused.

        Such a request has another host name (DNS rebinding), an Origin, or a Sec-Fetch-Site of another site. Browsers
        send no Origin with some GET and HEAD requests, for example for an image, but they always send Sec-Fetch-Site.
        """
        host = self.headers.get("Host", "localhost")
        if not is_loopback(re.sub(r":\d*\Z", "", host).strip("[]")):
            raise _Refused(403, f"the Host header {host[:100]!r} is not a name of this machine")
        site = self.headers.get("Sec-Fetch-Site", "none").strip().lower()
        if "Origin" in self.headers or site not in ("none", "same-origin"):
            raise _Refused(403, f"sent by a web page ({self.headers.get('Origin', site)[:100]})")

    def _read_body(self, stack: contextlib.ExitStack) -> bytes:
        """Read the body. For a large body, reserve memory, which `stack` frees after the request has been answered."""
        encoding, length = self.headers.get("Transfer-Encoding"), self.headers.get("Content-Length", "0")
        if encoding is not None and encoding.strip().lower() != "chunked":
            raise _Refused(501, f"Transfer-Encoding {encoding[:100]!r} is not supported")
        if encoding is None and not (length.isascii() and length.isdecimal() and len(length) < 20):
            raise _Refused(400, f"Content-Length is {length[:100]!r}")
        size = 0 if encoding else int(length)
        if size > BODY_LIMIT:
            raise _too_large()
        if self.headers.get("Expect", "").strip().lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if encoding:
            return self._read_chunks(stack)
        if size > LARGE_BODY:
            stack.enter_context(self.server.reserve(size))
        return self._read(size)

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionResetError("the client disconnected before its request was complete")
        return data

    def _read_chunks(self, stack: contextlib.ExitStack) -> bytes:
        body = bytearray()
        while True:
            text = self.rfile.readline(1000).partition(b";")[0].strip()
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", text):
                raise _Refused(400, "the size of an HTTP chunk is missing or damaged")
            size = int(text, 16)
            if len(body) + size > BODY_LIMIT:
                raise _too_large()
            if len(body) <= LARGE_BODY < len(body) + size:
                stack.enter_context(self.server.reserve(BODY_LIMIT))
            if not size:
                break
            body += self._read(size)
            if self.rfile.readline(3).strip():
                raise _Refused(400, "an HTTP chunk is longer than its size")
        while self.rfile.readline(1 << 16).strip():
            pass  # the trailer is not used
        return bytes(body)

    def _refuse(self, refused: _Refused) -> None:
        path = self.path.partition("?")[0][:100]
        self.server.report_refusal(f"refused {self.command} {path}: {refused}")
        self.close_connection = True
        self.send_body(refused.status, None, b"")
        # Continue to read for a short time. If the connection were closed while the client is still sending, the client
        # would lose the response.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            left = DRAIN_LIMIT
            while left > 0:
                left -= len(self.connection.recv(1 << 16)) or left

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Report a request that is not HTTP or has an unknown method, and answer it as the base class does."""
        self.server.report_refusal(f"refused a request: {(message or str(code))[:200]}")
        super().send_error(code, message, explain)

    @contextlib.contextmanager
    def watched(self) -> Iterator[Wakeup]:
        """Yield an event that is set when the client disconnects. Pass it as `reader` to functions that wait.

        A client that shuts down its sending side counts as disconnected, as it does for Ollama.
        """
        with Wakeup() as finished, Wakeup() as left:
            thread = threading.Thread(target=self._watch, args=(finished, left), daemon=True)
            with contextlib.suppress(RuntimeError):  # no thread can be started: the next write detects a disconnect
                thread.start()
            try:
                yield left
            finally:
                finished.wake()
                if thread.ident:
                    thread.join()

    def _watch(self, finished: Wakeup, left: Wakeup) -> None:
        """Wait until the client disconnects or `finished` is set. Then set `left` and return."""
        try:
            wait_ready(self.connection.fileno(), READABLE, finished)
            if self.connection.recv(1, socket.MSG_PEEK):
                wait_ready(None, 0, finished)  # the client is still connected and has sent its next request
        except (OSError, ReaderGone):
            pass
        left.wake()

    def head(
        self,
        status: int,
        content_type: str | None,
        length: int | None = None,
        more: Iterable[tuple[str, str]] = (),
        **headers: str,
    ) -> None:
        """Prepare the status line and the headers. They are sent together with the first bytes of the body.

        Arguments:
            status: the HTTP status.
            content_type: the Content-Type header, or None to omit it.
            length: the Content-Length in bytes. Without it, the body is sent in HTTP chunks. For an
                HTTP/1.0 client it is not chunked, and closing the connection ends it.
            more: further headers, as names and values.
            headers: further headers; each `_` in a name becomes `-`.
        """
        phrase = self.responses.get(status, ("",))[0]
        lines = [f"HTTP/1.1 {status} {phrase}"]
        if content_type:
            lines.append(f"Content-Type: {content_type}")
        lines.append(f"Date: {self.date_time_string()}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [f"{name}: {value}" for name, value in more]
        self._chunked = length is None and self.request_version != "HTTP/1.0"
        if length is not None:
            lines.append(f"Content-Length: {length}")
        elif self._chunked:
            lines.append("Transfer-Encoding: chunked")
        else:
            self.close_connection = True
        if self.close_connection and self.request_version != "HTTP/1.0":
            lines.append("Connection: close")
        self._head = "\r\n".join([*lines, "", ""]).encode("latin-1")

    def raw(self, data: bytes) -> None:
        """Send `data` unchanged. If the headers have not been sent yet, send them first."""
        head, self._head = self._head, b""
        self.wfile.write(head + data)

    def chunk(self, data: bytes) -> None:
        """Send `data`, as one HTTP chunk if the response is chunked."""
        self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        """End the response as HTTP requires."""
        self.raw(b"0\r\n\r\n" if self._chunked else b"")

    def truncate(self) -> None:
        """Close the connection without ending the response, as happens when a server is killed."""
        self.raw(b"")
        self.close_connection = True

    def reset(self) -> None:
        """Reset the TCP connection. If the headers have not been sent yet, send them first."""
        self.raw(b"")
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def disconnect(self) -> None:
        """Shut down the connection. Any thread may call this."""
        with contextlib.suppress(OSError):  # the client has closed it already
            self.connection.shutdown(socket.SHUT_RDWR)

    def send_body(self, status: int, content_type: str | None, body: bytes) -> None:
        """Send a complete response. For a HEAD request, send only the headers."""
        if self.command == "HEAD":
            self.head(status, content_type, len(body))
            self.raw(b"")
        elif len(body) > CHUNKED_ABOVE:
            self.head(status, content_type)
            self.chunk(body)
            self.end()
        else:
            self.head(status, content_type, len(body))
            self.raw(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing, unlike the base class, which prints an access log."""
