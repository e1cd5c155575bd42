"""Lines to requests, answers to lines: what a batch says, without sending anything."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from ostream.batch.jobs import (
    PARTIAL_LIMIT,
    Job,
    Settings,
    answer_line,
    answer_of,
    entry_of,
    failure_line,
    job_of,
    key_of,
)
from ostream.errors import IncompleteStream, OstreamError, RequestError, ResponseError, StreamTimeout
from ostream.protocol.ndjson import decode_line
from tests.server import body_of

USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "S"}
M = Settings(model="m")
LATER = Settings(default_model="later")


def chat(*messages: Any, model: str = "m", **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), "model": model, "stream": False, **more}


def generate(prompt: str = "hi", model: str = "m", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "model": model, "stream": False, **more}


def record(**changes: Any) -> dict[str, Any]:
    whole = {"custom_id": "c", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "b", "x": 1}}
    return {name: value for name, value in {**whole, **changes}.items() if value is not ...}


# line, settings, as text -> id, path, body
JOBS: dict[str, tuple[Any, Settings, bool, Any, str, dict[str, Any]]] = {
    "messages": ({"messages": [USER]}, M, False, 7, "/api/chat", chat(USER)),
    "prompt": ({"prompt": "hi"}, M, False, 7, "/api/generate", generate()),
    "both": ({"prompt": "p", "messages": [USER]}, M, False, 7, "/api/chat", chat(USER, prompt="p")),
    "its id": ({"id": "a", "prompt": "hi"}, M, False, "a", "/api/generate", generate()),
    "a number as id": ({"id": 0, "prompt": "hi"}, M, False, 0, "/api/generate", generate()),
    "no id": ({"id": None, "prompt": "hi"}, M, False, 7, "/api/generate", generate()),
    "an empty id": ({"id": "", "prompt": "hi"}, M, False, "", "/api/generate", generate()),
    "its model": ({"model": "b", "prompt": "hi"}, LATER, False, 7, "/api/generate", generate(model="b")),
    "-m wins": ({"model": "b", "prompt": "hi"}, M, False, 7, "/api/generate", generate()),
    "the model of the environment": ({"prompt": "hi"}, LATER, False, 7, "/api/generate", generate(model="later")),
    "never streaming": ({"prompt": "hi", "stream": True}, M, False, 7, "/api/generate", generate()),
    "unknown fields": ({"prompt": "hi", "new": [1]}, M, False, 7, "/api/generate", generate(new=[1])),
    "a string": ("hi", M, False, 7, "/api/chat", chat(USER)),
    "a string behind a byte order mark": (b'\xef\xbb\xbf"hi"\n', M, False, 7, "/api/chat", chat(USER)),
    "a string that looks like JSON": ('{"a":1}', M, False, 7, "/api/chat", chat({**USER, "content": '{"a":1}'})),
    "-g": ("hi", Settings("m", generate=True), False, 7, "/api/generate", generate()),
    "--lines": (b"hi\n", M, True, 7, "/api/chat", chat(USER)),
    "--lines without a newline": (b"hi", M, True, 7, "/api/chat", chat(USER)),
    "--lines of another editor": (b"\xef\xbb\xbfhi \r\n", M, True, 7, "/api/chat", chat({**USER, "content": "hi "})),
    "--lines of JSON": (b'"hi"\n', M, True, 7, "/api/chat", chat({**USER, "content": '"hi"'})),
    "--lines not in UTF-8": (b"\xff \n", M, True, 7, "/api/chat", chat({**USER, "content": "� "})),
    "-s": ("hi", Settings("m", system="S"), False, 7, "/api/chat", chat(SYSTEM, USER)),
    "-s in the place of another": (
        {"messages": [{**SYSTEM, "content": "old"}, USER]},
        Settings("m", system="S"),
        False,
        7,
        "/api/chat",
        chat(SYSTEM, USER),
    ),
    "-s -g": ("hi", Settings("m", generate=True, system="S"), False, 7, "/api/generate", generate(system="S")),
    "options": (
        {"prompt": "hi", "options": {"seed": 1, "top_k": 2}},
        Settings("m", fields={"options": {"seed": 3}, "think": None, "logprobs": True}),
        False,
        7,
        "/api/generate",
        generate(options={"seed": 3, "top_k": 2}, logprobs=True),
    ),
    "OpenAI": (record(), LATER, False, "c", "/v1/chat/completions", {"model": "b", "x": 1}),
    "OpenAI with -m": (record(), M, False, "c", "/v1/chat/completions", {"model": "m", "x": 1}),
    "OpenAI streaming": (
        record(body={"stream": True}, url="/v1/completions"),
        M,
        False,
        "c",
        "/v1/completions",
        {"stream": False, "model": "m"},
    ),
    "OpenAI of ours": (
        record(url="/api/chat", body={"messages": [USER]}),
        Settings("m", system="S"),
        False,
        "c",
        "/api/chat",
        chat(SYSTEM, USER),
    ),
    "OpenAI without an id": (record(custom_id=...), M, False, 7, "/v1/chat/completions", {"model": "m", "x": 1}),
}


def to_line(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"


@pytest.mark.parametrize("name", JOBS)
def test_a_line_becomes_a_request(name: str) -> None:
    line, settings, as_text, id, path, body = JOBS[name]
    job = job_of(to_line(line), 7, settings, as_text)
    assert job and not job.failure
    assert (job.id, job.path, json.loads(job.body)) == (id, path, body)
    assert job.body_sha256 == hashlib.sha256(job.body).hexdigest()
    assert job.openai == name.startswith("OpenAI")


@pytest.mark.parametrize("line", [b"", b"\n", b" \t\r\n"])
@pytest.mark.parametrize("as_text", [False, True])
def test_a_blank_line_asks_nothing(line: bytes, as_text: bool) -> None:
    assert job_of(line, 7, M, as_text) is None


FAILURES: dict[str, tuple[Any, Settings, Any, str]] = {
    "no JSON": (b"what?\n", M, 7, "not JSON: Expecting value at column 1"),
    "half a string": (b'"what?\n', M, 7, "not JSON"),
    "a number": (b"1\n", M, 7, "not a JSON object but a number"),
    "a mark alone": (b"\xef\xbb\xbf\n", M, 7, "neither messages nor a prompt"),
    "an empty object": ({}, M, 7, "neither messages nor a prompt"),
    "only an id": ({"id": "a"}, M, "a", "neither messages nor a prompt"),
    "no model": ({"id": "a", "prompt": "hi"}, Settings(), "a", "no model"),
    "an id that is none": ({"id": True, "prompt": "hi"}, M, 7, "id: must be a string or a whole number"),
    "another": ({"id": 1.5, "prompt": "hi"}, M, 7, "id: must be"),
    "a third": ({"id": [1], "prompt": "hi"}, M, 7, "id: must be"),
    "messages and -s": ({"messages": "hi"}, Settings("m", system="S"), 7, "messages: must be an array"),
    "GET": (record(method="GET"), M, "c", 'method "GET": must be POST'),
    "no method": (record(method=...), M, "c", "method null: must be POST"),
    "no url": (record(url=...), M, "c", "url null: must be one of /v1/chat/completions, "),
    "a host": (record(url="http://evil.test/api/chat"), M, "c", 'url "http://evil.test/api/chat": must be'),
    "a host without a scheme": (record(url="//evil.test/api/chat"), M, "c", "url"),
    "a query": (record(url="/api/chat?x"), M, "c", "url"),
    "another path": (record(url="/v1/embeddings"), M, "c", "url"),
    "a list for a path": (record(url=["/api/chat"]), M, "c", "url"),
    "no body": (record(body=...), M, "c", "body: must be an object"),
    "a body without a question": (record(url="/api/chat", body=[]), M, "c", "body: must be an object"),
    "a custom id that is none": (record(custom_id={}), M, 7, "id: must be"),
    "options for another path": (record(), Settings("m", fields={"think": True}), "c", "only -m is for this path"),
    "-s for another path": (record(), Settings("m", system="S"), "c", "only -m is for this path"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_line_that_asks_nothing_sensible_fails_alone(name: str) -> None:
    line, settings, id, words = FAILURES[name]
    job = job_of(to_line(line), 7, settings)
    assert job and job.failure
    assert words in str(job.failure)
    assert job.failure.exit_status == 2
    failed = decode_line(failure_line(job, job.failure))
    assert failed
    assert failed["custom_id" if job.openai else "id"] == id
    assert failed["exit_status"] == 2


WHOLE = body_of("chat-nostream")
STREAM = body_of("chat-stream")
CHOICES = b'{"id":"chatcmpl-1","choices":[],"usage":{"completion_tokens":3}}'
# body, path -> the content of the answer
ANSWERS: dict[str, tuple[bytes, str, str]] = {
    "an object": (WHOLE, "/api/chat", "The sky is blue"),
    "and spaces": (b" " + WHOLE + b" \n\n", "/api/chat", "The sky is blue"),
    "on several lines": (json.dumps(json.loads(WHOLE), indent=1).encode(), "/api/chat", "The sky is blue"),
    "a stream all the same": (STREAM, "/api/chat", "The sky is blue"),
    "and more after its end": (STREAM + b'{"message":{"content":"late"},"done":true}\n', "/api/chat", "The sky"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_whole_answer(name: str) -> None:
    data, path, text = ANSWERS[name]
    answer = answer_of(path, data)
    assert answer["done"] is True
    assert answer["message"]["content"].startswith(text)
    assert "late" not in answer["message"]["content"]


def test_an_answer_of_the_other_api_is_whole_with_its_choices() -> None:
    assert answer_of("/v1/completions", CHOICES)["choices"] == []


NO_ANSWERS: dict[str, tuple[bytes, str, type[OstreamError], str]] = {
    "not done": (b'{"response":"a","done":false}', "/api/generate", IncompleteStream, "without done: true"),
    "done in another way": (b'{"response":"a","done":1}', "/api/generate", IncompleteStream, "without done"),
    "a stream without its end": (STREAM[: STREAM[:-1].rfind(b"\n")], "/api/chat", IncompleteStream, "without done"),
    "cut": (WHOLE[:-1], "/api/chat", IncompleteStream, "the answer was cut"),
    "a stream that was cut": (STREAM[:-5], "/api/chat", IncompleteStream, "the answer was cut"),
    "empty": (b"", "/api/chat", IncompleteStream, "the answer is empty"),
    "blank": (b"\n \n", "/api/chat", IncompleteStream, "the answer is empty"),
    "no choices": (b'{"choices":null}', "/v1/completions", IncompleteStream, "without choices"),
    "an error": (b'{"error":"boom"}', "/api/chat", ResponseError, "boom"),
    "an error in a stream": (
        STREAM[: STREAM.find(b"\n") + 1] + b'{"error":"boom"}',
        "/api/chat",
        ResponseError,
        "boom",
    ),
    "an error in OpenAI's shape": (b'{"error":{"message":"boom"}}', "/v1/completions", ResponseError, "boom"),
    "no JSON": (b"what?\n", "/api/chat", ResponseError, "the answer: not JSON"),
    "an array": (b"[1]", "/api/chat", ResponseError, "not a JSON object but an array"),
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_not_a_whole_answer(name: str) -> None:
    data, path, kind, words = NO_ANSWERS[name]
    with pytest.raises(kind, match=words) as caught:
        answer_of(path, data)
    assert caught.value.partial == (None if words == "boom" else data or None)


def test_of_what_came_not_everything_goes_into_the_error_line() -> None:
    with pytest.raises(IncompleteStream) as caught:
        answer_of("/api/chat", b'{"x":"' + b"x" * (2 * PARTIAL_LIMIT))
    assert len(caught.value.partial) == PARTIAL_LIMIT


def a_job(id: Any = "a", openai: bool = False) -> Job:
    job = Job(id)
    job.openai, job.body_sha256 = openai, "0" * 64
    return job


TAG = b',"id":"a","body_sha256":"' + b"0" * 64 + b'"}\n'


@pytest.mark.parametrize("data", [b'{"x":1.50,"done":true}', b' {"x":1.50,"done":true }\r\n'])
def test_an_answer_keeps_its_bytes_and_gets_two_keys_behind(data: bytes) -> None:
    assert answer_line(a_job(), {"x": 1.5, "done": True}, data) == b'{"x":1.50,"done":true' + TAG


@pytest.mark.parametrize(
    "data",
    [
        b'{"x":1.5,\n"done":true}',
        b'\xef\xbb\xbf{"x":1.5,"done":true}',
        b'{"x":0}\n{"x":1.5,"done":true}\n',
    ],
)
def test_an_answer_that_is_not_one_line_becomes_one(data: bytes) -> None:
    assert answer_line(a_job(), {"x": 1.5, "done": True}, data) == b'{"x":1.5,"done":true' + TAG


def test_an_id_of_the_servers_own_gives_way() -> None:
    data = b'{"id":"theirs","body_sha256":1,"done":true}'
    line = answer_line(a_job(), json.loads(data), data)
    assert line == b'{"id":"a","body_sha256":"' + b"0" * 64 + b'","done":true}\n'


def test_a_record_is_answered_as_one() -> None:
    answer = json.loads(CHOICES)
    line = json.loads(answer_line(a_job(openai=True), answer, CHOICES, 200, "r"))
    assert list(line) == ["id", "custom_id", "response", "error", "body_sha256"]
    assert line["custom_id"] == "a"
    assert line["response"] == {"status_code": 200, "request_id": "r", "body": answer}
    assert line["error"] is None
    other = json.loads(answer_line(a_job("b", openai=True), answer, CHOICES))
    assert line["id"].startswith("batch_req_")
    assert line["id"] != other["id"]


def test_failures_have_ids_and_statuses() -> None:
    cut = IncompleteStream("cut", b"{")
    assert json.loads(failure_line(a_job(), cut)) == {
        "error": "cut",
        "partial": "{",
        "exit_status": 3,
        "id": "a",
        "body_sha256": "0" * 64,
    }
    assert json.loads(failure_line(Job(), RequestError("no file"))) == {"error": "no file", "exit_status": 2}
    line = json.loads(failure_line(a_job(openai=True), cut))
    assert line["response"] is None
    assert (line["error"], line["partial"], line["exit_status"]) == ({"code": "3", "message": "cut"}, "{", 3)
    line = json.loads(failure_line(a_job(openai=True), ResponseError("busy", 503)))
    assert line["response"] == {"status_code": 503, "request_id": "", "body": {"error": {"message": "busy"}}}
    assert (line["error"], line["exit_status"]) == ({"code": "503", "message": "busy"}, 75)


def test_what_was_written_can_be_read_again() -> None:
    job, answer = a_job(), {"done": True}
    for line in (answer_line(job, answer, b'{"done":true}'), answer_line(a_job(openai=True), answer, b"")):
        assert entry_of(json.loads(line)) == (job.key, job.body_sha256)
    for openai in (False, True):
        assert entry_of(json.loads(failure_line(a_job(openai=openai), StreamTimeout("late", "idle")))) is None


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"id": "a"},
        {"body_sha256": "0" * 64},
        {"id": "a", "body_sha256": 1},
        {"id": "a", "body_sha256": "0" * 63},
        {"id": "a", "body_sha256": "g" * 64},
        {"custom_id": None, "body_sha256": "0" * 64},
    ],
)
def test_what_batch_never_wrote_is_told(line: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not an answer that batch wrote"):
        entry_of(line)


def test_a_number_and_its_text_are_two_ids() -> None:
    assert len({key_of(id) for id in (1, "1", "", "é", -1)}) == 5
