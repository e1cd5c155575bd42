"""One request and its answer: the only user of urllib.

Nothing is followed, and nothing loopback goes through a proxy: an opener of our own with neither.
"""

from __future__ import annotations

import errno
import http.client
import urllib.error
import urllib.request
from functools import lru_cache

from ostream.errors import (
    TEMPORARY_HTTP_STATUSES,
    ConnectError,
    IncompleteStream,
    OstreamError,
    RequestError,
    ResponseError,
    reason,
)
from ostream.net.host import Host, is_loopback, parse_host
from ostream.net.http import Response
from ostream.net.socket import WatchedSocket, connect
from ostream.net.timeouts import Timeouts
from ostream.net.tls import TLSConfig, start_tls
from ostream.protocol.error_lines import error_from_http_body
from ostream.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

    from ostream.system.polling import Reader

# An error's text is short; a page of ten megabytes says no more than its beginning.
REFUSAL_LIMIT = 256 << 10


class _Request(urllib.request.Request):
    """A request and what it must keep to on its way."""

    timeouts: Timeouts
    reader: Reader | None
    tls_config: TLSConfig


class _Connection(http.client.HTTPConnection):
    response_class = Response
    sock: Any
    _tunnel_host: str | None
    _tunnel_port: int

    def __init__(self, host: str, request: _Request) -> None:
        super().__init__(host)
        self._request = request

    def connect(self) -> None:
        request = self._request
        tls = request.type == "https"
        self.sock = wire = WatchedSocket(
            connect(self.host, self.port, request.timeouts, request.reader), request.timeouts, request.reader
        )
        try:
            if not tls and request.has_header("Authorization"):
                self._check_peer(wire)
            if self._tunnel_host:
                self._tunnel()  # type: ignore[attr-defined]
            if tls:
                name, port = (self._tunnel_host, self._tunnel_port) if self._tunnel_host else (self.host, self.port)
                start_tls(wire, name, port, request.tls_config)
        except BaseException:
            wire.sock.close()  # http.client may have left its reader of the proxy's answer open
            raise
        request.timeouts.start("first-byte")

    def _check_peer(self, wire: WatchedSocket) -> None:
        """A name may look like this machine and, by a name server's word, be another."""
        address = str(wire.sock.getpeername()[0])
        if not is_loopback(address.lower().replace("::ffff:", "", 1)):
            raise ConnectError(
                f"{self.host}: is {address}, and Authorization is not sent over plain http to another machine",
                advice="use https",
            )


class _Handler(urllib.request.AbstractHTTPHandler):
    """Opens http and https on our own connections."""

    def open(self, request: _Request) -> Any:
        def connection(host: str, timeout: Any = None) -> _Connection:
            return _Connection(host, request)

        return self.do_open(connection, request)  # type: ignore[arg-type]

    http_open = https_open = open
    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


