"""The functions `chat` and `generate`, and the class Client, which has them as methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ostream
from ostream.errors import RequestError
from ostream.net.session import ConnectionSettings, Session
from ostream.protocol.arguments import explained, missing_name, warn_of_misspellings
from ostream.protocol.objects import ChatResponse, GenerateResponse
from ostream.protocol.request import CHAT, GENERATE, chat_body, encode_body, generate_body
from ostream.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, overload

    from typing_extensions import Unpack

    from ostream.net.http import Response
    from ostream.system.wakeup import Wakeup
    from ostream.types import ChatFields, GenerateFields, MessagesParam
else:

    def overload(function):  # importing typing takes longer than importing this whole package
        return function


class Client:
    """A client for one server. Threads may share it. It keeps connections open for further requests.

    Arguments:
        host: the address of the server, in the syntax of OLLAMA_HOST (default: $OLLAMA_HOST, or http://127.0.0.1:11434
            if it is not set).
        headers: additional HTTP headers for every request. A header whose value is None is not sent.
        timeout: the seconds for `connect_timeout`, `first_byte_timeout` and `idle_timeout`; or an object such as
            httpx.Timeout, whose `connect` is used for the first and whose `read` is used for the other two.
        connect_timeout: maximum seconds to connect, including name lookup, all addresses, proxy and TLS (default: 10).
        first_byte_timeout: maximum seconds from the connection to the first byte of the response (default: no limit).
            Loading a model may take minutes.
        idle_timeout: maximum seconds without data after the first byte (default: no limit).
        max_time: maximum seconds for a request, retries included (default: no limit). For each of these times, None
            means no limit.
        retry: how many times a request is sent again after a temporary failure (a busy server, a crashed model, a
            refused or reset connection, a connect or first-byte timeout), if no part of the response has arrived. The
            pauses grow from 0.5 to 30 s. A Retry-After of up to ten minutes is honoured.
        cacert: a PEM file with the certificate authorities to trust (default: the system's authorities).
        insecure: True to accept any certificate.
        verify: as in the official SDK: False means `insecure=True`, a file name means `cacert`, and an ssl.SSLContext
            is used unchanged.
        allow_plain_http: True to allow sending credentials over plain http to another machine.

    If $OLLAMA_API_KEY is set, it is sent as a Bearer token, but only to this host, and only over https or to this
    machine. With `allow_plain_http`, it is also sent over plain http.

    Raises RequestError for arguments that cannot be used.
    """

    @explained
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
        allow_plain_http: bool = False,
    ) -> None:
        self._session = Session(_settings(**_without_self(locals())))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._session.host.url}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            raise AttributeError(missing_name(name, f"{type(self).__name__!r} object"))

    def close(self) -> None:
        """Close the connections that were kept open. The client can still be used."""
        self._session.close_connections()

    # jedi takes the first overload whose required arguments are given, and reads neither Literal nor Unpack.
    @overload
    def chat(
        self,
        model: str = "",
        messages: MessagesParam = None,
        *,
        stream: Literal[True],
        tools: Sequence[ostream.types.ToolParam] | None = None,
        think: ostream.types.ThinkParam | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        format: ostream.types.FormatParam | None = None,
        options: ostream.types.OptionsParam | None = None,
        keep_alive: ostream.types.KeepAliveParam | None = None,
        truncate: bool | None = None,
        shift: bool | None = None,
    ) -> Stream[ChatResponse]: ...

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
        """Send a conversation to /api/chat. Return a ChatResponse, or a Stream of them if `stream=True`.

        Arguments:
            model: the name of the model; required.
            messages: the conversation. Each message is a dict with `role` (system, user, assistant or tool) and
                `content`, a Message, or another object with a `model_dump` method. `images` in a message are bytes,
                path objects, Image objects, base64 text or data: URLs; text is never used as the name of a file.
            tools: functions or tool schemas. The schema of a function is made from its type hints and its Google-style
                docstring.
            stream: True to return a Stream. It sends the request at the first `next()`.
            think: True or False, or a level such as "low", "medium" or "high", for models that think.
            logprobs: True to return the log probability of each token.
            top_logprobs: how many alternatives to each token are returned, 0 to 20. A number above 0 implies
                `logprobs`.
            format: the format of the answer: "json", a JSON schema, or a pydantic class.
            options: model options, such as {"temperature": 0, "num_ctx": 8192}. A misspelled name causes a UserWarning.
            keep_alive: how long the model stays loaded: seconds, or text such as "5m". 0 unloads it, -1 keeps it
                loaded.
            truncate: False to reject a prompt that exceeds the context window, instead of truncating it.
            shift: False to stop when the context window is full, instead of dropping the oldest tokens.

        An argument that is None is left out of the request. A Stream raises its errors while it is read.

        Raises RequestError for arguments that cannot become a request, TypeError for an unknown argument, and the
        errors of Stream.
        """
        return self._send(CHAT, chat_body(**_without_self(locals())), ChatResponse)  # type: ignore[no-any-return]

    @overload
    def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[True],
        system: str | None = None,
        template: str | None = None,
        context: Sequence[int] | None = None,
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
    ) -> Stream[GenerateResponse]: ...

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
        """Send a prompt to /api/generate. Return a GenerateResponse, or a Stream of them if `stream=True`.

        Arguments:
            model: the name of the model; required.
            prompt: the prompt. Without a prompt, the model is only loaded, or unloaded if `keep_alive=0`.
            suffix: the text after the answer, for models that can insert text.
            system: the system message, instead of the model's own.
            template: the prompt template, instead of the model's own.
            context: the `context` of the previous response, to continue from it.
            raw: True to send the prompt without the template.
            images: bytes, path objects, Image objects, base64 text or data: URLs.
            width, height, steps: the image size in pixels and the number of steps, for models that make images.

        The other arguments and the errors are the same as for `chat`.
        """
        return self._send(GENERATE, generate_body(**_without_self(locals())), GenerateResponse)  # type: ignore[no-any-return]

    def _send(self, path: str, body: dict[str, Any], chunk_class: type[Any]) -> Any:
        if not body.get("model"):
            raise RequestError("no model given", advice='pass one, such as model="qwen3"')
        options, session, data = body.get("options") or {}, self._session, encode_body(body)
        if options:
            warn_of_misspellings(options)

        def post(reader: Wakeup) -> Response:
            return session.post(path, data, reader=reader)

        if not body.get("stream"):
            return Stream(post, chunk_class, body["model"], session.host.url).final()
        from ostream.protocol.metrics import Metrics

        metrics = Metrics(options.get("num_ctx"), body.get("truncate"))
        return Stream(post, chunk_class, body["model"], session.host.url, metrics)


class _EnvironmentClient(Client):
    """A Client that reads the environment, for example OLLAMA_HOST, again for each request."""

    def __init__(self) -> None:
        """Do not read the environment yet."""

    def __repr__(self) -> str:
        return "<Client of $OLLAMA_HOST>"

    @property
    def _session(self) -> Session:  # type: ignore[override]
        return Session(ConnectionSettings()).single_use()


def _settings(timeout: Any, verify: Any, **settings: Any) -> ConnectionSettings:
    """Return the settings for the arguments of Client. `timeout` and `verify` replace other settings."""
    result = ConnectionSettings()
    vars(result).update(settings)
    if timeout is not None:
        result.connect_timeout = getattr(timeout, "connect", timeout)
        result.first_byte_timeout = result.idle_timeout = getattr(timeout, "read", timeout)
    result.insecure = result.insecure or verify is False
    result.cacert = result.cacert if isinstance(verify, bool) else verify
    return result


def _without_self(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a method, given its local variables."""
    return {name: value for name, value in arguments.items() if name != "self"}


_client = _EnvironmentClient()
chat = _client.chat
"""Client.chat, with a new client of $OLLAMA_HOST for each request."""
generate = _client.generate
"""Client.generate, with a new client of $OLLAMA_HOST for each request."""
