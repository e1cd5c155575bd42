"""The functions of the library: `chat`, `generate`, and the Client whose methods they are."""

from __future__ import annotations

from collections.abc import Sequence

import ostream
from ostream.errors import RequestError
from ostream.net.session import Session
from ostream.protocol.arguments import explained
from ostream.protocol.metrics import Metrics
from ostream.protocol.objects import ChatResponse, GenerateResponse
from ostream.protocol.request import CHAT, GENERATE, chat_body, encode_body, generate_body
from ostream.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, overload

    from typing_extensions import Unpack

    from ostream.types import ChatFields, GenerateFields, MessagesParam
else:

    def overload(function):  # typing's takes longer to load than all of this package
        return function


class Client(Session):
    """A server and how to reach it. Threads may share it; it keeps connections for its next requests.

    Arguments:
        host: the server, in the syntax of OLLAMA_HOST (default: $OLLAMA_HOST, else http://127.0.0.1:11434).
        headers: more HTTP headers for every request; a value of None is left out.
        timeout: seconds for `connect_timeout`, `first_byte_timeout` and `idle_timeout`, or an object whose `connect`
            is the first and whose `read` is the other two, such as httpx.Timeout.
        connect_timeout: seconds to connect: name lookup, all addresses, proxy and TLS (default 10).
        first_byte_timeout: seconds from connected to the first byte of the response; loading a model may take minutes.
        idle_timeout: seconds between two reads of the response.
        max_time: seconds for a whole request, retries included. Of all limits None is no limit.
        retry: how often a request is sent again after a temporary failure (a busy server, a crashed model, a refused
            or reset connection, a connect or first-byte timeout), as long as nothing of the response has arrived. The
            pauses grow from 0.5 to 30 s; a Retry-After of up to ten minutes is honoured.
        cacert: a PEM file of certificate authorities to trust (default: the system's).
        insecure: True to accept any certificate.
        verify: as for the official SDK: False is `insecure=True`, a file is `cacert`, an ssl.SSLContext is used as it
            is.
        allow_plain_http: True to send credentials over plain http to another machine.

    $OLLAMA_API_KEY is sent as a Bearer token, to this host only, over https or to this machine.

    Raises RequestError for arguments that cannot be used.
    """

    if not TYPE_CHECKING:
        __init__ = explained(Session.__init__)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.host.url}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            raise AttributeError(ostream.missing_name(name, f"{type(self).__name__!r} object"))

    def close(self) -> None:
        """Close the connections that were kept for further requests. The client can still be used."""
        self.close_connections()

    @overload
    def chat(
        self,
        model: str = "",
        messages: MessagesParam = None,
        *,
        stream: Literal[False] = False,
        **fields: Unpack[ChatFields],
    ) -> ChatResponse: ...

    @overload
    def chat(
        self, model: str = "", messages: MessagesParam = None, *, stream: Literal[True], **fields: Unpack[ChatFields]
    ) -> Stream[ChatResponse]: ...

    @overload
    def chat(
        self, model: str = "", messages: MessagesParam = None, *, stream: bool, **fields: Unpack[ChatFields]
    ) -> ChatResponse | Stream[ChatResponse]: ...

    @explained
    def chat(
        self,
        model: str = "",
        messages: ostream.types.MessagesParam = None,
        *,
        tools: Sequence[ostream.types.ToolParam] | None = None,
        stream: bool = False,
        think: ostream.types.ThinkParam | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        format: ostream.types.FormatParam | None = None,
        options: ostream.types.OptionsParam | None = None,
        keep_alive: ostream.types.KeepAliveParam | None = None,
        truncate: bool | None = None,
        shift: bool | None = None,
    ) -> ChatResponse | Stream[ChatResponse]:
        """Send a chat to /api/chat and return the answer: a ChatResponse, or with `stream=True` a Stream of them.

        Arguments:
            model: the name of the model; it is always needed.
            messages: dicts with `role` (system, user, assistant or tool) and `content`, or Message objects, or other
                objects with a `model_dump` method. `images` in a message are bytes, path objects, Image objects,
                base64 text or data: URLs; text is never taken for the name of a file.
            tools: functions, whose schema is made from their type hints and Google-style docstring, or schemas.
            stream: True for a Stream, which sends its request at the first `next()`.
            think: True or False, or a level such as "low", "medium" or "high", for models that think.
            logprobs: True for the log probability of each token.
            top_logprobs: how many alternatives to each token to return, 0 to 20; implies `logprobs`.
            format: "json", a JSON schema, or a pydantic class.
            options: model options, such as {"temperature": 0, "num_ctx": 8192}.
            keep_alive: how long the model stays loaded: seconds, or text such as "5m"; 0 unloads it, -1 keeps it.
            truncate: False to reject a prompt that exceeds the context window, instead of cutting it.
            shift: False to stop when the context window is full, instead of dropping the oldest tokens.

        None leaves an argument out of the request. A Stream raises its errors when it is read.

        Raises RequestError for arguments that cannot become a request, TypeError for an unknown argument, and the
        errors of Stream.
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
        return self._send(CHAT, body, ChatResponse)  # type: ignore[no-any-return]

    @overload
    def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[False] = False,
        **fields: Unpack[GenerateFields],
    ) -> GenerateResponse: ...

    @overload
    def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[True],
        **fields: Unpack[GenerateFields],
    ) -> Stream[GenerateResponse]: ...

    @overload
    def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: bool,
        **fields: Unpack[GenerateFields],
    ) -> GenerateResponse | Stream[GenerateResponse]: ...

    @explained
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
        think: ostream.types.ThinkParam | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        raw: bool | None = None,
        format: ostream.types.FormatParam | None = None,
        images: Sequence[ostream.types.ImageParam] | None = None,
        options: ostream.types.OptionsParam | None = None,
        keep_alive: ostream.types.KeepAliveParam | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        truncate: bool | None = None,
        shift: bool | None = None,
    ) -> GenerateResponse | Stream[GenerateResponse]:
        """Send a prompt to /api/generate and return a GenerateResponse, or with `stream=True` a Stream of them.

        Arguments:
            model: the name of the model; it is always needed.
            prompt: the prompt. Without one the model is only loaded, or with `keep_alive=0` unloaded.
            suffix: text that follows the answer, for models that fill in the middle.
            system: the system message, instead of the model's own.
            template: the prompt template, instead of the model's own.
            context: the `context` of the last response, to continue from there.
            raw: True to send the prompt without the template.
            images: bytes, path objects, Image objects, base64 text or data: URLs.
            width, height, steps: size in pixels and number of steps, for models that make images.

        The other arguments and the errors are those of `chat`.
        """
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
        return self._send(GENERATE, body, GenerateResponse)  # type: ignore[no-any-return]

    def _send(self, path: str, body: dict[str, Any], chunk_class: type[Any]) -> Any:
        if not body.get("model"):
            raise RequestError("no model given", advice='pass one, such as model="qwen3"')
        data = encode_body(body)
        options = body.get("options") or {}
        stream: Stream[Any] = Stream(
            lambda reader: self.post(path, data, reader=reader),
            chunk_class,
            model=body["model"],
            host=self.host.url,
            metrics=Metrics(options.get("num_ctx"), body.get("truncate")),
        )
        return stream if body.get("stream") else stream.final()


class _EnvironmentClient(Client):
    """A Client for the server that the environment names at the time of each request."""

    def __init__(self) -> None:
        """Read nothing yet."""

    def __repr__(self) -> str:
        return "<Client of $OLLAMA_HOST>"

    def _send(self, path: str, body: dict[str, Any], chunk_class: type[Any]) -> Any:
        return Client().single_use()._send(path, body, chunk_class)


_client = _EnvironmentClient()
chat = _client.chat
generate = _client.generate
