"""A server of ours that asks the real one: what comes is passed on at once, and written down on the way.

- One read, one write: nothing waits for the end of a line.
- Whoever leaves is followed: a client that left ends the request to the server, a server that was cut cuts the client.
- An exchange is written down when it is over, before the client can know that it is: so the next one comes after it.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading

from ostream.errors import IncompleteStream, NotNDJSON, OstreamError, RequestError
from ostream.net.host import Host, check_header
from ostream.net.timeouts import Timeouts
from ostream.net.tls import TLSConfig
from ostream.net.transport import request
from ostream.protocol.ndjson import encode_line, split_lines
from ostream.recording.format import JSON, AnswerRecorder, decode_body, request_line
from ostream.system.polling import ReaderGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from email.message import Message
    from typing import IO, Callable, Iterator

    from ostream.net.http import Response
    from ostream.recording.http_server import RequestHandler
    from ostream.system.wakeup import Wakeup

CONNECT_S = 10.0
# What fewer bytes than this say is kept in memory until the exchange is over.
SPOOL_SIZE = 64 << 10
# RFC 9110, 7.6.1, and what each side of us says for itself.
_NOT_PASSED_ON = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
    *("transfer-encoding", "upgrade", "accept-encoding", "content-length", "date", "expect", "host"),
}


class ExchangeLog:
    """What is written down of one exchange, in `spool`. A disk that is full stops this, and nothing else."""

    def __init__(self, exchange: RequestHandler, timeouts: Timeouts, spool: IO[bytes]) -> None:
        self.spool = spool
        self.failure: OSError | None = None  # of the spool
        self.missing = ""  # why this exchange can't be written down
        self.answer = AnswerRecorder()
        self._exchange = exchange
        self._timeouts = timeouts
        self._has_begun = False
        self.has_ended = False

    def begin(self, status: int | None = None, content_type: str | None = None) -> None:
        self._has_begun = True
        path, body = self._exchange.path.partition("?")[0], decode_body(self._exchange.body)
        self._write(request_line(path, body, status, content_type, self._exchange.command))

    def lines(self, lines: list[bytes]) -> None:
        elapsed_ns = self._elapsed_ns()
        self._write(b"".join([self.answer.line(line, elapsed_ns) for line in lines]))

    def end(self, failure: OstreamError | None) -> None:
        if not self._has_begun:
            self.begin()
        self._write(self.answer.end(self._elapsed_ns(), failure))
        self.has_ended = True

    def miss(self, reason: str) -> None:
        self.missing = f"{self._exchange.command} {self._exchange.path.partition('?')[0]}: {reason}"

    def _elapsed_ns(self) -> int:
        return self._timeouts.elapsed_ns() if self._timeouts.sent_ns else 0

    def _write(self, lines: bytes) -> None:
        if not self.failure:
            try:
                self.spool.write(lines)
            except OSError as error:
                self.failure = error


class Proxy:
    """Answers as `host` does. `keep` is given what was written down of each exchange, one at a time; `tell` is told
    what is not passed on."""

    def __init__(self, host: Host, keep: Callable[[ExchangeLog], None], tell: Callable[[str], None]) -> None:
        self.host = host
        self._keep = keep
        self._keeping = threading.Lock()
        self._tell = tell
        self._under_way: set[RequestHandler] = set()
        self._is_over = False
        self._change = threading.Condition()
        self._told_of_secret = False

    def __call__(self, exchange: RequestHandler) -> None:
        with self._change:
            if self._is_over:
                exchange.close_connection = True
                return
            self._under_way.add(exchange)
        try:
            self._serve(exchange)
        finally:
            with self._change:
                self._under_way.remove(exchange)
                self._change.notify_all()

    def finish(self) -> None:
        """Cut what is still under way, and wait until it has been written down."""
        with self._change:
            self._is_over = True
            for exchange in self._under_way:
                exchange.disconnect()
            self._change.wait_for(lambda: not self._under_way)

    def _serve(self, exchange: RequestHandler) -> None:
        if not re.fullmatch(r"/[!-~]*", exchange.path):
            exchange.send_body(400, JSON, _error("this is no proxy: the path must begin with /"))
            return
        timeouts = Timeouts(connect=CONNECT_S)
        with tempfile.SpooledTemporaryFile(SPOOL_SIZE) as spool, exchange.watched() as client:
            note = ExchangeLog(exchange, timeouts, spool)
            try:
                self._ask(exchange, note, timeouts, client)
            except (OSError, ReaderGone):
                # The client has left. If the answer was complete, it has missed nothing.
                self._end(note, None if note.answer.is_over else IncompleteStream("the client left"))
                raise

    def _ask(self, exchange: RequestHandler, note: ExchangeLog, timeouts: Timeouts, client: Wakeup) -> None:
        headers = self._headers(exchange)
        try:
            response = request(
                self.host,
                exchange.command,
                exchange.path,
                exchange.body or None,
                headers,
                timeouts,
                TLSConfig(),
                client,
            )
        except IncompleteStream as error:  # it hung up; so do we
            self._end(note, error)
            exchange.close_connection = True
        except OstreamError as error:
            body = _error(str(error))
            note.begin(502, JSON)
            note.lines([body])
            self._end(note)
            exchange.send_body(502, JSON, body)
        else:
            with contextlib.closing(response):
                self._answer(exchange, response, note)

    def _answer(self, exchange: RequestHandler, response: Response, note: ExchangeLog) -> None:
        note.begin(response.status, response.getheader("Content-Type"))
        length = response.length
        exchange.head(response.status, None, length, _passed_on(response.headers))
        exchange.raw(b"")  # the headers are passed on as they come, too
        encoding = response.getheader("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            note.miss(f"the answer is compressed ({encoding}), unasked")
        last = b""  # what completes an answer whose length is known: see the top of this module

        def passed_on() -> Iterator[bytes]:
            nonlocal last
            for block in response.blocks():
                if length == response.timeouts.received:
                    last = block
                else:
                    exchange.chunk(block)
                yield block

        blocks = passed_on()
        try:
            for lines in split_lines(blocks):
                note.lines(lines)
        except NotNDJSON as error:
            note.miss(str(error))
            for _ in blocks:
                pass
        if response.is_whole:
            self._end(note)
            exchange.raw(last)
            if length is None:
                exchange.end()
        else:
            self._end(note, response.failure or IncompleteStream("the server was cut"))
            exchange.truncate()

    def _end(self, note: ExchangeLog, failure: OstreamError | None = None) -> None:
        if not note.has_ended:
            note.end(failure)
            with self._keeping:
                self._keep(note)

    def _headers(self, exchange: RequestHandler) -> dict[str, str]:
        """Those of the client that are meant for the server."""
        headers = {}
        for name, value in _passed_on(exchange.headers):
            if name.lower() == "authorization" and not self.host.keeps_secrets:
                if not self._told_of_secret:
                    self._tell(f"Authorization is not sent over plain http to {self.host.url}; use https")
                self._told_of_secret = True
                continue
            try:
                check_header(name, value)
            except RequestError:
                continue
            headers[name] = value
        return headers


def _passed_on(headers: Message) -> Iterator[tuple[str, str]]:
    """The headers that go from end to end."""
    named = {name.strip().lower() for name in ",".join(headers.get_all("Connection", [])).split(",")}
    for name, value in headers.items():
        if name.lower() not in _NOT_PASSED_ON | named and re.fullmatch(r"[\t -~\xa0-\xff]*", value):
            yield name, value


def _error(text: str) -> bytes:
    return encode_line({"error": text}).rstrip()
