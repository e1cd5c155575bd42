"""Records of OpenAI batch output files as chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ostream.protocol.openai import chunk_of, counts
from tests.process import call


def record(body: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": {"status_code": 200, "body": body},
        "error": None,
        **more,
    }


def completion(**choice: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}


MESSAGE = {"role": "assistant", "content": "Hi"}
CHUNKS = [
    # body of the response, items of the chunk or its message
    (completion(message=MESSAGE, finish_reason="stop"), {"content": "Hi", "done": True, "done_reason": "stop"}),
    (completion(message={**MESSAGE, "reasoning": "Hm"}), {"content": "Hi", "thinking": "Hm", "done": True}),
    (completion(message={**MESSAGE, "reasoning_content": "Hm"}), {"content": "Hi", "thinking": "Hm", "done": True}),
    (completion(text="Hi", finish_reason="length"), {"content": "Hi", "done": True, "done_reason": "length"}),
    ({"choices": []}, {"content": None, "done": True}),
    ({"choices": [None]}, {"content": None, "done": True}),
    ({"message": MESSAGE, "done": True}, {"content": "Hi", "done": True}),
    ({"message": MESSAGE}, {"content": "Hi", "done": None}),
    ({}, {"done": None}),
    (None, {"done": None}),
]


@pytest.mark.parametrize(("body", "expected"), CHUNKS)
def test_a_record_is_the_chunk_of_a_complete_response(body: Any, expected: dict[str, Any]) -> None:
    chunk = chunk_of(record(body))
    assert chunk["id"] == "a"
    flat = {**chunk, **chunk.get("message", {})}
    assert {name: flat.get(name) for name in expected} == expected


@pytest.mark.parametrize("response", [None, [], "x"])
def test_a_record_without_a_response_has_only_an_id(response: Any) -> None:
    assert chunk_of(record({}, response=response)) == {"id": "a"}


def test_counts_have_the_names_of_ollama() -> None:
    assert counts(completion()) == {"prompt_eval_count": 3, "eval_count": 4}
    cached = {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
    assert counts({"usage": cached})["prompt_eval_cached_count"] == 2
    assert counts({"usage": None}) == {}


ANSWERS = [record(completion(message=MESSAGE, finish_reason="stop")), record(completion(text="Ho"), custom_id="b")]
LINES = b"".join(json.dumps(each).encode() + b"\n" for each in ANSWERS)


def test_filters_read_records() -> None:
    assert call("extract-content", stdin=LINES).stdout == b"Hi\nHo\n"
    texts = call("extract-content", "--json", stdin=LINES).stdout.splitlines()
    assert list(map(json.loads, texts)) == [{"id": "a", "content": "Hi"}, {"id": "b", "content": "Ho"}]
    assert json.loads(call("stats", "--summary", "--json", stdin=LINES).stdout)["complete"] == 2
    assert b"Hi" in call("render", stdin=LINES).stdout
    assert call("collect", stdin=LINES).stdout.count(b"\n") == 2
    passed = call("extract-content", "-w", "/dev/null", stdin=LINES)
    assert (passed.returncode, passed.stdout) == (0, LINES)


def test_an_http_error_inside_a_record_is_a_failure_with_its_id() -> None:
    error = {"message": "context too long", "type": "invalid_request_error", "code": "x", "param": None}
    line = record(None, response={"status_code": 400, "body": {"error": error}})
    stream = json.dumps(line).encode() + b"\n"
    result = call("extract-content", "-w", "/dev/null", stdin=stream)
    message = 'extract-content: standard input:1: id "a": context too long (status code: 400)\n'
    assert (result.returncode, result.stderr.decode()) == (1, message)
    assert json.loads(result.stdout) == {**line, "exit_status": 1}


def test_a_record_without_a_response_is_incomplete() -> None:
    line = json.dumps(record(None)).encode() + b"\n"
    assert call("extract-content", stdin=line).returncode == 3
