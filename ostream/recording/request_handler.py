"""One HTTP request on a loopback connection: read it, refuse it, or send a response framed as Ollama frames it.

- A request is read completely before it is answered: closing a connection with unread input resets it, and the client
  could lose the end of the response.
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

# A larger body could not be recorded: a line of a recording is limited to this.
BODY_LIMIT = LINE_LIMIT
# Larger bodies wait until the server has room for them.
LARGE_BODY = 1 << 20
# Bytes read of a request that was refused, so that its client can receive the response.
DRAIN_LIMIT = 4 << 20
# Ollama sends JSON responses above this size in HTTP chunks.
CHUNKED_ABOVE = 2048


class _Refused(Exception):
    """A request that is not answered, with its HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _too_large() -> _Refused:
    return _Refused(413, f"its body is larger than {BODY_LIMIT:,} bytes")


class RequestHandler(http.server.BaseHTTPRequestHandler):
    """One request (`command`, `path`, `headers` and `body`) and the methods that send its response."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any  # an http_server.Server
    body: bytes

    def setup(self) -> None:
        super().setup()
        self._head = b""
        self._chunked = False

    def answer(self) -> None:
        """Read the request and pass it to the server's `respond`, or refuse it."""
        if self.server.is_crowded:
            self.close_connection = True  # an idle connection would keep others waiting
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
        return True  # a client waits for "100 Continue" only until its headers have been checked

    def _refuse_foreign(self) -> None:
        """Refuse what a web page could send: with another host name (DNS rebinding), an origin, or fetch metadata.

        GET and HEAD carry no Origin, for example for an image, but browsers send Sec-Fetch-Site with every request.
        """
        host = self.headers.get("Host", "localhost")
        if not is_loopback(re.sub(r":\d*\Z", "", host).strip("[]")):
            raise _Refused(403, f"its Host is {host[:100]!r}, not a name of this machine")
        site = self.headers.get("Sec-Fetch-Site", "none").strip().lower()
        if "Origin" in self.headers or site not in ("none", "same-origin"):
            raise _Refused(403, f"sent by a web page ({self.headers.get('Origin', site)[:100]})")

    def _read_body(self, stack: contextlib.ExitStack) -> bytes:
        """Read the body; `stack` holds the memory it takes until the request has been answered."""
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
            raise ConnectionResetError("the client left inside its request")
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
            pass  # the trailer, which is not used
        return bytes(body)

    def _refuse(self, refused: _Refused) -> None:
        path = self.path.partition("?")[0][:100]
        self.server.report_refusal(f"refused {self.command} {path}: {refused}")
        self.close_connection = True
        self.send_body(refused.status, None, b"")
        # Read on for a moment: a client that is still sending would lose the response with the connection.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            left = DRAIN_LIMIT
            while left > 0:
                left -= len(self.connection.recv(1 << 16)) or left

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is not HTTP, or has another method, as the base class does, and report it."""
        self.server.report_refusal(f"refused a request: {(message or str(code))[:200]}")
        super().send_error(code, message, explain)

    @contextlib.contextmanager
    def watched(self) -> Iterator[Wakeup]:
        """An event that is set when the client leaves, to pass as `reader` while waiting for something else.

        As with the real server, a client that shuts down its sending side has left.
        """
        with Wakeup() as finished, Wakeup() as left:
            thread = threading.Thread(target=self._watch, args=(finished, left), daemon=True)
            with contextlib.suppress(RuntimeError):  # no thread can be started: the next write notices
                thread.start()
            try:
                yield left
            finally:
                finished.wake()
                if thread.ident:
                    thread.join()

    def _watch(self, finished: Wakeup, left: Wakeup) -> None:
        """Set `left` when the client leaves; return when `finished` is set."""
        try:
            wait_ready(self.connection.fileno(), READABLE, finished)
            if self.connection.recv(1, socket.MSG_PEEK):
                wait_ready(None, 0, finished)  # its next request, not its end
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
        """Set the status line and the headers, which are sent with the first bytes of the body.

        Without `length` the body is sent in HTTP chunks. `more` and `headers` are added, `_` in the latter as `-`.
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
        """Send bytes as they are, after the headers if those have not been sent yet."""
        head, self._head = self._head, b""
        self.wfile.write(head + data)

    def chunk(self, data: bytes) -> None:
        """Send one HTTP chunk."""
        self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        """End the response properly."""
        self.raw(b"0\r\n\r\n" if self._chunked else b"")

    def truncate(self) -> None:
        """Close the connection after what was sent, as when the server is killed."""
        self.raw(b"")
        self.close_connection = True

    def reset(self) -> None:
        """Reset the connection."""
        self.raw(b"")
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def disconnect(self) -> None:
        """Close the connection; may be called by any thread."""
        with contextlib.suppress(OSError):  # the client has closed it already
            self.connection.shutdown(socket.SHUT_RDWR)

    def send_body(self, status: int, content_type: str | None, body: bytes) -> None:
        """Send a complete response."""
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
        """Suppress the access log of the base class."""
