"""Settings for a server, and requests to it with retries. Shared by Client and the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from ostream.errors import OstreamError, RequestError, ResponseError
from ostream.net.host import check_header, is_header_value, parse_host
from ostream.net.retry import pause_before  # here, because after a failure there may be no descriptor to load it
from ostream.net.timeouts import Timeouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from ostream.net.connections import ConnectionPool
    from ostream.net.http import Response
    from ostream.net.tls import TLSConfig
    from ostream.system.polling import Reader

    S = TypeVar("S", bound="Session")


class ConnectionSettings:
    """The settings of a Session: the arguments of `Client` with the same names, which are documented there."""

    host: str | None = None
    headers: Mapping[str, str | None] | None = None
    connect_timeout: float | None = 10
    first_byte_timeout: float | None = None
    idle_timeout: float | None = None
    max_time: float | None = None
    retry: int = 0
    cacert: Any = None  # a file name, a path object or an SSLContext
    insecure: bool = False
    allow_plain_http: bool = False


class Session:
    """The checked settings for a server, and the connections to it. Threads may share it.

    Raises RequestError for settings that cannot be used.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        host, headers, retry = settings.host, settings.headers, settings.retry
        if not isinstance(host, (str, type(None))):
            raise RequestError(f"host: must be text, not {type(host).__name__}")
        self.host = parse_host(os.environ.get("OLLAMA_HOST") if host is None else host, settings.allow_plain_http)
        limits = (settings.connect_timeout, settings.first_byte_timeout, settings.idle_timeout, settings.max_time)
        self._limits = [*map(_seconds, limits)]
        if not isinstance(retry, int) or retry < 0:
            raise RequestError(f"retry {retry!r:.40}: must be a whole number, 0 or more")
        self.retry = retry
        self.insecure = settings.insecure
        self.cacert = settings.cacert
        self._tls_config: TLSConfig | None = None
        self._keep_connections = True
        self._pool: ConnectionPool | None = None
        if not isinstance(headers, (Mapping, type(None))):
            raise RequestError(f"headers: must be a dict, not {type(headers).__name__}")
        self.headers: dict[str, str] = {name: value for name, value in (headers or {}).items() if value is not None}
        for name, value in self.headers.items():
            check_header(name, value)
        self.key_withheld = False
        key = os.environ.get("OLLAMA_API_KEY", "").strip()
        if any(name.lower() == "authorization" for name in self.headers):
            if not self.host.accepts_credentials:
                raise RequestError(
                    f"{self.host.url}: Authorization is not sent over plain http to another machine",
                    advice="use https, or --allow-plain-http",
                )
        elif key:
            self.key_withheld = not self.host.accepts_credentials
            if not self.key_withheld:
                if not is_header_value(key):
                    raise RequestError("OLLAMA_API_KEY: contains a control or non-ASCII character")
                self.headers["Authorization"] = f"Bearer {key}"

    def single_use(self: S) -> S:
        """Stop keeping idle connections, for a program that sends a single request. Return the session."""
        self._keep_connections = False
        return self

    def close_connections(self) -> None:
        """Close all idle connections."""
        if self._pool:
            self._pool.close()

    def post(
        self,
        path: str,
        body: bytes,
        *,
        reader: Reader | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> Response:
        """Send one request, retry it after temporary failures, and return the response before its body is read.

        Internal: programs call `chat` or `generate`.

        Arguments:
            path: /api/chat or /api/generate.
            body: the JSON to send.
            reader: a descriptor or Wakeup to watch while waiting; see `polling.Waiter`.
            note: called with a message before each retry.

        Raises the errors of `ostream.net.transport.post`.
        """
        timeouts = self.new_timeouts()
        tries = 0
        while True:
            try:
                return self.post_once(path, body, timeouts, reader)
            except OstreamError as error:
                pause = pause_before(error, tries, self.retry)
                if pause is None:
                    raise
                tries += 1
                text = f"{error}; retry {tries} of {self.retry} in {pause:.1f} s"
            if "logging" in sys.modules:  # do not load logging for a program that does not use it
                sys.modules["logging"].getLogger("ostream").info("%s", text)
            note(text)
            timeouts.pause(pause, reader)

    def new_timeouts(self) -> Timeouts:
        """Return the timeouts of one request, including its retries. max-time begins now."""
        return Timeouts(*self._limits)

    def post_once(self, path: str, body: bytes, timeouts: Timeouts, reader: Reader | None = None) -> Response:
        """Send one request without retries and return the response. Raises the errors of `net.transport.post`."""
        from ostream.net import transport

        if self._pool is None and self._keep_connections:
            from ostream.net.connections import ConnectionPool

            self._pool = ConnectionPool()
        try:
            return transport.post(self.host, path, body, self.headers, timeouts, self._tls(), reader, self._pool)
        except ResponseError as error:
            from ostream.net.credentials import advice_on_rejection

            error.advice = advice_on_rejection(error, self.host, self.headers, self.key_withheld) or error.advice
            raise

    def request_line(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the request line that a dry run prints, with the values of all headers masked."""
        masked = dict.fromkeys(self.headers, "***")
        return {"request": {"url": self.host.url + path, "path": path, "headers": masked, "body": body}}

    def mask_error(self, error: OstreamError) -> None:
        """Mask the credentials of this session in an error. The server may have repeated them in its message."""
        from ostream.net.credentials import Credentials

        Credentials(self.headers).mask_error(error)

    def is_server_up(self, timeouts: Timeouts) -> bool:
        """Send GET /api/version. Return True if the server responds with a status below 500."""
        from ostream.net import transport

        try:
            response = transport.request(self.host, "GET", "/api/version", None, self.headers, timeouts, self._tls())
        except OstreamError:
            return False
        response.close()
        return response.status < 500

    def _tls(self) -> TLSConfig:
        """Return the TLS settings, created once: loading the trusted authorities takes longer than a short answer."""
        from ostream.net.tls import TLSConfig

        self._tls_config = self._tls_config or TLSConfig(self.cacert, self.insecure)
        return self._tls_config


def _seconds(limit: Any) -> float | None:
    """Return a time limit as a float. Return None, no limit, for None and infinity. Raises RequestError."""
    if limit is None or limit == float("inf"):
        return None
    try:
        seconds = float(limit) if isinstance(limit, (int, float)) else -1.0
    except OverflowError:
        seconds = -1.0
    if not seconds >= 0:
        raise RequestError(f"timeout {limit!r:.40}: must be a number of seconds, 0 or more, or None")
    return seconds
