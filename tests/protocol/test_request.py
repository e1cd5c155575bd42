"""Request bodies: fields, messages, images, options and their errors."""

from __future__ import annotations

import base64
import json
import sys
import types
from pathlib import Path
from typing import Any, Callable

import pytest

from ostream.errors import RequestError
from ostream.protocol.objects import Message, ToolCall
from ostream.protocol.request import (
    chat_body,
    encode_body,
    encode_image,
    generate_body,
    is_media,
    parse_json,
    parse_options,
    parse_value,
)
from ostream.protocol.request_objects import Image, Options, Tool

TOOL = {"type": "function", "function": {"name": "f"}}
USER = {"role": "user", "content": "Hi"}


def test_empty_values_are_sent() -> None:
    empty = {"tools": [], "options": {}, "think": False, "keep_alive": 0, "format": ""}
    assert chat_body("m", (), **empty) == {"model": "m", "messages": [], **empty}
    assert generate_body("m", "", context=(), images=()) == {"model": "m", "prompt": "", "context": [], "images": []}


def test_an_unknown_field_is_a_type_error() -> None:
    for body in (chat_body, generate_body):
        with pytest.raises(TypeError, match="temprature"):
            body("m", None, temprature=1)  # type: ignore[operator]


def test_the_arguments_are_left_as_they_are() -> None:
    message = {**USER, "images": [b"hi"], "thinking": None}
    options: dict[str, Any] = {"seed": 1}
    body = chat_body("m", iter([message]), options=options, tools=iter([TOOL]))
    assert body["messages"] == [{**USER, "images": ["aGk="]}]
    assert body["tools"] == [TOOL]
    body["options"]["seed"] = 2
    assert message == {**USER, "images": [b"hi"], "thinking": None}
    assert options == {"seed": 1}


MESSAGES = [
    # message, as it is sent
    (USER, USER),
    (Message(role="user", content="Hi"), USER),
    ({"role": "tool", "content": "1", "tool_call_id": "x", "new": [1]}, None),
    ({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}, None),
    ({**USER, "images": [b"hi", Image(value="aGk="), "R0lGODlh"]}, {**USER, "images": ["aGk=", "aGk=", "R0lGODlh"]}),
    ({**USER, "images": []}, None),
    ({**USER, "images": None}, USER),
]


@pytest.mark.parametrize(("message", "sent"), MESSAGES)
def test_a_message_is_sent_without_the_values_that_are_none(message: Any, sent: Any) -> None:
    assert chat_body("m", [message])["messages"] == [message if sent is None else sent]


