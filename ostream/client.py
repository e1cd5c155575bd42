"""The library: chat and generate over one connection per request."""

from __future__ import annotations

import os
import random
import time

from ostream.chunk import Chunk, Message
from ostream.clocks import Clocks
from ostream.errors import IncompleteStream, NotNDJSON, OstreamError, RequestError
from ostream.failure import is_error, response_error
from ostream.message import Accumulator
from ostream.ndjson import decode_line, is_torn, split_lines
from ostream.request import CHAT, GENERATE, chat_body, check_header, encode_body, generate_body, parse_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, Generator, Iterator, Mapping, Sequence

    from ostream.transport import Response

# The pauses between tries, in seconds: doubled each time, a random half of it taken off.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


class Client:
    """Where the server is and how to reach it. Thread-safe: every request has its own connection.

    `host` is read as OLLAMA_HOST is, which it defaults to. `timeout` sets `connect_timeout`, `first_byte_timeout` and
    `idle_timeout` at once; all are seconds, None is for ever. `max_time` bounds a whole request. `retry` is how often
    a request is sent again after 429, 502, 503, 504, a refused or a reset connection, before anything of an answer
    has come. OLLAMA_API_KEY goes as a Bearer header to this host only, over https or loopback only.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        connect_timeout: float | None = 10,
        first_byte_timeout: float | None = None,
        idle_timeout: float | None = None,
        max_time: float | None = None,
        retry: int = 0,
        cacert: str | None = None,
        insecure: bool = False,
    ) -> None:
        self.host = parse_host(os.environ.get("OLLAMA_HOST") if host is None else host)
        if timeout is not None:
            connect_timeout = first_byte_timeout = idle_timeout = timeout
        self._limits = (connect_timeout, first_byte_timeout, idle_timeout, max_time)
        self.retry = retry
        self.cacert = cacert
        self.insecure = insecure
        self.headers = dict(headers or {})
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

    def chat(
        self, model: str = "", messages: Sequence[Any] | None = None, *, stream: bool = False, **fields: Any
    ) -> Any:
        """POST /api/chat: a Chunk, or with `stream=True` a Stream of them. For the fields see the module's `chat`."""
        return self._ask(CHAT, chat_body(model, messages, stream=stream, **fields))

    def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: bool = False,
        **fields: Any,
    ) -> Any:
        """POST /api/generate: a Chunk, or with `stream=True` a Stream of them."""
        return self._ask(GENERATE, generate_body(model, prompt, suffix, stream=stream, **fields))

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        if not body.get("model"):
            raise RequestError("model: must be named")
        data = encode_body(body)
        stream = Stream(lambda: self.post(path, data))
        return stream if body.get("stream") else stream.whole()

    def post(
        self,
        path: str,
        body: bytes,
        *,
        watch: int | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> Response:
        """Send one request, again if it must be, and give the answer to read blocks from.

        `watch` is a descriptor whose reader is watched meanwhile; `note` is told about each new try.
        """
        from ostream import transport
        from ostream.wire import Trust

        clocks = Clocks(*self._limits)
        trust = Trust(self.cacert, self.insecure)
        tries = 0
        while True:
            try:
                return transport.post(self.host, path, body, self.headers, clocks, trust, watch)
            except OstreamError as error:
                if not error.retryable or tries >= self.retry:
                    raise
                tries += 1
                pause = max(_backoff(tries), _asked_pause(error))
                note(f"{error}; try {tries} of {self.retry} in {pause:.1f} s")
            clocks.pause(pause, watch)


def _backoff(tries: int) -> float:
    pause: float = min(FIRST_PAUSE * 2 ** min(tries - 1, 16), LONGEST_PAUSE)
    return pause * random.uniform(0.5, 1)


def _asked_pause(error: OstreamError) -> float:
    """Seconds that a Retry-After asks for: a number, or a date."""
    asked = getattr(error, "retry_after", None)
    if not asked:
        return 0
    if asked.strip().isdecimal():
        return float(asked)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):  # what is no date raises any of them
        return 0


class Stream:
    """The chunks of one response, as they come; the request is sent at the first `next()`.

    `message` and `response` hold what has come so far, and after the end the whole. Raises IncompleteStream when the
    stream ends without `done: true`. Closing it, also by leaving a `with`, closes the socket at once, and the server
    stops generating.
    """

    def __init__(self, post: Callable[[], Response]) -> None:
        self._post = post
        self._so_far = Accumulator()
        self._chunks: Generator[Chunk, None, None] = self._read()

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        return next(self._chunks)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._chunks.close()

    @property
    def message(self) -> Message:
        """Role, content, thinking and tool calls: ready to append to the next request's messages."""
        return Message(self._so_far.message)

    @property
    def response(self) -> Chunk:
        """The last chunk with all text folded in, as `stream=False` would have given it."""
        return Chunk(self._so_far.response)

    def whole(self) -> Chunk:
        """Read to the end: the one object of `stream=False`, or the chunks of a server that streams all the same."""
        chunks = list(self)
        return chunks[0] if len(chunks) == 1 else self.response

    def _read(self) -> Generator[Chunk, None, None]:
        response = self._post()
        try:
            yield from self._decode(split_lines(response.blocks()))
            if not self._so_far.done:
                raise response.failure or IncompleteStream("the stream ended without done: true")
        except OstreamError as error:
            if self._so_far.chunks:
                error.partial = self.response
            raise
        finally:
            response.close()

    def _decode(self, batches: Iterator[list[bytes]]) -> Iterator[Chunk]:
        lineno = 0
        for lines in batches:
            for line in lines:
                lineno += 1
                try:
                    chunk = decode_line(line)
                except NotNDJSON as error:
                    if is_torn(line):
                        return
                    raise NotNDJSON(f"line {lineno} of the answer: {error}", line, lineno) from None
                if chunk is None:
                    continue
                if is_error(chunk):
                    raise response_error(chunk)
                self._so_far.add(chunk)
                yield Chunk(chunk)
                if self._so_far.done:
                    return


def chat(model: str = "", messages: Sequence[Any] | None = None, *, stream: bool = False, **fields: Any) -> Any:
    """POST /api/chat on the server of the environment.

    `fields`: tools, think, logprobs, top_logprobs, format, options, keep_alive, truncate, shift.
    """
    return Client().chat(model, messages, stream=stream, **fields)


def generate(
    model: str = "", prompt: str | None = None, suffix: str | None = None, *, stream: bool = False, **fields: Any
) -> Any:
    """POST /api/generate on the server of the environment.

    `fields`: system, template, context, think, logprobs, top_logprobs, raw, format, images, options, keep_alive,
    truncate, shift.
    """
    return Client().generate(model, prompt, suffix, stream=stream, **fields)
