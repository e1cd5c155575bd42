"""A server, how to reach it, and requests to it with retries: what Client and the commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import ostream
from ostream.errors import OstreamError, RequestError
from ostream.net.host import check_header, parse_host
from ostream.net.retry import pause_before
from ostream.net.timeouts import Timeouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ostream.net.http import Response
    from ostream.net.tls import TLSConfig
    from ostream.system.polling import Reader


class Session:
    """The settings of a Client, whose documentation has the arguments. Threads may share it."""

    def __init__(
        self,
        host: str | None = None,
        *,
        headers: Mapping[str, str | None] | None = None,
        timeout: ostream.types.TimeoutParam | None = None,
        connect_timeout: float | None = 10,
        first_byte_timeout: float | None = None,
        idle_timeout: float | None = None,
        max_time: float | None = None,
        retry: int = 0,
        cacert: ostream.types.PathParam | None = None,
        insecure: bool = False,
        verify: ostream.types.VerifyParam = True,
    ) -> None:
        if not isinstance(host, (str, type(None))):
            raise RequestError(f"host: must be text, not {type(host).__name__}")
        self.host = parse_host(os.environ.get("OLLAMA_HOST") if host is None else host)
        if timeout is not None:
            limits: Any = timeout
            connect_timeout = getattr(limits, "connect", limits)
            first_byte_timeout = idle_timeout = getattr(limits, "read", limits)
        self._limits = [*map(_seconds, (connect_timeout, first_byte_timeout, idle_timeout, max_time))]
        if not isinstance(retry, int) or retry < 0:
            raise RequestError(f"retry {retry!r:.40}: must be a whole number, 0 or more")
        self.retry = retry
        self.insecure = insecure or verify is False
        self.cacert: Any = cacert if isinstance(verify, bool) else verify
        self._tls_config: TLSConfig | None = None
        if not isinstance(headers, (Mapping, type(None))):
            raise RequestError(f"headers: must be a dict, not {type(headers).__name__}")
        self.headers: dict[str, str] = {name: value for name, value in (headers or {}).items() if value is not None}
        for name, value in self.headers.items():
            check_header(name, value)
        self.key_withheld = False
        key = os.environ.get("OLLAMA_API_KEY", "").strip()
        if any(name.lower() == "authorization" for name in self.headers):
            if not self.host.keeps_secrets:
                raise RequestError(
                    f"{self.host.url}: Authorization is not sent over plain http to another machine", advice="use https"
                )
        elif key:
            self.key_withheld = not self.host.keeps_secrets
            if not self.key_withheld:
                self.headers["Authorization"] = f"Bearer {key}"
                check_header("Authorization", self.headers["Authorization"])

    def post(
        self,
        path: str,
        body: bytes,
        *,
        reader: Reader | None = None,
        note: Callable[[str], None] = lambda text: None,
        hold: Callable[[float, Timeouts, str], None] | None = None,
    ) -> Response:
        """Send one request, with the retries of this client, and return its response before the body is read.

        `reader` ends the wait with ReaderGone. `note` is called with a message before each retry; `hold` replaces the
        pause before it. Raises the errors of `ostream.net.transport.post`. Not public: programs call `chat`.
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
                text = f"{error}; try {tries} of {self.retry} in {pause:.1f} s"
            if "logging" in sys.modules:  # a program that does not use it need not load it
                sys.modules["logging"].getLogger("ostream").info("%s", text)
            if hold is None:
                note(text)
                timeouts.pause(pause, reader)
            else:
                hold(pause, timeouts, text)

    def new_timeouts(self) -> Timeouts:
        """Return the timeouts of one request, the retries included; its total time begins now."""
        return Timeouts(*self._limits)

    def post_once(self, path: str, body: bytes, timeouts: Timeouts, reader: Reader | None = None) -> Response:
        """Send one request, without retries. Raises OstreamError and ReaderGone as `net.transport.post` does."""
        from ostream.net import transport

        return transport.post(self.host, path, body, self.headers, timeouts, self._tls(), reader)

    def is_server_up(self, timeouts: Timeouts) -> bool:
        """Send GET /api/version; True if there is an answer with a status below 500, whatever it says."""
        from ostream.net import transport

        try:
            response = transport.request(self.host, "GET", "/api/version", None, self.headers, timeouts, self._tls())
        except OstreamError:
            return False
        response.close()
        return response.status < 500

    def _tls(self) -> TLSConfig:
        """Return the TLS settings. To load the trusted authorities takes longer than a short answer: once is enough."""
        from ostream.net.tls import TLSConfig

        self._tls_config = self._tls_config or TLSConfig(self.cacert, self.insecure)
        return self._tls_config


def _seconds(limit: Any) -> float | None:
    """Check a time limit; None and infinity are no limit."""
    if limit is None or limit == float("inf"):
        return None
    try:
        seconds = float(limit) if isinstance(limit, (int, float)) else -1.0
    except OverflowError:
        seconds = -1.0
    if not seconds >= 0:
        raise RequestError(f"timeout {limit!r:.40}: must be a number of seconds, 0 or more, or None")
    return seconds
