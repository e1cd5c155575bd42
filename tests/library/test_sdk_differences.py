"""Differences from the official SDK, each with its reason. The version of the SDK is pinned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, List, Literal

import pytest

import ostream
from ostream import RequestError
from ostream.protocol.tool_schema import schema
from tests.server import send_lines, send_raw, serve

ollama = pytest.importorskip("ollama", reason="needs the official SDK: tests/requirements-check.txt")
pytestmark = pytest.mark.tools
from tests.library.test_sdk_parity import sdk  # noqa: E402 - it needs the SDK too

HI = b'{"message":{"role":"assistant","content":"hi"},"done":false}\n'
DONE = b'{"message":{"role":"assistant","content":""},"done":true}\n'


def outcome(client: Any, stream: bool) -> Any:
    """Return the text of a response, or the name of the error."""
    try:
        answer = client.chat("m", [{"role": "user", "content": "x"}], stream=stream)
        return "".join(chunk.message.content or "" for chunk in answer) if stream else answer.message.content
    except Exception as error:
        return type(error).__name__


DIFFER: dict[str, tuple[bool, list[bytes], str, str]] = {
    # streaming, the lines, the outcome with the SDK, the outcome here
    # Only `done` shows that an answer is complete.
    "no done": (True, [HI], "hi", "IncompleteStream"),
    "nothing at all": (True, [], "", "IncompleteStream"),
    "no done in a whole answer": (False, [HI], "hi", "IncompleteStream"),
    "cut in a line": (True, [HI, DONE[:20]], "JSONDecodeError", "IncompleteStream"),
    # Servers send these characters unescaped inside strings, so they do not end a line.
    "U+0085": (True, [HI.replace(b"hi", "\x85".encode()), DONE], "JSONDecodeError", "\x85"),
    "U+2028": (True, [HI.replace(b"hi", "\u2028".encode()), DONE], "JSONDecodeError", "\u2028"),
    # Gateways add them between the lines.
    "a blank line": (True, [HI, b"\n", DONE], "JSONDecodeError", "hi"),
    "a byte order mark": (True, [b"\xef\xbb\xbf" + HI, DONE], "JSONDecodeError", "hi"),
    # Some gateways send a second end.
    "another chunk after done": (True, [HI, DONE, HI, DONE], "hihi", "hi"),
    # Servers report errors in many forms.
    "an error object": (True, [HI, b'{"error":{"message":"boom"}}\n'], "TypeError", "ResponseError"),
    "an error in JSON": (True, [HI, b'{"error":"123"}\n'], "AttributeError", "ResponseError"),
    "an empty error": (True, [HI, b'{"error":""}\n'], "ValidationError", "ResponseError"),
    "an error with status 200": (False, [b'{"error":"boom"}'], "ValidationError", "ResponseError"),
    # Old servers end with an object without a message.
    "a last chunk without message": (True, [HI, b'{"done":true}\n'], "ValidationError", "hi"),
    "a message without a role": (True, [HI.replace(b'"role":"assistant",', b""), DONE], "ValidationError", "hi"),
    "no object": (True, [HI, b"[1]\n"], "AttributeError", "NotNDJSON"),
    # Some servers always stream.
    "a stream unasked": (False, [HI, DONE], "JSONDecodeError", "hi"),
}


@pytest.mark.parametrize(("stream", "lines", "theirs", "ours"), DIFFER.values(), ids=DIFFER)
def test_responses_that_the_sdk_reads_differently(stream: bool, lines: list[bytes], theirs: str, ours: str) -> None:
    with serve(send_lines(*lines)) as server:
        with sdk(server.url) as client:
            assert outcome(client, stream) == theirs
        assert outcome(ostream.Client(server.url), stream) == ours


BROKEN: dict[str, tuple[bytes, str, str]] = {
    # the bytes of the response, the outcome with the SDK, the outcome here
    # One family of exceptions; the part that arrived is in `partial`.
    "cut in the framing": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(HI), HI),
        *("RemoteProtocolError", "IncompleteStream"),
    ),
    "an array as refusal": (b"HTTP/1.1 500 X\r\nContent-Length: 3\r\n\r\n[1]", "AttributeError", "ResponseError"),
    # A redirected POST becomes a GET, or sends the request and its key elsewhere.
    "a redirection": (
        b"HTTP/1.1 301 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        *("TooManyRedirects", "ResponseError"),
    ),
}


@pytest.mark.parametrize(("answer", "theirs", "ours"), BROKEN.values(), ids=BROKEN)
def test_failures_that_the_sdk_reports_differently(answer: bytes, theirs: str, ours: str) -> None:
    with serve(send_raw(answer)) as server, sdk(server.url) as client:
        assert outcome(client, True) == theirs
        assert outcome(ostream.Client(server.url), True) == ours


WHOLE = (
    b'{"model":"m","remote_model":"far","message":{"role":"assistant","content":"","tool_calls":[{"id":"call_1",'
    b'"function":{"index":2,"name":"f","arguments":{}}}]},"done":true,"new":1,"tool_calls":[]}'
)


def test_fields_that_the_sdk_drops_are_kept() -> None:
    # Newer servers send more fields, and the id of a call belongs into its result.
    with serve(send_lines(WHOLE)) as server, sdk(server.url) as client:
        theirs, ours = client.chat("m"), ostream.Client(server.url).chat("m")
    assert ours == json.loads(WHOLE)
    assert (ours.remote_model, ours.new, ours.message.tool_calls[0].id) == ("far", 1, "call_1")
    assert ours.message.tool_calls[0].function.index == 2
    for thing in (theirs, theirs.message.tool_calls[0], theirs.message.tool_calls[0].function):
        assert not {"remote_model", "new", "tool_calls", "id", "index"} & set(thing.model_dump())
    nested: Any = []
    for _ in range(900):
        nested = [nested]
    assert ostream.Options(stop=nested).model_dump(exclude_none=True) == {"stop": nested}


def sent(call: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Return the bodies that the SDK and this library send for the same call."""
    with serve(send_lines(DONE)) as server:
        with sdk(server.url) as client:
            call(client)
        call(ostream.Client(server.url))
        theirs, ours = server.requests  # type: ignore[attr-defined]
    return json.loads(theirs.body), json.loads(ours.body)


