"""Arguments of chat, generate and Client: what is sent for them, and the errors of wrong ones."""

from __future__ import annotations

import json
import logging
import sys
import typing
from typing import Any, Callable

import pytest

import ostream
from ostream import ChatResponse, Client, Message, RequestError, run_tools
from tests.server import http_answer, send_lines, send_raw, serve

DONE = b'{"model":"m","message":{"role":"assistant","content":""},"done":true}\n'


def body_sent(call: Callable[[Client], Any]) -> Any:
    """The JSON of the request that the server got."""
    with serve(send_lines(DONE)) as server:
        call(Client(server.url))
    (exchange,) = server.requests  # type: ignore[attr-defined]
    assert exchange.command == "POST"
    return exchange.path, json.loads(exchange.body)


USER = {"role": "user", "content": "größer\u2028\U0001f600"}
SHARED: dict[str, Any] = {
    "think": "high",
    "logprobs": True,
    "top_logprobs": 3,
    "format": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "options": {"temperature": 0.5, "seed": 1, "stop": ["a"], "unknown": None},
    "keep_alive": "5m",
    "truncate": False,
    "shift": False,
}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"b": {}}}}}

# the call, the path, the body but for model and stream
CALLS: dict[str, tuple[Callable[[Client], Any], str, dict[str, Any]]] = {
    "chat": (lambda c: c.chat("m", [USER]), "/api/chat", {"messages": [USER]}),
    "chat by name": (lambda c: c.chat(messages=[USER], model="m"), "/api/chat", {"messages": [USER]}),
    "chat without messages": (lambda c: c.chat("m"), "/api/chat", {"messages": []}),
    "chat with everything": (
        lambda c: c.chat("m", [USER], tools=[TOOL], **SHARED),
        *("/api/chat", {"messages": [USER], "tools": [TOOL], **SHARED}),
    ),
    "chat with an image": (
        lambda c: c.chat("m", [{**USER, "images": [b"\x00\xff", "R0lGODlh"]}]),
        *("/api/chat", {"messages": [{**USER, "images": ["AP8=", "R0lGODlh"]}]}),
    ),
    "chat with a message of a response": (
        lambda c: c.chat("m", [USER, Message(role="assistant", content="", thinking="hm", tool_calls=[])]),
        *("/api/chat", {"messages": [USER, {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": []}]}),
    ),
    "generate": (lambda c: c.generate("m", "p"), "/api/generate", {"prompt": "p"}),
    "generate with a suffix": (lambda c: c.generate("m", "p", "s"), "/api/generate", {"prompt": "p", "suffix": "s"}),
    "generate without a prompt": (lambda c: c.generate("m", keep_alive=0), "/api/generate", {"keep_alive": 0}),
    "generate with everything": (
        lambda c: c.generate("m", "p", system="s", template="t", context=(1, 2), raw=False, images=[b"x"], **SHARED),
        "/api/generate",
        {"prompt": "p", "system": "s", "template": "t", "context": [1, 2], "raw": False, "images": ["eA=="], **SHARED},
    ),
    "generate a picture": (
        lambda c: c.generate("m", "p", width=64, height=32, steps=4),
        *("/api/generate", {"prompt": "p", "width": 64, "height": 32, "steps": 4}),
    ),
}


@pytest.mark.parametrize(("call", "path", "fields"), CALLS.values(), ids=CALLS)
def test_the_given_fields_are_sent(call: Callable[[Client], Any], path: str, fields: dict[str, Any]) -> None:
    assert body_sent(call) == (path, {"model": "m", "stream": False, **fields})


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"host": 5}, "^host: must be text, not int$"),
    ({"headers": 5}, "^headers: must be a dict, not int$"),
    ({"retry": None}, "^retry None: must be a whole number"),
    ({"retry": -1}, "^retry -1: must be a whole number"),
    *(
        ({name: limit}, "^timeout .*: must be a number of seconds, 0 or more, or None$")
        for name in ("timeout", "connect_timeout", "max_time")
        for limit in ("60", (1, 2), 10**400, -1, float("nan"))
    ),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=repr)
def test_wrong_arguments_of_a_client_are_request_errors(arguments: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Client(**arguments)


class Timeout:
    """What httpx.Timeout looks like."""

    connect, read, write, pool = 0.5, float("inf"), 5.0, 5.0


def test_a_timeout_object_sets_the_limits_that_it_names() -> None:
    assert Client(timeout=Timeout(), max_time=60)._session._limits == [0.5, None, None, 60.0]
    assert Client(timeout=2)._session._limits == [2.0, 2.0, 2.0, None]
    assert Client(timeout=None)._session._limits == [10.0, None, None, None]


def test_headers_that_are_none_are_left_out() -> None:
    assert Client(headers={"A": "b", "C": None})._session.headers == {"A": "b"}


def test_a_client_is_a_context_manager_and_can_be_closed_and_used_again() -> None:
    with Client() as client:
        pass
    client.close()
    assert body_sent(lambda c: (c.close(), c.chat("m")))


def test_a_repr_shows_the_server_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "secret-key")
    assert repr(Client("localhost", headers={"X-Key": "secret-key"})) == "<Client http://localhost:11434>"
    assert "<Client of $OLLAMA_HOST>" in repr(ostream.chat)


UNKNOWN = [
    (
        lambda: ostream.chat("m", temperature=0),
        r'^chat\(\) has no argument \'temperature\'; use options={"temperature": 0}$',
    ),
    (lambda: Client().generate("m", max_tokens=5), r'use options={"num_predict": 5}$'),
    (lambda: ostream.chat("m", [], verify=False), r"use Client\(verify=False\)$"),
    (lambda: ostream.chat("m", system="x"), r'use a message {"role": "system", "content": ...}$'),
    (lambda: Client(proxy=5), r"^Client\(\) has no argument 'proxy'; the only httpx arguments"),
    (lambda: ostream.chat("m", prompt="x"), r'use messages=\[{"role": "user", "content": \'x\'}\], or generate$'),
    (lambda: ostream.generate("m", messages=[]), "has no argument 'messages'; use chat$"),
    (lambda: ostream.generate("m", strem=True), "has no argument 'strem'; did you mean stream[?]$"),
    (lambda: ostream.generate("m", nonsense=5), r"pass model options as options={...}$"),
    (lambda: run_tools({}, tools=[]), r"^run_tools\(\) has no argument 'tools'$"),
    (lambda: ostream.chat("m", [], []), "positional arguments"),
]


@pytest.mark.parametrize(("call", "words"), UNKNOWN)
def test_an_unknown_argument_is_a_type_error_with_the_alternative(call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()


def test_a_misspelled_option_is_sent_and_causes_a_warning() -> None:
    options = {"temprature": 0, "mirostat": 1, "new_option": 2, 3: 4}
    with pytest.warns(
        UserWarning, match=r"^options: servers may ignore temprature; did you mean temperature[?]$"
    ) as caught:
        body = body_sent(lambda c: c.chat("m", options=options))[1]
    assert body["options"] == {"temprature": 0, "mirostat": 1, "new_option": 2, "3": 4}
    assert [warning.filename for warning in caught] == [__file__]


def test_an_endpoint_of_the_sdk_is_an_attribute_error_with_the_alternative() -> None:
    with pytest.raises(
        AttributeError, match=r"^'Client' object has no attribute 'pull'; use the command 'ollama pull'"
    ):
        Client().pull("m")  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="'ChatResponse' object has no attribute 'final'; pass stream=True"):
        ChatResponse().final()  # type: ignore[attr-defined]
    stream = Client().chat("m", stream=True)
    for name, advice in (
        ("text", r"; use final\(\)\.text, or text_stream"),
        ("done", r"; use final\(\)\.done"),
        ("x", ""),
    ):
        with pytest.raises(AttributeError, match=f"^'Stream' object has no attribute '{name}'{advice}$"):
            getattr(stream, name)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["", None])
