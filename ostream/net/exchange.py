"""Send one request on a new or an idle connection and return its response.

urllib opens new connections. A request on an idle connection goes directly to http.client. The opener has no handlers
for redirects and proxies: redirects are not followed, and `proxies` chooses the proxy.
"""

from __future__ import annotations

import http.client
import os
import urllib.request
from functools import lru_cache

from ostream.errors import ConnectError
from ostream.net.connect import connect
from ostream.net.host import is_loopback
from ostream.net.http import Response
from ostream.net.proxies import proxy_for
from ostream.net.socket import WatchedSocket
from ostream.net.tls import start_tls
from ostream.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Hashable, Mapping

    from ostream.net.connections import ConnectionPool
    from ostream.net.host import Host
    from ostream.net.timeouts import Timeouts
    from ostream.net.tls import TLSConfig
    from ostream.system.polling import Reader

_AGENT = f"ostream/{__version__}"


class Exchange:
    """A request and what is needed to send it: address, headers, body, timeouts, TLS settings and connection pool."""

    def __init__(
        self,
        host: Host,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        tls_config: TLSConfig,
        reader: Reader | None = None,
        pool: ConnectionPool | None = None,
    ) -> None:
        self.host = host
        self.method = method
        self.url = host.url + path
        self.body = body
        self.timeouts = timeouts
        self.tls_config = tls_config
        self.reader = reader
        self.pool = pool
        self.proxy = proxy_for(host)
        self.key: Hashable = (host.url, self.proxy and self.proxy.url, tls_config)
        self.headers = {"User-Agent": _AGENT, **headers}
        names = set(map(str.lower, headers))
        self.has_authorization = "authorization" in names
        if "host" not in names:
            self.headers["Host"] = host.netloc
        self.target = host.path + path
        if self.proxy and host.scheme == "http":
            self.target = self.url
            self.headers.update(self.proxy.headers)

    def send(self) -> Response:
        """Send the request, read the headers of the response, and return the response.

        Uses an idle connection if the pool has one. If the server has closed that connection before it sent any byte
        of the response, the request is sent again on a new connection. Raises OstreamError, OSError, HTTPException and
        ReaderGone.
        """
        self.timeouts.start("connect")
        idle: Connection | None = self.pool.take(self.key) if self.pool else None
        if idle:
            try:
                return idle.exchange(self)
            except ConnectionError:
                if idle.has_received:
                    raise
            self.timeouts.start("connect")
        request = _Request(self.url, self.body, self.headers, method=self.method)
        request.exchange = self
        if self.proxy:
            request.set_proxy(self.proxy.netloc, "http")
        response: Response = _opener().open(request)
        return response


class Connection(http.client.HTTPConnection):
    """A connection to a server or to its proxy. The pool can keep it once its response has been read."""

    response_class = Response
    sock: Any
    _tunnel_host: str | None
    _tunnel_port: int

    def __init__(self, host: str, exchange: Exchange) -> None:
        super().__init__(host)
        self._exchange = exchange
        self._unread = b""
        self._pid = os.getpid()

    def exchange(self, exchange: Exchange) -> Response:
        """Send another request on this idle connection and return the response."""
        self._exchange = exchange
        self.sock.begin_request(exchange.timeouts, exchange.reader)
        exchange.timeouts.start("first-byte")
        return self.send_and_receive(exchange.method, exchange.target, exchange.body, exchange.headers)

    def send_and_receive(self, method: str, target: str, body: Any, headers: Mapping[str, str]) -> Response:
        """Send a request, read the headers of the response, and return it. Close the connection on failure."""
        try:
            self.request(method, target, body, headers)
            response = self.getresponse()
            assert isinstance(response, Response)
        except BaseException:
            self.close()
            raise
        response.timeouts = self._exchange.timeouts
        if self._exchange.pool and self.sock:
            response.on_close = self._on_close
        elif self.sock:
            # The response keeps the socket open until it is closed itself. self.close() would close the response too.
            self.sock.close()
            self.sock = None
        return response

    def _on_close(self, unread: bytes | None) -> None:
        exchange = self._exchange
        # A forked child that drops a response of its parent must not put the parent's connection into the pool.
        if unread is None or exchange.pool is None or os.getpid() != self._pid:
            self.close()
        else:
            self._unread = unread
            # The exchange refers to the pool. In a reference cycle, only the garbage collector would close connections.
            del self._exchange
            exchange.pool.put(exchange.key, self)

    def is_usable(self) -> bool:
        """True if this idle connection is open and the server has sent only the rest of its last response."""
        usable: bool = self.sock.has_exactly(self._unread)
        return usable

    @property
    def has_received(self) -> bool:
        """True if any byte of the response to the current request has arrived."""
        return self._wire.has_received

    def connect(self) -> None:
        """Connect, open a tunnel if the proxy needs one, and do the TLS handshake. Called by http.client."""
        exchange = self._exchange
        tls = exchange.host.scheme == "https"
        sock = connect(self.host, self.port, exchange.timeouts, exchange.reader)
        self.sock = self._wire = wire = WatchedSocket(sock, exchange.timeouts, exchange.reader)
        try:
            if not tls and exchange.has_authorization and not exchange.host.allow_plain_http:
                self._check_peer(wire)
            if self._tunnel_host:
                self._tunnel()  # type: ignore[attr-defined]
            if tls:
                name, port = (self._tunnel_host, self._tunnel_port) if self._tunnel_host else (self.host, self.port)
                start_tls(wire, name, port, exchange.tls_config)
        except BaseException:
            # wire.close() may not be enough: http.client may have left the file of the proxy's response open.
            wire.sock.close()
            raise
        exchange.timeouts.start("first-byte")

    def _check_peer(self, wire: WatchedSocket) -> None:
        """Raise ConnectError if the server is another machine.

        A name such as x.localhost looks like this machine, but may resolve to another.
        """
        address = str(wire.sock.getpeername()[0])
        if not is_loopback(address.lower().replace("::ffff:", "", 1)):
            raise ConnectError(
                f"{self.host}: is {address}, and Authorization is not sent over plain http to another machine",
                advice="use https, or --allow-plain-http",
            )


class _Request(urllib.request.Request):
    """A urllib request with a reference to its exchange."""

    exchange: Exchange
    _tunnel_host: str | None


class _Handler(urllib.request.AbstractHTTPHandler):
    """Open http and https URLs on a `Connection`. do_open() of urllib is not used: it always closes the connection."""

    def open(self, request: _Request) -> Response:
        exchange = request.exchange
        connection = Connection(request.host, exchange)
        headers = {**request.headers, **request.unredirected_hdrs}
        if exchange.pool is None:
            headers["Connection"] = "close"
        if exchange.proxy and request._tunnel_host:
            connection.set_tunnel(request._tunnel_host, headers=exchange.proxy.headers)
        names = {name.title(): value for name, value in headers.items()}
        return connection.send_and_receive(request.get_method(), request.selector, request.data, names)

    http_open = https_open = open
    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


@lru_cache(maxsize=1)  # creating an opener takes a tenth of the time of a short request
def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    opener.add_handler(_Handler())
    return opener