@pytest.mark.parametrize(
    "message", ["Hi", None, ("user", "Hi"), {}, {"content": "Hi"}, {"role": None, "content": "Hi"}]
)
def test_a_message_without_a_role_is_a_request_error(message: Any) -> None:
    with pytest.raises(RequestError, match=r"^messages: each must "):
        chat_body("m", [message])


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_an_image_is_bytes_a_path_base64_or_a_data_url(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    path.write_bytes(PNG)
    encoded = base64.b64encode(PNG).decode()
    lines = encoded[:40] + "\r\n" + encoded[40:] + "\n"
    url = f"data:image/png;base64,{encoded}"
    images = (PNG, bytearray(PNG), path, encoded, url, Image(value=path), Image(value=encoded), lines)
    assert [encode_image(image) for image in images] == [encoded] * 7 + [lines]


IMAGES = [
    ("data:image/png,aGk=", "a data: URL must have the form"),
    ("dot.png", r"to send a file, pass pathlib.Path\(name\)"),
    ("photos/cat01/aaa", "not an image or a sound of a known format"),
    (Image(value="dot.png"), "not base64"),
    ("R0lGODl", "not base64"),  # no padding
    ("R0lGODl_", "not base64"),  # the alphabet of URLs
    ("ü", "not base64"),
    (Path("no/such/file.png"), "^image no/such/file.png: No such file or directory$"),
    (Path("/"), "^image /: Is a directory$"),
    (Path("nul\0.png"), "null byte"),
    (7, "not int"),
]


@pytest.mark.parametrize(("image", "message"), IMAGES)
def test_other_values_are_not_images(image: Any, message: str) -> None:
    for ask in (lambda: generate_body("m", "p", images=[image]), lambda: chat_body("m", [{**USER, "images": [image]}])):
        with pytest.raises(RequestError, match=message):
            ask()


FILES = [
    (PNG, True),
    (b"\xff\xd8\xff\xe0", True),
    (b"GIF89a", True),
    (b"GIF87a", True),
    (b"RIFF\n\0\0\0WEBPVP8 ", True),
    (b"BM6\0", True),
    (b"II*\0", True),
    (b"MM\0*", True),
    (b"", False),
    (b" GIF89a", False),
    (b"RIFF\0\0\0\0WAVEfmt ", True),
    (b"ID3\4", True),
    (b"\xff\xfb\x90", True),
    (b"\xff\xf1\x50", False),
    (b"RIFF\0\0\0\0AVI ", False),
    (b"%PDF-1.4", False),
]


@pytest.mark.parametrize(("data", "accepted"), FILES)
def test_image_and_sound_files_are_recognised_by_their_first_bytes(data: bytes, accepted: bool) -> None:
    assert is_media(data) is accepted


OPTIONS: list[tuple[list[str], dict[str, Any]]] = [
    (["seed=1", "temperature=0.5", "use_mmap=true"], {"seed": 1, "temperature": 0.5, "use_mmap": True}),
    (["a=x", "b=x=y", "c=", 'd="1"', "e=[1]"], {"a": "x", "b": "x=y", "c": "", "d": "1", "e": [1]}),
    (["seed=1", "seed=2"], {"seed": 2}),
    (["n=null"], {"n": None}),
    # stop is always a list of text
    (["stop=."], {"stop": ["."]}),
    (['stop="\\n"'], {"stop": ["\n"]}),
    (['stop=["a","b"]', "stop=c"], {"stop": ["a", "b", "c"]}),
    (["stop=1", "stop=1.50", "stop=true", "stop=null", "stop={}"], {"stop": ["1", "1.50", "true", "null", "{}"]}),
    (["stop="], {"stop": [""]}),
]


@pytest.mark.parametrize(("pairs", "options"), OPTIONS)
def test_option_values_are_json_or_text_and_stop_is_a_list(pairs: list[str], options: dict[str, Any]) -> None:
    assert parse_options(pairs) == options


@pytest.mark.parametrize("pair", ["seed", "", "=1"])
def test_an_option_without_a_key_or_value_is_a_request_error(pair: str) -> None:
    with pytest.raises(RequestError, match="write NAME=VALUE"):
        parse_options([pair])


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("5m", "5m"), ("-1", -1), ("true", True), ("", ""), ("[" * 100_000, "[" * 100_000), ("{", "{")],
    ids=lambda value: str(value)[:10],
)
def test_a_value_is_json_or_the_text_itself(text: str, value: Any) -> None:
    assert parse_value(text) == value


def test_text_that_is_not_json_is_a_request_error_with_its_origin() -> None:
    assert parse_json('{"a":1}', "--format") == parse_json(b'\xef\xbb\xbf{"a":1}', "--body x") == {"a": 1}
    for text in ("{", b"\xff", "", "1 2"):
        with pytest.raises(RequestError, match=r"^--body x: not JSON: "):
            parse_json(text, "--body x")
    with pytest.raises(RequestError, match=r"^--body x: nested too deeply$"):
        parse_json("[" * 100_000, "--body x")


def _other_encoder(*_: Any) -> Any:
    raise TypeError("other arguments")


OTHER = types.SimpleNamespace(make_encoder=_other_encoder, encode_basestring=None)


