"""The library: chat and generate over one connection per request."""

from __future__ import annotations

import os

from ostream.errors import OstreamError, RequestError
from ostream.net.host import check_header, parse_host
from ostream.net.retry import pause_before
from ostream.net.timeouts import Timeouts
from ostream.protocol.request import CHAT, GENERATE, chat_body, encode_body, generate_body
from ostream.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Literal, Mapping, Sequence, overload

    from typing_extensions import Unpack

    from ostream.net.http import Response
    from ostream.net.tls import TLSConfig
    from ostream.protocol.chunk import Chunk
    from ostream.system.polling import Reader
    from ostream.types import (
        ChatFields,
        Format,
        GenerateFields,
        Image,
        KeepAlive,
        Messages,
        Options,
        Think,
        Tool,
    )
else:

    def overload(function):  # as typing's, which takes longer to load than all of this
        return function


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
        for limit in self._limits:
            if limit is not None and not isinstance(limit, (int, float)):
                raise RequestError(f"timeout {limit!r}: must be a number of seconds, or None")
        self.retry = retry
        self.cacert = cacert
        self.insecure = insecure
        self._tls_config: TLSConfig | None = None
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

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        """Each request has closed its connection."""

    @overload
    def chat(
        self,
        model: str = "",
        messages: Messages = None,
        *,
        stream: Literal[False] = False,
        **fields: Unpack[ChatFields],
    ) -> Chunk: ...

    @overload
    def chat(
        self, model: str = "", messages: Messages = None, *, stream: Literal[True], **fields: Unpack[ChatFields]
    ) -> Stream: ...

    @overload
    def chat(
        self, model: str = "", messages: Messages = None, *, stream: bool, **fields: Unpack[ChatFields]
    ) -> Chunk | Stream: ...

    def chat(
        self,
        model: str = "",
        messages: Messages = None,
        *,
        tools: Sequence[Tool] | None = None,
        stream: bool = False,
        think: Think | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        format: Format | None = None,
        options: Options | None = None,
        keep_alive: KeepAlive | None = None,
        truncate: bool | None = None,
        shift: bool | None = None,
    ) -> Chunk | Stream:
        """POST /api/chat: a Chunk, or with `stream=True` a Stream of them.

        `tools` may hold functions: their schema is made from type hints and a Google-style docstring. A plain string
        among the images of a message is base64; wrap the name of a file in a Path.
        """
        body = chat_body(
            model,
            messages,
            tools=tools,
            stream=stream,
            think=think,
            logprobs=logprobs,
            top_logprobs=top_logprobs,
            format=format,
            options=options,
            keep_alive=keep_alive,
            truncate=truncate,
            shift=shift,
        )
        return self._ask(CHAT, body)

    @overload
    def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[False] = False,
        **fields: Unpack[GenerateFields],
    ) -> Chunk: ...

    @overload
    def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[True],
        **fields: Unpack[GenerateFields],
    ) -> Stream: ...

    @overload
    def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: bool,
        **fields: Unpack[GenerateFields],
    ) -> Chunk | Stream: ...

    def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        system: str | None = None,
        template: str | None = None,
        context: Sequence[int] | None = None,
        stream: bool = False,
        think: Think | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        raw: bool | None = None,
        format: Format | None = None,
        images: Sequence[Image] | None = None,
        options: Options | None = None,
        keep_alive: KeepAlive | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        truncate: bool | None = None,
        shift: bool | None = None,
    ) -> Chunk | Stream:
        """POST /api/generate: a Chunk, or with `stream=True` a Stream of them. `context` is that of the last answer."""
        body = generate_body(
            model,
            prompt,
            suffix,
            system=system,
            template=template,
            context=context,
            stream=stream,
            think=think,
            logprobs=logprobs,
            top_logprobs=top_logprobs,
            raw=raw,
            format=format,
            images=images,
            options=options,
            keep_alive=keep_alive,
            width=width,
            height=height,
            steps=steps,
            truncate=truncate,
            shift=shift,
        )
        return self._ask(GENERATE, body)

    def _ask(self, path: str, body: dict[str, Any]) -> Chunk | Stream:
        if not body.get("model"):
            raise RequestError("model: must be named")
        data = encode_body(body)
        stream = Stream(lambda reader: self.post(path, data, reader=reader))
        return stream if body.get("stream") else stream.whole()

    def post(
        self,
        path: str,
        body: bytes,
        *,
        reader: Reader | None = None,
        note: Callable[[str], None] = lambda text: None,
        hold: Callable[[float, Timeouts, str], None] | None = None,
    ) -> Response:
        """Send one request, again if it must be, and give the answer to read blocks from.

        `watch` is a descriptor whose reader is watched meanwhile; `note` is told about each new try.
        `hold` waits, and tells, where others have to wait as well.
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


class _Anywhere(Client):
    """A client for the server of the environment, as the environment is at each request."""

    def __init__(self) -> None:
        """Nothing is read before it is needed."""

    def _ask(self, path: str, body: dict[str, Any]) -> Chunk | Stream:
        return Client()._ask(path, body)


chat = _Anywhere().chat
generate = _Anywhere().generate
