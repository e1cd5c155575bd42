"""What is asked: bodies, options, images."""

from __future__ import annotations

import base64
import json
import types
from pathlib import Path
from typing import Any, Callable

import pytest

from ostream.errors import RequestError
from ostream.protocol.chunk import Message
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

FIELDS: dict[str, Any] = {
    "stream": True,
    "think": "low",
    "logprobs": True,
    "top_logprobs": 2,
    "format": {"type": "object"},
    "options": {"seed": 1},
    "keep_alive": "5m",
    "truncate": False,
    "shift": False,
}
TOOL = {"type": "function", "function": {"name": "f"}}
CHAT_FIELDS = {"tools": [TOOL], **FIELDS}
GENERATE_FIELDS = {"system": "s", "template": "t", "context": [1, 2], "raw": False, "images": ["aGk="], **FIELDS}
GENERATE_FIELDS.update(width=1, height=2, steps=3)
USER = {"role": "user", "content": "Hi"}


def test_a_body_has_what_was_given_and_nothing_else() -> None:
    assert chat_body("m", [USER], **CHAT_FIELDS) == {"model": "m", "messages": [USER], **CHAT_FIELDS}
    assert chat_body("m", None, **dict.fromkeys(CHAT_FIELDS)) == {"model": "m", "messages": []}
    named = {"model": "m", "prompt": "p", "suffix": "s"}
    assert generate_body(*named.values(), **GENERATE_FIELDS) == {**named, **GENERATE_FIELDS}
    assert generate_body("m", None, **dict.fromkeys(GENERATE_FIELDS)) == {"model": "m"}


def test_what_is_empty_but_given_is_sent() -> None:
    empty = {"tools": [], "options": {}, "think": False, "keep_alive": 0, "format": ""}
    assert chat_body("m", (), **empty) == {"model": "m", "messages": [], **empty}
    assert generate_body("m", "", context=(), images=()) == {"model": "m", "prompt": "", "context": [], "images": []}


def test_a_name_that_is_no_field_is_refused() -> None:
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
    ({**USER, "images": [b"hi", "aGk="]}, {**USER, "images": ["aGk=", "aGk="]}),
    ({**USER, "images": []}, None),
    ({**USER, "images": None}, USER),
]


@pytest.mark.parametrize(("message", "sent"), MESSAGES)
def test_a_message_is_sent_as_it_is_without_what_is_none(message: Any, sent: Any) -> None:
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


def test_images_are_bytes_paths_or_base64(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    path.write_bytes(PNG)
    encoded = base64.b64encode(PNG).decode()
    lines = encoded[:40] + "\r\n" + encoded[40:] + "\n"
    assert [encode_image(image) for image in (PNG, bytearray(PNG), path, encoded, lines)] == [encoded] * 4 + [lines]


IMAGES = [
    ("data:image/png;base64,aGk=", "the server takes no data: URL"),
    ("dot.png", "wrap the name of a file in pathlib.Path"),
    ("/tmp/dot.png", "wrap the name of a file in pathlib.Path"),
    ("aGk", "not base64"),  # no padding
    ("a-_=", "not base64"),  # the alphabet of URLs
    ("aG k=", "not base64"),
    ("ü", "not base64"),
    (Path("no/such/file.png"), "^image no/such/file.png: No such file or directory$"),
    (Path("/"), "^image /: Is a directory$"),
    (Path("nul\0.png"), "null byte"),
    (7, "not int"),
    (None, "not NoneType"),
]


@pytest.mark.parametrize(("image", "message"), IMAGES)
def test_what_is_no_image_is_a_request_error(image: Any, message: str) -> None:
    for ask in (lambda: generate_body("m", "p", images=[image]), lambda: chat_body("m", [{**USER, "images": [image]}])):
        with pytest.raises(RequestError, match=message):
            ask()


FILES = [
    (PNG, True),
    (b"\xff\xd8\xff\xe0", True),
    (b"GIF87a", True),
    (b"GIF89a", True),
    (b"RIFF\n\0\0\0WEBPVP8 ", True),
    (b"BM6\0", True),
    (b"II*\0", True),
    (b"MM\0*", True),
    (b"", False),
    (b"hello", False),
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
    ([], {}),
    (["seed=1", "temperature=0.5", "use_mmap=true"], {"seed": 1, "temperature": 0.5, "use_mmap": True}),
    (["a=x", "b=x=y", "c=", 'd="1"', "e=[1]"], {"a": "x", "b": "x=y", "c": "", "d": "1", "e": [1]}),
    (["seed=1", "seed=2"], {"seed": 2}),
    (["n=null"], {"n": None}),
    # stop is always a list of text
    (["stop=."], {"stop": ["."]}),
    (["stop=a", "stop=b"], {"stop": ["a", "b"]}),
    (['stop="\\n"'], {"stop": ["\n"]}),
    (['stop=["a","b"]', "stop=c"], {"stop": ["a", "b", "c"]}),
    (["stop=1", "stop=1.50", "stop=true", "stop=null", "stop={}"], {"stop": ["1", "1.50", "true", "null", "{}"]}),
    (["stop="], {"stop": [""]}),
]


@pytest.mark.parametrize(("pairs", "options"), OPTIONS)
def test_options_are_json_where_they_can_be_and_stop_is_a_list(pairs: list[str], options: dict[str, Any]) -> None:
    assert parse_options(pairs) == options


@pytest.mark.parametrize("pair", ["seed", "", "=1"])
def test_an_option_that_is_no_pair_is_a_request_error(pair: str) -> None:
    with pytest.raises(RequestError, match="write KEY=VALUE"):
        parse_options([pair])


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("5m", "5m"), ("-1", -1), ("true", True), ("", ""), ("[" * 100_000, "[" * 100_000), ("{", "{")],
    ids=lambda value: str(value)[:10],
)
def test_a_value_is_json_or_the_text_itself(text: str, value: Any) -> None:
    assert parse_value(text) == value