@lru_cache(maxsize=16)
def _opener(scheme: str, proxy: str) -> urllib.request.OpenerDirector:
    """What opens requests, through this proxy if there is one. To make it anew takes a tenth of a short request."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler({scheme: proxy} if proxy else {}))
    opener.add_handler(_Handler())
    return opener


def _proxy(host: Host) -> str:
    """The proxy of the environment for this host, or "". Loopback never has one."""
    if host.is_loopback or urllib.request.proxy_bypass(f"{host.name}:{host.port}"):
        return ""
    proxies = urllib.request.getproxies()
    proxy = (proxies.get(host.scheme) or proxies.get("all") or "").strip()
    if not proxy:
        return ""
    kind, separator, rest = proxy.partition("://")
    if separator and kind.lower() != "http":
        raise RequestError(f"proxy {kind}://...: only http proxies can be used", advice="set no_proxy for this host")
    authority, _, path = (rest if separator else proxy).partition("/")
    credentials, at, address = authority.rpartition("@")
    try:
        parsed = parse_host(f"http://{address}")
    except RequestError:
        parsed = None
    # A password with a / in it would begin a path, and what stands before it would be taken for the host.
    if not parsed or not address or address.endswith(":") or "@" in path:
        # Its value may hold a password.
        raise RequestError(f"{host.scheme}_proxy or all_proxy: not a host and a port")
    return f"http://{credentials}{at}{parsed.url[len('http://') :]}"


def request(
    host: Host,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
    timeouts: Timeouts,
    tls_config: TLSConfig,
    reader: Reader | None = None,
) -> Response:
    """Send one request and give the answer, whatever it says, once its headers are there.

    Raises ConnectError, ClockError, ResponseError for what is not HTTP, IncompleteStream when the server hangs up
    without an answer, and ReaderGone.
    """
    proxy = _proxy(host)
    asked = _Request(host.url + path, body, {"User-Agent": _AGENT, **headers}, method=method)
    asked.timeouts, asked.reader, asked.tls_config = timeouts, reader, tls_config
    timeouts.start("connect")
    try:
        response: Response = _opener(host.scheme, proxy).open(asked)
    except (OSError, http.client.HTTPException) as error:
        raise _no_answer(error, host, proxy.rpartition("@")[2].rpartition("/")[2]) from None
    response.timeouts = timeouts
    return response


def post(
    host: Host,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    timeouts: Timeouts,
    tls_config: TLSConfig,
    reader: Reader | None = None,
) -> Response:
    """Send one request to /api/chat or /api/generate, and give the answer if it is one of ours.

    Raises what `request` raises, and ResponseError for any status that is not 2xx, an HTML page, and compression.
    """
    response = request(host, "POST", path, body, {**_HEADERS, **headers}, timeouts, tls_config, reader)
    try:
        _accept(response, host)
    except BaseException:
        response.close()
        raise
    return response


_AGENT = f"ostream/{__version__}"
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/x-ndjson, application/json",
    "Accept-Encoding": "identity",
}


def _no_answer(error: Exception, host: Host, proxy: str) -> OstreamError:
    """What went wrong before there was an answer, in our words. `proxy`: host and port of the one between, or ""."""
    failure = _failure(error, host)
    text = str(failure)
    if proxy and (text.startswith(proxy) or "Tunnel" in text):
        # Its own address says all there is to say; of a tunnel, to where.
        where = "" if text.startswith(proxy) else f"{proxy}: "
        advice = f"{host.scheme}_proxy or all_proxy names it; no_proxy names the hosts that need none"
        return ConnectError(f"proxy {where}{text}", advice=advice)
    return failure


def _failure(error: Exception, host: Host) -> OstreamError:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, OstreamError):
        return error
    if isinstance(error, ConnectionError) or getattr(error, "errno", None) == errno.ENOTCONN:
        silent = IncompleteStream(f"{host.url}: the server hung up without an answer")
        silent.retryable = True
        return silent
    if isinstance(error, http.client.HTTPException):
        text = str(error)[:200] or type(error).__name__
        return ResponseError(
            f"{host.url}: the answer is not HTTP: {text}", advice="what listens on this port? (TLS: say https://)"
        )
    return ConnectError(f"{host.url}: {reason(error)}")


def _accept(response: Response, host: Host) -> None:
    """Raises ResponseError for an answer that can't be a stream of ours."""
    location = response.getheader("Location")
    if 300 <= response.status < 400 and location:
        raise ResponseError(
            f"{host.url}: redirected to {location}, which is not followed",
            response.status,
            advice="set OLLAMA_HOST or --host to where the server is",
        )
    if not 200 <= response.status < 300:
        error = error_from_http_body(response.status, _beginning(response))
        error.retry_after = response.getheader("Retry-After")
        error.retryable = response.status in TEMPORARY_HTTP_STATUSES
        raise error
    encoding = response.getheader("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise ResponseError(f"{host.url}: the answer is compressed ({encoding}), unasked", response.status)
    if response.getheader("Content-Type", "").strip().lower().startswith("text/html"):
        error = error_from_http_body(response.status, _beginning(response))
        error.advice = "this is a web page, not Ollama: a proxy, a login page, or the wrong address"
        raise error


def _beginning(response: Response) -> bytes:
    """The body of an error answer, as much as comes and is needed."""
    body = b""
    response.timeouts.start("refusal")
    for block in response.blocks():
        body += block
        if len(body) >= REFUSAL_LIMIT:
            break
    return body