def test_exactly_the_given_fields_are_sent() -> None:
    # An empty content is a part of the conversation; the id of a tool message names its call.
    call = {"id": "1", "function": {"name": "f", "arguments": {}}}
    messages = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "", "tool_call_id": "1"},
    ]
    theirs, ours = sent(lambda client: client.chat("m", messages, keep_alive=0))
    assert ours == {"model": "m", "messages": messages, "stream": False, "keep_alive": 0}
    assert theirs["tools"] == []
    assert theirs["messages"] == [
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
        {"role": "tool"},
    ]
    assert theirs["keep_alive"] == 0 and type(theirs["keep_alive"]) is float and type(ours["keep_alive"]) is int


def test_a_string_is_never_opened_as_a_file(tmp_path: Path) -> None:
    # Text from outside could name any file of this machine, which would then be sent.
    (tmp_path / "secret.png").write_bytes(b"\x00\xff")
    name = str(tmp_path / "secret.png")
    with serve(send_lines(DONE)) as server, sdk(server.url) as client:
        client.generate("m", "p", images=[name])
        assert json.loads(server.requests[0].body)["images"] == ["AP8="]  # type: ignore[attr-defined]
        with pytest.raises(RequestError, match=r"not base64; to send a file, pass pathlib\.Path\(name\)"):
            ostream.Client(server.url).generate("m", "p", images=[name])
    theirs, ours = sent(lambda client: client.generate("m", "p", images=[Path(name)]))
    assert theirs["images"] == ours["images"] == ["AP8="]


def sdk_parameters(function: Callable[..., Any]) -> Any:
    tool = ollama._utils.convert_function_to_tool(function)
    return tool.model_dump(exclude_none=True)["function"]["parameters"]


def test_a_tool_has_defaults_choices_and_items_in_its_schema() -> None:
    # A model invents a value for a required parameter, and guesses without the choices.
    def plain(city: str, days: int) -> None: ...

    def rich(city: str, days: int = 1, unit: str = "c", *, ids: Any) -> None: ...

    # The SDK cannot resolve annotations that are text.
    rich.__annotations__.update(city=str, days=int, unit=Literal["c", "k"], ids=List[int])

    assert sdk_parameters(plain)["required"] == schema(plain)["function"]["parameters"]["required"] == ["city", "days"]
    theirs, ours = sdk_parameters(rich), schema(rich)["function"]["parameters"]
    assert (theirs["required"], ours["required"]) == (["city", "days", "unit", "ids"], ["city", "ids"])
    assert theirs["properties"]["unit"] == {"type": "string", "description": ""}
    assert ours["properties"]["unit"] == {"type": "string", "enum": ["c", "k"]}
    assert theirs["properties"]["ids"] == {"type": "array", "description": ""}
    assert ours["properties"]["ids"] == {"type": "array", "items": {"type": "integer"}}


def test_a_message_is_printed_and_compared_without_missing_fields() -> None:
    shown = []
    for module in (ollama, ostream):
        message = module.Message(role="user", content="hi")
        shown.append((str(message), message == module.Message(**message.model_dump())))
    assert shown[0] == ("role='user' content='hi' thinking=None images=None tool_name=None tool_calls=None", True)
    assert shown[1] == ("Message(role='user', content='hi')", False)
