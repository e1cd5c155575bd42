"""A small HTTP server on a loopback socket that answers as Ollama does: for replay, and for the tests.

It reads the whole request before it answers (closing with unread input would reset the connection and take the last
lines with it), refuses what a web page could send, and sends one line as one HTTP chunk.
"""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
import struct
import threading

from ostream.net.host import is_loopback
from ostream.system.polling import READABLE, ReaderGone, wait_ready
from ostream.system.wakeup import Wakeup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator

# No request is larger; what says so is not answered.
BODY_LIMIT = 1 << 30
# Above this the real server uses chunks for a whole object too.
WHOLE_LIMIT = 2048


class RequestHandler(http.server.BaseHTTPRequestHandler):
    """One request, `command`, `path`, `headers` and `body`, and the means to answer it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server
    body: bytes

    def setup(self) -> None:
        super().setup()
        self._head = b""
        self._chunked = False

    def answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        size = int(length) if length.isdecimal() and len(length) < 20 else 0
        if "Transfer-Encoding" in self.headers or size > BODY_LIMIT:
            self.close_connection = True
            self.send_body(411 if size <= BODY_LIMIT else 413, None, b"")
            return
        self.body = self.rfile.read(size)
        if self._is_foreign():
            self.send_body(403, None, b"")
        else:
            self.server.respond(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer

    def _is_foreign(self) -> bool:
        """Does this come from a web page: by another host name, or with an origin?"""
        host = self.headers.get("Host", "localhost")
        return "Origin" in self.headers or not is_loopback(re.sub(r":\d*\Z", "", host).strip("[]"))

    @contextlib.contextmanager
    def watched(self) -> Iterator[Wakeup]:
        """An event that is set when the client leaves, to pass as `reader` while waiting for something else.

        As with the real server, a client that shuts down its sending side has left.
        """
        with Wakeup() as finished, Wakeup() as left:
            thread = threading.Thread(target=self._watch, args=(finished, left), daemon=True)
            thread.start()
            try:
                yield left
            finally:
                finished.wake()
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
        """Set the status line and the headers, with `more` as they are; they leave with the first bytes of the body.
        No length: HTTP chunks."""
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
        self._head = "\r\n".join([*lines, "", ""]).encode("latin-1")

    def raw(self, data: bytes) -> None:
        """Bytes as they are, behind the headers if those have not left yet."""
        head, self._head = self._head, b""
        self.wfile.write(head + data)

    def chunk(self, data: bytes) -> None:
        """One HTTP chunk."""
        self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        """The proper end."""
        self.raw(b"0\r\n\r\n" if self._chunked else b"")

    def truncate(self) -> None:
        """The end of a server that was killed: nothing more comes."""
        self.raw(b"")
        self.close_connection = True

    def reset(self) -> None:
        """The end of a connection that was torn down."""
        self.raw(b"")
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def disconnect(self) -> None:
        """End the connection, whatever another thread does with it."""
        with contextlib.suppress(OSError):  # the client may have been faster
            self.connection.shutdown(socket.SHUT_RDWR)

    def send_body(self, status: int, content_type: str | None, body: bytes) -> None:
        """A whole answer at once."""
        if self.command == "HEAD":
            self.head(status, content_type, len(body))
            self.raw(b"")
        elif len(body) > WHOLE_LIMIT:
            self.head(status, content_type)
            self.chunk(body)
            self.end()
        else:
            self.head(status, content_type, len(body))
            self.raw(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass  # who wants to know looks at what the client says


class Server(http.server.ThreadingHTTPServer):
    """Serves on a free port of 127.0.0.1 while it is entered; `respond` answers each request."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, respond: Callable[[RequestHandler], None]) -> None:
        super().__init__(("127.0.0.1", 0), RequestHandler)
        self.respond = respond

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Server:
        self._stopping = Wakeup()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.wake()
        self._thread.join()
        self._stopping.close()
        self.server_close()

    def _accept(self) -> None:
        """Serve until the server is left. serve_forever() would wake up twice a second to check for that."""
        with contextlib.suppress(ReaderGone):
            while True:
                wait_ready(self.fileno(), READABLE, self._stopping)
                self.handle_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is not an error."""
        import sys

        if not isinstance(sys.exc_info()[1], (OSError, ReaderGone)):
            super().handle_error(request, client_address)
