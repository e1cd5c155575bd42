"""Send one request and return its response, or raise an OstreamError for every failure."""

from __future__ import annotations

import errno
import http.client

from ostream.errors import TEMPORARY, ConnectError, IncompleteStream, OstreamError, ResponseError, reason
from ostream.net.credentials import Credentials
from ostream.net.exchange import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping

    from ostream.net.connections import ConnectionPool
    from ostream.net.host import Host
    from ostream.net.http import Response
    from ostream.net.timeouts import Timeouts
    from ostream.net.tls import TLSConfig
    from ostream.system.polling import Reader

# Bytes to read of an error response. An error message is short, and the beginning of a long web page is enough.
ERROR_BODY_LIMIT = 256 << 10

_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/x-ndjson, application/json",
    "Accept-Encoding": "identity",
}


def request(
    host: Host,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
    timeouts: Timeouts,
    tls_config: TLSConfig,
    reader: Reader | None = None,
    pool: ConnectionPool | None = None,
) -> Response:
    """Send one request and return its response, with any status, once its headers have arrived.

    Arguments:
        path: the part of the URL after `host.url`.
        body: the request body, or None.
        headers: the headers of the request. User-Agent and Host are added if they are missing.
        reader: a descriptor or Wakeup to watch while waiting (see `polling.Waiter`).
        pool: the idle connections to use and to add to; None closes the connection after the response.

    Raises ConnectError, StreamTimeout, ResponseError if the response is not HTTP, IncompleteStream if the server closes
    the connection without a response, RequestError for a proxy or PEM file that can't be used, and ReaderGone.
    The credentials in `headers` are masked in the error.
    """
    credentials = Credentials(headers)
    exchange = Exchange(host, method, path, body, headers, timeouts, tls_config, reader, pool)
    try:
        return exchange.send()
    except (OSError, http.client.HTTPException) as error:
        raise credentials.mask_error(_no_response(error, exchange, credentials)) from None


def post(
    host: Host,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    timeouts: Timeouts,
    tls_config: TLSConfig,
    reader: Reader | None = None,
    pool: ConnectionPool | None = None,
) -> Response:
    """Send one POST request to /api/chat or /api/generate and return its response. Arguments as for `request`.

    Raises the errors of `request`, and ResponseError for a status other than 2xx, a web page, or a compressed response.
    The credentials in `headers` are masked in the error.
    """
    credentials = Credentials(headers)
    try:
        response = request(host, "POST", path, body, {**_HEADERS, **headers}, timeouts, tls_config, reader, pool)
        try:
            _check(response, host, credentials)
        except BaseException:
            response.close()
            raise
    except OstreamError as error:
        raise credentials.mask_error(error)  # noqa: B904
    response.credentials = credentials
    return response


def _no_response(error: Exception, exchange: Exchange, credentials: Credentials) -> OstreamError:
    """Return the OstreamError for an exception that was raised before the response began."""
    failure = _failure(error, exchange.host, credentials)
    text = str(failure)
    proxy = exchange.proxy.netloc if exchange.proxy else ""
    if proxy and (text.startswith(proxy) or "Tunnel" in text):
        where = "" if text.startswith(proxy) else f"{proxy}: "
        variables = f"{exchange.host.scheme}_proxy or all_proxy"
        return ConnectError(f"proxy {where}{text}", advice=f"check {variables}, or add the host to no_proxy")
    return failure


def _failure(error: Exception, host: Host, credentials: Credentials) -> OstreamError:
    if isinstance(error, OstreamError):
        return error
    if isinstance(error, ConnectionError) or getattr(error, "errno", None) == errno.ENOTCONN:
        closed = IncompleteStream(f"{host.url}: the server closed the connection without a response")
        closed.retryable = True
        return closed
    if isinstance(error, http.client.HTTPException):
        text = credentials.mask(str(error))[:200] or type(error).__name__
        advice = "check the port, and whether the server needs https://"
        return ResponseError(f"{host.url}: the response is not HTTP: {text}", advice=advice)
    return ConnectError(f"{host.url}: {reason(error)}")


def _check(response: Response, host: Host, credentials: Credentials) -> None:
    """Raise ResponseError for a response that can't contain an answer.

    The credentials are masked in the body first, because an error may quote only the beginning of the body.
    """
    location = response.getheader("Location")
    if 300 <= response.status < 400 and location:
        raise ResponseError(
            f"{host.url}: redirected to {location}; redirects are not followed",
            response.status,
            advice="set OLLAMA_HOST or --host to the server's own address",
        )
    if not 200 <= response.status < 300:
        error = _http_error(response, credentials)
        error.retry_after = response.getheader("Retry-After")
        error.retryable = error.exit_status == TEMPORARY
        raise error
    encoding = response.getheader("Content-Encoding", "").strip()
    if encoding.lower() not in ("", "identity"):
        problem = f"the server sent an unrequested Content-Encoding: {encoding}"
        raise ResponseError(f"{host.url}: {problem}", response.status)
    if response.getheader("Content-Type", "").strip().lower().startswith("text/html"):
        error = _http_error(response, credentials)
        error.advice = (
            "this is a web page, not Ollama; check the address, and whether a proxy or a login page responded"
        )
        raise error


def _http_error(response: Response, credentials: Credentials) -> ResponseError:
    from ostream.protocol.http_errors import error_from_http_body

    return error_from_http_body(response.status, credentials.mask_bytes(_error_body(response)))


def _error_body(response: Response) -> bytes:
    """Return the body of an error response: what arrives within ERROR_BODY_S, up to about ERROR_BODY_LIMIT bytes."""
    body = b""
    response.timeouts.start("error-body")
    for block in response.blocks():
        body += block
        if len(body) >= ERROR_BODY_LIMIT:
            break
    return body
