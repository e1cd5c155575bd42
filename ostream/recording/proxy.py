"""A proxy that forwards requests to the server and records each exchange.

- Data is forwarded as soon as it arrives, even if a line is still incomplete.
- If the client disconnects, the proxy ends the request to the server. If the server truncates the response, the client
  gets a truncated response.
- An exchange is recorded before the client can see that the response is complete. Therefore, if a script sends one
  request after another, the exchanges are recorded in the same order.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading

from ostream.errors import (
    TEMPORARY_HTTP_STATUSES,
    ConnectError,
    IncompleteStream,
    NotNDJSON,
    OstreamError,
    RequestError,
    StreamTimeout,
)
from ostream.net.credentials import Credentials
from ostream.net.host import Host, check_header
from ostream.net.timeouts import Timeouts
from ostream.net.tls import TLSConfig
from ostream.net.transport import request
from ostream.protocol.ndjson import LINE_LIMIT, encode_line, split_lines
from ostream.protocol.request import CHAT, GENERATE
from ostream.recording.format import JSON, AnswerRecorder, decode_body, request_line
from ostream.system.polling import ReaderGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from email.message import Message
    from typing import IO, Callable, Iterator

    from ostream.net.http import Response
    from ostream.recording.request_handler import RequestHandler
    from ostream.system.wakeup import Wakeup

CONNECT_S = 10.0
# An exchange of up to this many bytes is kept in memory until it is complete. A larger exchange is kept in a temporary
# file.
SPOOL_SIZE = 64 << 10
# Hop-by-hop headers (RFC 9110, 7.6.1), and headers that the proxy itself sets in requests or responses.
_NOT_FORWARDED = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
    *("transfer-encoding", "upgrade", "accept-encoding", "content-length", "date", "expect", "host"),
}


class ExchangeLog:
    """The lines that record one exchange. They are written to the file `spool`.

    If the response repeats credentials of the request outside the chunks of an answer, they are masked.

    Attributes:
        failure: the OSError of a failed write to `spool`, or None. After it, the response is forwarded but no longer
            recorded.
        omitted: the reason why the exchange cannot be recorded, or "".
        has_ended: true after `end` has been called.
    """

    def __init__(self, handler: RequestHandler, timeouts: Timeouts, spool: IO[bytes]) -> None:
        self.spool = spool
        self.failure: OSError | None = None
        self.omitted = ""
        self.has_ended = False
        self.name = f"{handler.command} {handler.path.partition('?')[0]}"
        self._handler = handler
        self._credentials = Credentials(dict(handler.headers.items()))
        self.answer = AnswerRecorder(self._credentials.mask_bytes)
        self._timeouts = timeouts
        self._status: int | None = None
        self._truncated = False
        self._has_begun = False

    def begin(self, status: int | None = None, content_type: str | None = None) -> None:
        """Record the request, and the status and content type of the response (None if there was no response)."""
        self._has_begun = True
        self._status = status
        self.answer.has_failed = (status or 0) >= 400
        path, body = self._handler.path.partition("?")[0], decode_body(self._handler.body)
        content_type = content_type and self._credentials.mask(content_type)
        line = request_line(path, body, status, content_type, self._handler.command)
        if len(line) > LINE_LIMIT:
            self.omit(f"the request is larger than {LINE_LIMIT:,} bytes")
        self._write(line)

    def lines(self, lines: list[bytes]) -> None:
        """Record lines of the response. Their arrival time is the current time."""
        elapsed_ns = self._elapsed_ns()
        self._write(b"".join([self.answer.line(line, elapsed_ns) for line in lines]))

    def end(self, failure: OstreamError | None) -> None:
        """Record the end of the response. `failure` is the error that truncated it, or None if it is complete."""
        if not self._has_begun:
            self.begin()
        self._truncated = failure is not None
        self._write(self.answer.end(self._elapsed_ns(), failure))
        self.has_ended = True

    def omit(self, reason: str) -> None:
        """Mark this exchange as one that cannot be recorded, for the given reason."""
        self.omitted = f"{self.name}: {self._credentials.mask(reason)}"

    @property
    def temporary_failure(self) -> str:
        """The reason why the same request may get a different response next time.

        It is "" if the response is complete and is not a temporary failure.
        """
        status = self._status or 0
        if self._truncated or not self._has_begun:
            return "the response was truncated"
        if status >= 500 or status in TEMPORARY_HTTP_STATUSES:
            return f"HTTP status {status}"
        if status < 400 and self.answer.has_failed:
            return "the response ended with an error"
        is_stream = status == 200 and self._handler.path.partition("?")[0] in (CHAT, GENERATE)
        if is_stream and not self.answer.is_done:
            return 'the response has no "done": true'
        return ""

    def _elapsed_ns(self) -> int:
        return self._timeouts.elapsed_ns() if self._timeouts.sent_ns else 0

    def _write(self, lines: bytes) -> None:
        if not self.failure:
            try:
                self.spool.write(lines)
            except OSError as error:
                self.failure = error


class Proxy:
    """Forward each request to a server. An instance is a `respond` function for `http_server.Server`.

    Arguments:
        host: the server.
        on_recorded: called with the log of each exchange after the exchange has ended. Calls do not overlap, although
            several threads make them.
        on_warning: called with a message, at most once, if credentials are not forwarded.
        tls_config: the settings for an https server.
    """

    def __init__(
        self,
        host: Host,
        on_recorded: Callable[[ExchangeLog], None],
        on_warning: Callable[[str], object],
        tls_config: TLSConfig | None = None,
    ) -> None:
        self.host = host
        self._on_recorded = on_recorded
        self._recording = threading.Lock()
        self._on_warning = on_warning
        self._tls_config = tls_config or TLSConfig()
        self._running: set[RequestHandler] = set()
        self._is_finished = False
        self._change = threading.Condition()
        self._has_warned = False

    def __call__(self, handler: RequestHandler) -> None:
        with self._change:
            if self._is_finished:
                handler.close_connection = True
                return
            self._running.add(handler)
        try:
            self._serve(handler)
        finally:
            with self._change:
                self._running.remove(handler)
                self._change.notify_all()

    def finish(self) -> None:
        """Disconnect the clients of running requests, and wait until these requests have been recorded."""
        with self._change:
            self._is_finished = True
            for handler in self._running:
                handler.disconnect()
            self._change.wait_for(lambda: not self._running)

    def _serve(self, handler: RequestHandler) -> None:
        if not re.fullmatch(r"/[!-~]*", handler.path):
            handler.send_body(400, JSON, _error("the path must begin with /; this is not an HTTP proxy"))
            return
        timeouts = Timeouts(connect=CONNECT_S)
        with tempfile.SpooledTemporaryFile(SPOOL_SIZE) as spool, handler.watched() as client:
            log = ExchangeLog(handler, timeouts, spool)
            try:
                self._forward(handler, log, timeouts, client)
            except (OSError, ReaderGone):
                # The client has disconnected. If the last line was recorded before that, the response is complete.
                self._end(log, None if log.answer.is_done else IncompleteStream("the client disconnected"))
                raise

    def _forward(self, handler: RequestHandler, log: ExchangeLog, timeouts: Timeouts, client: Wakeup) -> None:
        headers = self._headers(handler)
        body = handler.body or None
        try:
            response = request(
                self.host, handler.command, handler.path, body, headers, timeouts, self._tls_config, client
            )
        except IncompleteStream as error:  # the server closed the connection, so the proxy closes its own too
            self._end(log, error)
            handler.close_connection = True
        except OstreamError as error:
            # A client treats 502 as temporary, but a response that is not HTTP as a permanent failure.
            status = 502 if isinstance(error, (ConnectError, StreamTimeout)) else 500
            text = _error(str(error))
            log.begin(status, JSON)
            log.lines([text])
            self._end(log)
            handler.send_body(status, JSON, text)
        else:
            with contextlib.closing(response):
                self._return(handler, response, log)

    def _return(self, handler: RequestHandler, response: Response, log: ExchangeLog) -> None:
        """Forward the response to the client while it arrives, and record it."""
        log.begin(response.status, response.getheader("Content-Type"))
        length = response.length
        handler.head(response.status, None, length, _end_to_end(response.headers))
        handler.raw(b"")  # send the headers now; the body may take a long time
        encoding = response.getheader("Content-Encoding", "").strip()
        if encoding.lower() not in ("", "identity"):
            log.omit(f"the server sent an unrequested Content-Encoding: {encoding}")
        last = b""  # the block that completes a response of known length; it is sent after the response is recorded
        gone: OSError | ReaderGone | None = None

        def passed_on() -> Iterator[bytes]:
            nonlocal last, gone
            try:
                for block in response.blocks():
                    if length == response.timeouts.received:
                        last = block
                    else:
                        handler.chunk(block)
                    yield block
            except (OSError, ReaderGone) as error:  # the client has disconnected; record the line that it has in part
                gone = error

        blocks = passed_on()
        try:
            for lines in split_lines(blocks):
                if not (gone and log.answer.is_done):
                    log.lines(lines)
        except NotNDJSON as error:
            log.omit(str(error))
            for _ in blocks:
                pass
        if gone:
            raise gone
        if response.is_complete:
            self._end(log)
            handler.raw(last)
            if length is None:
                handler.end()
        else:
            self._end(log, response.failure or IncompleteStream("the server closed the connection"))
            handler.truncate()

    def _end(self, log: ExchangeLog, failure: OstreamError | None = None) -> None:
        if not log.has_ended:
            log.end(failure)
            with self._recording:
                self._on_recorded(log)

    def _headers(self, handler: RequestHandler) -> dict[str, str]:
        """Return the headers of the client's request that are sent to the server."""
        headers = {}
        for name, value in _end_to_end(handler.headers):
            if name.lower() == "authorization" and not self.host.accepts_credentials:
                if not self._has_warned:
                    self._on_warning(f"Authorization is not sent over plain http to {self.host.url}; use https")
                self._has_warned = True
                continue
            try:
                check_header(name, value)
            except RequestError:
                continue
            headers[name] = value
        return headers


def _end_to_end(headers: Message) -> Iterator[tuple[str, str]]:
    """Yield the headers that a proxy may forward."""
    named = {name.strip().lower() for name in ",".join(headers.get_all("Connection", [])).split(",")}
    for name, value in headers.items():
        if name.lower() not in _NOT_FORWARDED | named and re.fullmatch(r"[\t -~\xa0-\xff]*", value):
            yield name, value


def _error(text: str) -> bytes:
    return encode_line({"error": text}).rstrip()
