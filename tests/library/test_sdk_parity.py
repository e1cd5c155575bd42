"""The official SDK and this library, compared on the same recordings. For the differences, see test_sdk_differences."""

from __future__ import annotations

import contextlib
import inspect
import json
from typing import Any, Iterator

import pytest

import ostream
from ostream import ResponseError
from ostream.protocol.accumulator import Accumulator
from ostream.recording.format import JSON
from ostream.recording.http_server import RequestHandler, Server
from tests.server import NAMES, STREAMS, body_of, raw_of, serve

ollama = pytest.importorskip("ollama", reason="needs the official SDK: tests/requirements-check.txt")
pytestmark = pytest.mark.tools
import httpx  # noqa: E402 - comes with the SDK


@contextlib.contextmanager
def sdk(url: str) -> Iterator[Any]:
    """The SDK's client, without proxies and without reuse of connections that the server is about to close."""
    client = ollama.Client(url, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
    yield client
    client._client.close()


def recorded_request(name: str) -> tuple[str, dict[str, Any]]:
    """Return the path and the body of a recorded request."""
    head, _, body = (STREAMS / f"{name}.req").read_bytes().partition(b"\r\n\r\n")
    return head.split()[1].decode(), json.loads(body)


def chunks_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body_of(name).split(b"\n") if line]


COMPLETE = [
    name
    for name in NAMES
    if name.partition("-")[0] in ("chat", "generate")
    and name != "chat-invalid-json"
    and chunks_of(name)[-1].get("done") is True
]
REFUSED = ["broken-missing-blob", "chat-think-nonthinking", "chat-unknown-model", "generate-opt-bad-temperature"]


def fold(name: str) -> bytes:
    """Return a recorded stream as `stream: false` would have returned it."""
    accumulator = Accumulator()
    for chunk in chunks_of(name):
        accumulator.add(chunk)
    return json.dumps(accumulator.response).encode()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Answer with the recording that the model names."""

    def respond(exchange: RequestHandler) -> None:
        body = json.loads(exchange.body)
        if body["stream"] or body["model"] in REFUSED:
            exchange.raw(raw_of(body["model"]))
            exchange.truncate()
        else:
            exchange.send_body(200, JSON, fold(body["model"]))

    with serve(respond) as server:
        yield server


@pytest.fixture
def both(server: Server) -> Iterator[tuple[Any, Any]]:
    with sdk(server.url) as theirs:
        yield theirs, ostream.Client(server.url)


def ask(client: Any, name: str, stream: bool) -> Any:
    """Send a recorded request again, with the arguments that the SDK knows."""
    path, body = recorded_request(name)
    call = getattr(client, path.rpartition("/")[2])
    known = inspect.signature(getattr(ollama.Client, call.__name__)).parameters
    fields = {key: value for key, value in body.items() if key in known}
    return call(**{**fields, "model": name, "stream": stream})


def assert_equal(theirs: Any, ours: Any) -> None:
    """Compare every field that the SDK keeps, as an attribute and as an item."""
    if isinstance(theirs, ollama._types.SubscriptableBaseModel):
        for field in type(theirs).model_fields:
            assert_equal(getattr(theirs, field), getattr(ours, field))
            assert (field in theirs) == (field in ours)
            if field in theirs:
                assert_equal(theirs[field], ours[field])
            else:
                with pytest.raises(KeyError):
                    theirs[field]
                with pytest.raises(KeyError):
                    ours[field]
            assert_equal(theirs.get(field, None), ours.get(field))
    elif isinstance(theirs, list):
        assert len(theirs) == len(ours)
        for one, other in zip(theirs, ours):
            assert_equal(one, other)
    else:
        assert (type(ours), ours) == (type(theirs), theirs)


@pytest.mark.parametrize("name", COMPLETE)
def test_every_field_of_the_sdk_has_the_same_value(name: str, both: tuple[Any, Any]) -> None:
    theirs, ours = (ask(client, name, stream=False) for client in both)
    assert_equal(theirs, ours)
    their_chunks, our_chunks = (list(ask(client, name, stream=True)) for client in both)
    assert_equal(their_chunks, our_chunks)
    assert our_chunks == chunks_of(name)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("stream", [False, True])
def test_a_rejected_request_is_the_same_error(name: str, stream: bool, both: tuple[Any, Any]) -> None:
    errors = []
    for client, kind in zip(both, (ollama.ResponseError, ResponseError)):
        with pytest.raises(kind) as caught:
            list(ask(client, name, stream))
        errors.append((caught.value.error, caught.value.status_code, str(caught.value)))
    assert errors[0] == errors[1]


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body without what the SDK adds or leaves out: `tools: []`, id and index of calls, empty fields."""
    messages = [{key: value for key, value in message.items() if value} for message in body.get("messages", [])]
    for message in messages:
        for call in message.get("tool_calls", []):
            call.pop("id", None)
            call["function"].pop("index", None)
    return {**{key: value for key, value in body.items() if (key, value) != ("tools", [])}, "messages": messages}


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_requests_are_sent(name: str, stream: bool, both: tuple[Any, Any], server: Server) -> None:
    for client in both:
        list(ask(client, name, stream))
    theirs, ours = server.requests[-2:]  # type: ignore[attr-defined]
    assert (theirs.command, theirs.path) == (ours.command, ours.path)
    assert normal(json.loads(theirs.body)) == normal(json.loads(ours.body))


FUNCTIONS = [ollama.chat, ollama.generate, ollama.Client.chat, ollama.Client.generate]


@pytest.mark.parametrize("function", FUNCTIONS, ids=["chat", "generate", "Client.chat", "Client.generate"])
def test_the_signature_is_that_of_the_sdk_with_two_more_fields(function: Any) -> None:
    owner: Any = ostream.Client if inspect.isfunction(function) else ostream
    ours = list(inspect.signature(getattr(owner, function.__name__)).parameters.values())
    theirs = list(inspect.signature(function).parameters.values())
    shape = [(parameter.name, parameter.kind, parameter.default) for parameter in ours]
    expected = [(parameter.name, parameter.kind, parameter.default) for parameter in theirs]
    extra = [(name, inspect.Parameter.KEYWORD_ONLY, None) for name in ("truncate", "shift")]
    assert shape == expected + extra
