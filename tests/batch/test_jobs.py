"""Rows become requests: bodies, ids, paths and what an option overrides."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ostream.batch.input_lines import decoded
from ostream.batch.inputs import NDJSON, InputFormat, RequestReader
from ostream.batch.jobs import Job, RequestDefaults, key_of
from ostream.errors import RequestError

USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "S"}
M = RequestDefaults(model="m")
LATER = RequestDefaults(default_model="later")
SCHEMA = {"type": "function", "function": {"name": "f"}}


def read(*lines: bytes | str | dict[str, Any], defaults: RequestDefaults = M, form: InputFormat | None = None) -> Any:
    """The jobs of an input, with its notes."""
    notes: list[str] = []
    reader = RequestReader(["FILE"], form or InputFormat(NDJSON), defaults, notes.append)
    data = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    reader._blocks = lambda name: iter([data])  # type: ignore[method-assign]
    return list(reader.jobs()), notes


def chat(*messages: Any, model: str = "m", **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), "model": model, "stream": False, **more}


def generate(prompt: str = "hi", model: str = "m", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "model": model, "stream": False, **more}


def record(**changes: Any) -> dict[str, Any]:
    whole = {"custom_id": "c", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "b", "x": 1}}
    return {name: value for name, value in {**whole, **changes}.items() if value is not ...}


# row, defaults -> id, path, body
ROWS: dict[str, tuple[Any, RequestDefaults, Any, str, dict[str, Any]]] = {
    "messages": ({"messages": [USER]}, M, 0, "/api/chat", chat(USER)),
    "prompt": ({"prompt": "hi"}, M, 0, "/api/generate", generate()),
    "messages and prompt": ({"prompt": "p", "messages": [USER]}, M, 0, "/api/chat", chat(USER, prompt="p")),
    "prompt and no messages": ({"prompt": "hi", "messages": []}, M, 0, "/api/generate", generate(messages=[])),
    "own id": ({"id": "a", "prompt": "hi"}, M, "a", "/api/generate", generate()),
    "null id": ({"id": None, "prompt": "hi"}, M, 0, "/api/generate", generate()),
    "own model": ({"model": "b", "prompt": "hi"}, LATER, 0, "/api/generate", generate(model="b")),
    "-m overrides": ({"model": "b", "prompt": "hi"}, M, 0, "/api/generate", generate()),
    "model of the environment": ({"prompt": "hi"}, LATER, 0, "/api/generate", generate(model="later")),
    "never streaming": ({"prompt": "hi", "stream": True}, M, 0, "/api/generate", generate()),
    "--stream": ("hi", RequestDefaults("m", stream=True), 0, "/api/chat", {**chat(USER), "stream": True}),
    "unknown fields": ({"prompt": "hi", "new": [1]}, M, 0, "/api/generate", generate(new=[1])),
    "string": ("hi", M, 0, "/api/chat", chat(USER)),
    "byte order mark": (b'\xef\xbb\xbf"hi"\n', M, 0, "/api/chat", chat(USER)),
    "string of JSON": ('{"a":1}', M, 0, "/api/chat", chat({**USER, "content": '{"a":1}'})),
    "-s": ("hi", RequestDefaults("m", system="S"), 0, "/api/chat", chat(SYSTEM, USER)),
    "-s overrides": (
        *({"messages": [{**SYSTEM, "content": "old"}, USER]}, RequestDefaults("m", system="S")),
        *(0, "/api/chat", chat(SYSTEM, USER)),
    ),
    "-s -g": ("hi", RequestDefaults("m", generate=True, system="S"), 0, "/api/generate", generate(system="S")),
    "options are merged": (
        {"prompt": "hi", "options": {"seed": 1, "top_k": 2}},
        RequestDefaults("m", fields={"options": {"seed": 3}, "think": None, "logprobs": True}),
        *(0, "/api/generate", generate(options={"seed": 3, "top_k": 2}, logprobs=True)),
    ),
    "tools are for chat": (
        *("hi", RequestDefaults("m", chat_fields={"tools": [SCHEMA]}, generate_fields={"raw": True})),
        *(0, "/api/chat", chat(USER, tools=[SCHEMA])),
    ),
    "request line": (
        {"request": {"url": "http://h/api/chat", "path": "/api/chat", "body": {"model": "b", "messages": [USER]}}},
        *(LATER, 0, "/api/chat", chat(USER, model="b")),
    ),
    "request line with an id": (
        *({"request": {"path": "/api/generate", "body": {"prompt": "hi"}}, "id": "x"}, M),
        *("x", "/api/generate", generate()),
    ),
    "OpenAI": (record(), LATER, "c", "/v1/chat/completions", {"model": "b", "x": 1}),
    "OpenAI with -m": (record(), M, "c", "/v1/chat/completions", {"model": "m", "x": 1}),
    "OpenAI streaming": (
        *(record(body={"stream": True}, url="/v1/completions"), M),
        *("c", "/v1/completions", {"stream": False, "model": "m"}),
    ),
    "OpenAI to Ollama's path": (
        *(record(url="/api/chat", body={"messages": [USER]}), RequestDefaults("m", system="S")),
        *("c", "/api/chat", chat(SYSTEM, USER)),
    ),
    "OpenAI without an id": (record(custom_id=...), M, 0, "/v1/chat/completions", {"model": "m", "x": 1}),
}


@pytest.mark.parametrize("name", ROWS)
def test_row_becomes_request(name: str) -> None:
    row, defaults, id, path, body = ROWS[name]
    (job,), _ = read(row, defaults=defaults)
    assert not job.failure
    assert (job.id, job.path, json.loads(job.encode())) == (id, path, body)
    assert job.openai == name.startswith("OpenAI")
    loaded = Job.load(job.dump())
    assert [getattr(loaded, name) for name in ("id", "path", "body", "body_sha256", "where")] == [
        *(job.id, job.path, job.body, job.body_sha256, "FILE:1")
    ]


@pytest.mark.parametrize("line", [b"\n", b" \t\r\n"])
@pytest.mark.parametrize("kind", ["ndjson", "lines"])
def test_blank_line_is_no_request(line: bytes, kind: str) -> None:
    jobs, _ = read(line, "hi", form=InputFormat(kind))
    assert jobs[0] is None
    assert jobs[1].id == 1


BAD_ROWS: dict[str, tuple[Any, RequestDefaults, Any, str]] = {
    "no JSON": (b"what?\n", M, 0, "not JSON: Expecting value at column 1"),
    "half a string": (b'"what?\n', M, 0, "not JSON"),
    "a number": (b"1\n", M, 0, "not a JSON object but a number"),
    "not UTF-8": (b'{"prompt":"caf\xe9"}\n', M, 0, "not UTF-8: byte 0xe9 at byte 15"),
    "an empty object": ({}, M, 0, 'a request needs "messages" or "prompt"'),
    "only an id": ({"id": "a"}, M, "a", 'a request needs "messages" or "prompt"'),
    "null": ({"prompt": None, "messages": None}, M, 0, 'a request needs "messages" or "prompt"'),
    "no model": ({"id": "a", "prompt": "hi"}, RequestDefaults(), "a", "no model given"),
    **{
        f"id {id}": ({"id": id, "prompt": "hi"}, M, 0, "id: must be a string or an integer")
        for id in (True, 1.5, [1], {"a": 1})
    },
    "messages and -s": ({"messages": "hi"}, RequestDefaults("m", system="S"), 0, "messages: must be an array"),
    "data URL": ({"prompt": "a", "images": ["data:image/png;base64,iVBO"]}, M, 0, "images: must be base64, not a URL"),
    "https URL": ({"messages": [{**USER, "images": ["https://a/b.png"]}]}, M, 0, "images: must be base64, not a URL"),
    "request line without a body": ({"request": {"path": "/api/chat"}}, M, 0, "body: must be an object"),
    "GET": (record(method="GET"), M, "c", 'method "GET": must be POST'),
    "no method": (record(method=...), M, "c", "method null: must be POST"),
    "a host": (record(url="http://evil.test/api/chat"), M, "c", 'url "http://evil.test/api/chat": must be'),
    "a host without a scheme": (record(url="//evil.test/api/chat"), M, "c", "url"),
    "a list for a path": (record(url=["/api/chat"]), M, "c", "url"),
    "no body": (record(body=...), M, "c", "body: must be an object"),
    "an array for a custom id": (record(custom_id=[]), M, 0, "id: must be"),
    "options for another path": (record(), RequestDefaults("m", fields={"think": True}), "c", "only -m applies"),
    "-s for another path": (record(), RequestDefaults("m", system="S"), "c", "only -m applies"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_unusable_row_fails_alone_with_its_place(name: str) -> None:
    row, defaults, id, text = BAD_ROWS[name]
    (job, other), _ = read(
        row,
        {"prompt": "hi", "model": "m"},
        defaults=RequestDefaults(
            defaults.model, defaults.default_model, system=defaults.system, fields=defaults.fields
        ),
    )
    assert isinstance(job.failure, RequestError)
    assert str(job.failure).startswith("FILE:1: ")
    assert text in str(job.failure)
    assert job.id == id
    assert other is None or other.failure is None


ADVICE: dict[str, tuple[bytes, str]] = {
    "text": (b"What is it?\n", "with --lines, each line is a prompt"),
    "a table": (b"id,text\n", "for a table, use --csv --prompt '...{COLUMN}...'; for lines of text, use --lines"),
    "pretty-printed": (b'{\n "prompt": "a"\n}\n', "put each object on one line: jq -c . FILE"),
    "an array": (b'[{"prompt":"a"}]\n', "convert the array to lines: jq -c '.[]' FILE"),
    "another key": (b'{"text":"a"}\n', "if .text is the prompt: jq -c '{prompt: .text}' FILE"),
    "a damaged request": (b'{"prompt":"a\n', ""),
}


@pytest.mark.parametrize("name", ADVICE)
def test_advice_depends_on_what_the_input_looks_like(name: str) -> None:
    data, advice = ADVICE[name]
    assert read(data)[0][0].failure.advice == advice


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (b"caf\xe9", "convert it: iconv -f CP1252 -t UTF-8 FILE"),
        (b"\xff\xfea\0", "convert it: iconv -f UTF-16 -t UTF-8 FILE"),
        (b"%PDF-1.7\n\xe2", "it is not a text file; convert it to one"),
    ],
)
def test_advice_depends_on_the_encoding(data: bytes, advice: str) -> None:
    with pytest.raises(RequestError) as caught:
        decoded(data)
    assert caught.value.advice == advice


def test_fields_that_an_option_overrides_are_named() -> None:
    row = {"model": "b", "keep_alive": "1m", "messages": [{**SYSTEM, "content": "old"}, USER]}
    defaults = RequestDefaults("m", system="S", fields={"keep_alive": "5m", "format": "json"})
    same, empty = {"model": "m", "messages": [SYSTEM, USER]}, {"model": "", "prompt": "a"}
    jobs, _ = read(row, same, empty, defaults=defaults)
    assert [sorted(job.overridden) for job in jobs] == [["keep_alive", "model", "system"], [], []]


def test_key_order_and_numbers_do_not_change_the_hash() -> None:
    (one, two, other), _ = read(
        b'{"prompt":"a","options":{"seed":1,"top_k":2},"model":"m"}\n',
        b'{"keep_alive":"5m","options":{"top_k":2.0,"seed":1},"prompt":"a","stream":true}\n',
        {"prompt": "b"},
    )
    assert one.body_sha256 == two.body_sha256 != other.body_sha256


def test_number_and_its_text_are_two_ids() -> None:
    assert len({key_of(id) for id in (1, "1", "", "é", -1)}) == 5
