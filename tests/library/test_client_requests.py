"""The library: what is given to chat and generate is what the server gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

from ostream import Client, Message, RequestError
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
        lambda c: c.chat("m", [{**USER, "images": [b"\x00\xff", "AP8="]}]),
        *("/api/chat", {"messages": [{**USER, "images": ["AP8=", "AP8="]}]}),
    ),
    "chat with an answer of ours": (
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
def test_what_is_given_is_what_goes_out(call: Callable[[Client], Any], path: str, fields: dict[str, Any]) -> None:
    assert body_sent(call) == (path, {"model": "m", "stream": False, **fields})


@pytest.mark.parametrize("think", [True, False, "low", "max"])
def test_false_is_not_absent(think: Any) -> None:
    assert body_sent(lambda c: c.chat("m", think=think))[1]["think"] == think
    assert body_sent(lambda c: c.chat("m", format="json", logprobs=False))[1]["logprobs"] is False


def test_an_image_may_be_a_path(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"\x00\xff")
    _, body = body_sent(lambda c: c.generate("m", "p", images=[tmp_path / "image"]))
    assert body["images"] == ["AP8="]


@pytest.mark.parametrize("limit", ["60", (1, 2), object()])
@pytest.mark.parametrize("name", ["timeout", "connect_timeout", "max_time"])
def test_a_timeout_is_a_number(name: str, limit: Any) -> None:
    with pytest.raises(RequestError, match=r"^timeout .*: must be a number of seconds, or None$"):
        Client(**{name: limit})


def test_a_client_may_stand_in_a_with() -> None:
    client = Client()
    with client as same:
        assert same is client


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["", None])
def test_a_model_must_be_named(model: Any, stream: bool) -> None:
    for call in (Client("127.0.0.1:1").chat, Client("127.0.0.1:1").generate):
        with pytest.raises(RequestError, match="model"):
            call(model, stream=stream)


@pytest.mark.parametrize(("status", "is_up"), [(200, True), (404, True), (503, False)])
def test_any_answer_below_500_shows_that_the_server_is_up(status: int, is_up: bool) -> None:
    with serve(send_raw(http_answer(status))) as server:
        client = Client(server.url)
        assert client.is_server_up(client.new_timeouts()) is is_up
        assert server.requests[0].path == "/api/version"  # type: ignore[attr-defined]
    assert not client.is_server_up(client.new_timeouts())
