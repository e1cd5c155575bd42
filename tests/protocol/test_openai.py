"""Answers in the format of OpenAI's batch files."""

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


SAID = {"role": "assistant", "content": "Hi"}
CHUNKS = [
    # the body of the response; of the chunk, what it says
    (completion(message=SAID, finish_reason="stop"), {"content": "Hi", "done": True, "done_reason": "stop"}),
    (completion(message={**SAID, "reasoning": "Hm"}), {"content": "Hi", "thinking": "Hm", "done": True}),
    (completion(text="Hi", finish_reason="length"), {"content": "Hi", "done": True, "done_reason": "length"}),
    ({"choices": []}, {"content": None, "done": True}),
    ({"choices": [None]}, {"content": None, "done": True}),
    ({"message": SAID, "done": True}, {"content": "Hi", "done": True}),
    ({"message": SAID}, {"content": "Hi", "done": None}),
    ({}, {"done": None}),
    (None, {"done": None}),
]


@pytest.mark.parametrize(("body", "said"), CHUNKS)
def test_an_answer_is_the_chunk_it_would_be_here(body: Any, said: dict[str, Any]) -> None:
    chunk = chunk_of(record(body))
    assert chunk["id"] == "a"
    flat = {**chunk, **chunk.get("message", {})}
    assert {name: flat.get(name) for name in said} == said


@pytest.mark.parametrize("response", [None, [], "x"])
def test_without_a_response_there_is_no_answer(response: Any) -> None:
    assert chunk_of(record({}, response=response)) == {"id": "a"}


def test_what_it_cost_has_our_names() -> None:
    assert counts(completion()) == {"prompt_eval_count": 3, "eval_count": 4}
    assert counts({"usage": None}) == {}


ANSWERS = [record(completion(message=SAID, finish_reason="stop")), record(completion(text="Ho"), custom_id="b")]
LINES = b"".join(json.dumps(each).encode() + b"\n" for each in ANSWERS)


def test_the_filters_read_them() -> None:
    assert call("extract-content", stdin=LINES).stdout == b"Hi\nHo\n"
    texts = call("extract-content", "--json", stdin=LINES).stdout.splitlines()
    assert list(map(json.loads, texts)) == [{"id": "a", "content": "Hi"}, {"id": "b", "content": "Ho"}]
    assert json.loads(call("stats", "--summary", "--json", stdin=LINES).stdout)["complete"] == 2
    assert b"Hi" in call("render", stdin=LINES).stdout
    assert call("collect", stdin=LINES).stdout.count(b"\n") == 2
    passed = call("extract-content", "-w", "/dev/null", stdin=LINES)
    assert (passed.returncode, passed.stdout) == (0, LINES)


def test_one_without_an_answer_is_incomplete() -> None:
    line = json.dumps(record(None)).encode() + b"\n"
    assert call("extract-content", stdin=line).returncode == 3