def test_what_must_be_json_is_or_is_a_request_error_that_names_it() -> None:
    assert parse_json('{"a":1}', "--format") == parse_json(b'\xef\xbb\xbf{"a":1}', "--body x") == {"a": 1}
    for text in ("{", b"\xff", "", "1 2"):
        with pytest.raises(RequestError, match=r"^--body x: not JSON: "):
            parse_json(text, "--body x")
    with pytest.raises(RequestError, match=r"^--body x: nested too deeply$"):
        parse_json("[" * 100_000, "--body x")


def test_a_body_is_compact_utf8() -> None:
    assert encode_body({"prompt": "naïve 😀", "n": [1, None]}) == '{"prompt":"naïve 😀","n":[1,null]}'.encode()


def test_a_lone_surrogate_is_escaped_for_the_server_to_replace() -> None:
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
def test_what_json_has_no_form_for_is_a_request_error(value: Any) -> None:
    with pytest.raises(RequestError, match=r"^request: "):
        encode_body({"options": value})


def untold(value: complex) -> None: ...


# what is wrong, and the words that say it
WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: chat_body("m", [], options=["seed"]), "^options: must be a dict, not list$"),  # type: ignore[arg-type]
    (lambda: generate_body("m", "p", options="seed=1"), "^options: must be a dict, not str$"),  # type: ignore[arg-type]
    (lambda: chat_body("m", 5), "^messages: must be a list, not int$"),  # type: ignore[arg-type]
    (lambda: chat_body("m", [], tools=True), "^tools: must be a list, not bool$"),  # type: ignore[arg-type]
    (lambda: chat_body("m", [{**USER, "images": 1}]), "^images: must be a list, not int$"),
    (lambda: generate_body("m", "p", context=1), "^context: must be a list, not int$"),  # type: ignore[arg-type]
    (lambda: generate_body("m", "p", images=1), "^images: must be a list, not int$"),  # type: ignore[arg-type]
    (lambda: chat_body("m", "hello"), "^messages: each must be a dict with a role, not str$"),
    (lambda: chat_body("m", [{"content": "hello"}]), "^messages: each must have a role"),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_arguments_of_the_wrong_kind_are_request_errors(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        call()


def test_any_mapping_will_do() -> None:
    message = types.MappingProxyType({"role": "user", "content": "x", "images": None})
    body = chat_body("m", (message,), options=types.MappingProxyType({"seed": 1}))
    assert body["messages"] == [{"role": "user", "content": "x"}]
    assert encode_body(body) == b'{"model":"m","messages":[{"role":"user","content":"x"}],"options":{"seed":1}}'
    assert "options" not in chat_body("m", [], options=None)
    assert chat_body("m", [], options={})["options"] == {}


def test_a_function_that_no_schema_describes_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"^untold: parameter value: complex has no JSON schema$"):
        chat_body("m", [], tools=[untold])
