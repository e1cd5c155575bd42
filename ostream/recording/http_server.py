"""An HTTP server on a loopback port, for replay, record and tests.

The server limits the memory for request bodies and the number of connections. The limit of connections depends on the
limit of open files. Clients wait while a limit is reached.
"""

from __future__ import annotations

import contextlib
import errno
import http.server
import socket
import socketserver
import threading

from ostream.errors import OstreamError, RequestError, reason
from ostream.recording.request_handler import BODY_LIMIT, RequestHandler
from ostream.system.polling import READABLE, ReaderGone, wait_ready
from ostream.system.wakeup import Wakeup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Mapping

__all__ = ["RequestHandler", "Server", "free_port"]

# Maximum memory for the large bodies of all requests together, in bytes.
ALL_BODIES = 4 * BODY_LIMIT
# How many descriptors one connection may need (its socket, two Wakeups, a connection to the server, a temporary file),
# and how many the rest of the process needs.
_FILES_PER_CONNECTION, _OTHER_FILES = 8, 24
# How many refusals are reported. There is a limit because a web page can send any number of requests.
_REPORT_LIMIT = 5
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Server(http.server.ThreadingHTTPServer):
    """An HTTP server on 127.0.0.1, which answers requests inside the `with` block.

    Arguments:
        respond: called with each request, in the thread of the request's connection.
        port: the port; 0 means a free port.
        report: called with a message for each of the first refused requests, and when the number of connections or
            threads reaches its limit.

    Raises RequestError if the port cannot be used, and OstreamError if the `with` block begins and no thread can be
    started.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(
        self, respond: Callable[[RequestHandler], None], port: int = 0, report: Callable[[str], object] = str
    ) -> None:
        try:
            super().__init__(("127.0.0.1", port), RequestHandler)
        except (OSError, OverflowError) as error:
            if port:
                raise RequestError(f"port {port}: {reason(error)}", advice="choose another --port") from None
            raise RequestError(f"127.0.0.1: {reason(error)}") from None
        self.respond = respond
        self._report = report
        self._reports = 0
        self._connections: set[socket.socket] = set()
        self._reserved = 0
        self._changed = threading.Condition()
        self._limit = _connection_limit()
        self._limit_reported = False

    def server_bind(self) -> None:
        # HTTPServer.server_bind() would look up the name of 127.0.0.1, which may send a request to a name server.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment variables that make clients of Ollama use this server, without a proxy.

        `environ` is the current environment. The hosts in its no_proxy variables are kept.
        """
        changes = {"OLLAMA_HOST": self.url}
        for name in ("no_proxy", "NO_PROXY"):
            changes[name] = ",".join(filter(None, (environ.get(name), "127.0.0.1")))
        return changes

    @property
    def is_crowded(self) -> bool:
        """True if more than half of the allowed connections are open."""
        return len(self._connections) > self._limit // 2

    def report_refusal(self, text: str) -> None:
        """Report a refused request. After _REPORT_LIMIT messages, report once that more requests were refused."""
        with self._changed:
            self._reports += 1
            count = self._reports
        if count <= _REPORT_LIMIT:
            self._report(text)
        elif count == _REPORT_LIMIT + 1:
            self._report("more requests were refused; they are not reported")

    @contextlib.contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Wait until `size` bytes of memory for large bodies are free, and reserve them inside the `with` block."""
        with self._changed:
            self._changed.wait_for(lambda: self._reserved + size <= ALL_BODIES)
            self._reserved += size
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= size
                self._changed.notify_all()

    def __enter__(self) -> Server:
        self._stopping = Wakeup()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._stopping.close()
            self.server_close()
            raise OstreamError(
                f"{self.url}: cannot serve, because no thread can be started",
                advice="end other processes, or raise 'ulimit -u' or 'ulimit -v'",
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.wake()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()
        self._stopping.close()
        self.server_close()
        # Close the connections that clients have kept open. Otherwise this server would still answer on them, even
        # after another server has taken over the port.
        with self._changed:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._connections, timeout=1)

    def _accept(self) -> None:
        """Accept connections until the `with` block ends.

        serve_forever() is not used, because it wakes up twice a second to check for the end.
        """
        with contextlib.suppress(ReaderGone):
            while True:
                wait_ready(self.fileno(), READABLE, self._stopping)
                if len(self._connections) >= self._limit:
                    self._wait_for_room()
                    continue
                try:
                    connection, address = self.get_request()
                except OSError as error:
                    if error.errno in _OUT_OF_FILES:
                        self._wait_for_room()
                    continue
                with self._changed:
                    self._connections.add(connection)
                try:
                    self.process_request(connection, address)
                except RuntimeError:  # no thread can be started
                    self._report_limit("serving one connection at a time, because the limit of threads is reached")
                    self.process_request_thread(connection, address)

    def _wait_for_room(self) -> None:
        """Wait until a connection ends, but at most one second: other parts of the process may free descriptors too."""
        self._report_limit(f"serving {len(self._connections)} connections at a time; raise 'ulimit -n' for more")
        with self._changed:
            count = len(self._connections)
            self._changed.wait_for(lambda: len(self._connections) < count or self._stopping.is_set, timeout=1)

    def _report_limit(self, text: str) -> None:
        """Report that a limit is reached. Only the first call reports anything."""
        if not self._limit_reported:
            self._limit_reported = True
            self._report(text)

    def close_request(self, request: Any) -> None:
        super().close_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of a bug in ostream. A client that has disconnected is not a bug."""
        import sys

        if not isinstance(sys.exc_info()[1], (OSError, ReaderGone)):
            super().handle_error(request, client_address)


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now.

    Use this function for code that reads OLLAMA_HOST when it is imported: set OLLAMA_HOST to this port before the
    import, and later pass the port to the server.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _connection_limit() -> int:
    """Return how many connections the limit of open files allows."""
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if files == resource.RLIM_INFINITY else max(1, (files - _OTHER_FILES) // _FILES_PER_CONNECTION)