@pytest.mark.parametrize("modules", [{}, {"_json": None}, {"_json": OTHER}], ids=["_json", "none", "other"])
def test_a_body_is_compact_utf8_with_lone_surrogates_escaped(
    modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert encode_body({"prompt": "naïve 😀", "n": [1, None]}) == '{"prompt":"naïve 😀","n":[1,null]}'.encode()
    assert encode_body({"prompt": "a\udcff", "n": 1}) == b'{"prompt":"a\\udcff","n":1}'
    assert json.loads(encode_body({"prompt": "ü\ud83d"})) == {"prompt": "ü\ud83d"}


DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]
CIRCLE: dict[str, Any] = {}
CIRCLE["a"] = CIRCLE


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1}, b"x", print, DEEP, CIRCLE], ids=lambda v: type(v).__name__
)
def test_values_that_json_cannot_represent_are_a_request_error(value: Any) -> None:
    with pytest.raises(RequestError, match=r"^request: "):
        encode_body({"options": value})


# a call with a wrong argument, the message
WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: chat_body("m", [], options=["seed"]), "^options: must be a dict, not list$"),  # type: ignore[arg-type]
    (lambda: generate_body("m", "p", options="seed=1"), "^options: must be a dict, not str$"),  # type: ignore[arg-type]
    (lambda: chat_body("m", 5), "^messages: must be a list, not int$"),  # type: ignore[arg-type]
    (lambda: chat_body("m", [], tools=True), "^tools: must be a list, not bool$"),  # type: ignore[arg-type]
    (lambda: chat_body("m", [], tools=[5]), "^tools: each must be a function or a dict, not int$"),
    (lambda: chat_body("m", [{**USER, "images": 1}]), "^images: must be a list, not int$"),
    (lambda: generate_body("m", "p", context=1), "^context: must be a list, not int$"),  # type: ignore[arg-type]
    (lambda: generate_body("m", "p", images=b"x"), "^images: must be a list, not bytes$"),  # type: ignore[arg-type]
    (lambda: chat_body("m", "hello"), "^messages: must be a list, not str$"),
    (lambda: chat_body("m", USER), "^messages: must be a list, not dict$"),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_arguments_of_the_wrong_kind_are_request_errors(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        call()


def test_any_mapping_is_accepted() -> None:
    message = types.MappingProxyType({"role": "user", "content": "x", "images": None})
    body = chat_body("m", (message,), options=types.MappingProxyType({"seed": 1}))
    assert body["messages"] == [{"role": "user", "content": "x"}]
    assert encode_body(body) == b'{"model":"m","messages":[{"role":"user","content":"x"}],"options":{"seed":1}}'
    assert "options" not in chat_body("m", [], options=None)
    assert chat_body("m", [], options={})["options"] == {}


class Model:
    """Has the methods of a pydantic model."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def model_dump(self, exclude_none: bool) -> dict[str, Any]:
        return {key: value for key, value in self.fields.items() if value is not None or not exclude_none}

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        return {"type": "object"}


@pytest.mark.parametrize("make", [Model, None])
def test_objects_of_the_sdk_are_sent_as_dicts(make: Any) -> None:
    message = (make or Message)(role="assistant", content=None, tool_calls=[ToolCall(id="1"), Model(id="2", no=None)])
    tool = (make or Tool)(type="function", function={"name": "f"}, items=None)
    body = chat_body("m", [message], options=(make or Options)(seed=1, top_k=None), tools=[tool], format=Model)
    assert json.loads(encode_body(body)) == {
        "model": "m",
        "messages": [{"role": "assistant", "tool_calls": [{"id": "1"}, {"id": "2"}]}],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "format": {"type": "object"},
        "options": {"seed": 1},
    }
    assert encode_body({"a": Model(b="\ud83d")}) == b'{"a":{"b":"\\ud83d"}}'


def test_top_logprobs_implies_logprobs() -> None:
    assert chat_body("m", [], top_logprobs=2)["logprobs"] is True
    assert chat_body("m", [], top_logprobs=2, logprobs=False)["logprobs"] is False