def test_a_request_without_a_model_is_a_request_error(model: Any, stream: bool) -> None:
    for call in (Client("127.0.0.1:1").chat, Client("127.0.0.1:1").generate):
        with pytest.raises(RequestError, match=r"^no model given"):
            call(model, stream=stream)


@pytest.mark.parametrize(("status", "is_up"), [(200, True), (404, True), (503, False)])
def test_any_answer_below_500_shows_that_the_server_is_up(status: int, is_up: bool) -> None:
    with serve(send_raw(http_answer(status))) as server:
        session = Client(server.url)._session
        assert session.is_server_up(session.new_timeouts()) is is_up
        assert server.requests[0].path == "/api/version"  # type: ignore[attr-defined]
    assert not session.is_server_up(session.new_timeouts())


def test_retries_are_logged_if_the_program_uses_logging(caplog: pytest.LogCaptureFixture) -> None:
    replies = [503, 200]
    with caplog.at_level(logging.INFO, "ostream"), serve(
        lambda exchange: (
            send_lines(DONE)(exchange) if replies.pop(0) == 200 else exchange.send_body(503, "text/plain", b"busy")
        )
    ) as server:
        Client(server.url, retry=1).chat("m")
    ((name, level, text),) = caplog.record_tuples
    assert (name, level) == ("ostream", logging.INFO)
    assert "busy" in text and "retry 1 of 1 in " in text


if sys.version_info >= (3, 10):  # older versions cannot evaluate X | Y

    @pytest.mark.parametrize(
        "function", [ostream.chat, ostream.generate, Client.__init__, ostream.run_tools, ostream.Stream.final]
    )
    def test_type_hints_can_be_read(function: Any) -> None:
        assert typing.get_type_hints(function)
