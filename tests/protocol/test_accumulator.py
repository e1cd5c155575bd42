"""Folding chunks into a response."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ostream.protocol.accumulator import Accumulator, parse_tool_call, tool_message


def call(name: str, index: int | None = 0) -> dict[str, Any]:
    return {"function": {**({} if index is None else {"index": index}), "name": name, "arguments": {}}}


def fold(*chunks: dict[str, Any]) -> Accumulator:
    accumulator = Accumulator()
    before = copy.deepcopy(chunks)
    for chunk in chunks:
        accumulator.add(chunk)
    assert chunks == before
    return accumulator


def chunk_of(**message: Any) -> dict[str, Any]:
    return {"model": "m", "message": {"role": "assistant", **message}, "done": False}


def end_of(**message: Any) -> dict[str, Any]:
    return {**chunk_of(**message), "done": True, "done_reason": "stop"}


END = end_of(content="")
LOGPROBS = [{"token": "a", "logprob": 0}, {"token": "", "logprob": -1.5}]
FOLDED: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    # chunks, the response
    ([END], END),
    ([chunk_of(content="a"), chunk_of(content="b"), END], end_of(content="ab")),
    # thinking and content in one chunk, text and calls with the done
    (
        [chunk_of(content="", thinking="t"), end_of(content="a", thinking="u", tool_calls=[call("f")])],
        end_of(content="a", thinking="tu", tool_calls=[call("f")]),
    ),
    # equal indexes are two calls, over chunks and within one
    (
        [chunk_of(content="", tool_calls=[call("f")] * 2), chunk_of(content="", tool_calls=[call("g", None)]), END],
        end_of(content="", tool_calls=[call("f"), call("f"), call("g", None)]),
    ),
    # a final object without message; null images in all the others
    (
        [chunk_of(content="a", images=None), {"model": "m", "done": True}],
        {**chunk_of(content="a", images=None), "done": True},
    ),
    # /api/generate, and a final object without response
    (
        [{"model": "m", "response": "a", "done": False}, {"model": "m", "done": True, "context": [1]}],
        {"model": "m", "response": "a", "done": True, "context": [1]},
    ),
    (
        [{"response": "", "thinking": "t", "done": False}, {"response": "a", "tool_calls": [call("f")], "done": True}],
        {"response": "a", "thinking": "t", "tool_calls": [call("f")], "done": True},
    ),
    # nothing but thinking so far, from a server that leaves an empty response out
    ([{"thinking": "t", "done": False}], {"done": False, "response": "", "thinking": "t"}),
    # for every other key, the last value is kept
    (
        [{"created_at": "1", "response": "a", "done": False}, {"created_at": "2", "response": "", "done": True}],
        {"created_at": "2", "response": "a", "done": True},
    ),
    # chunks of log-probabilities alone, null and missing ones
    (
        [
            *({"response": text, "done": False, "logprobs": [entry]} for text, entry in zip(("a", ""), LOGPROBS)),
            {"response": "", "done": False},
            {"response": "", "done": True, "logprobs": None},
        ],
        {"response": "a", "done": True, "logprobs": LOGPROBS},
    ),
    # a number is text, other wrong types are nothing
    ([chunk_of(content=1, thinking=[], tool_calls="f")], {**chunk_of(content="1"), "done": False}),
]


@pytest.mark.parametrize(("chunks", "response"), FOLDED)
def test_chunks_fold_into_what_stream_false_would_give(chunks: list[dict[str, Any]], response: dict[str, Any]) -> None:
    folded = fold(*chunks).response
    assert folded == response
    assert list(folded) == list(response)


DONE = [
    # the `done` of two chunks, is it done
    ((False, True), True),
    ((True, False), False),  # a chunk after a done begins a new response
    ((False, "true"), False),
    ((False, 1), False),
    ((False, None), False),
]


@pytest.mark.parametrize(("marks", "done"), DONE)
def test_only_a_done_of_true_is_the_end(marks: tuple[Any, Any], done: bool) -> None:
    accumulator = fold(*({"response": "", "done": mark} for mark in marks))
    assert accumulator.done is done
    assert accumulator.chunks == 2


@pytest.mark.parametrize("role", ["system", 5, None])
def test_the_role_is_always_assistant(role: Any) -> None:
    assert fold(chunk_of(role=role, content="a")).message == {"role": "assistant", "content": "a"}
    assert fold({"response": "a", "done": True}).message == {"role": "assistant", "content": "a"}


def test_it_is_empty_before_the_first_chunk() -> None:
    nothing = Accumulator()
    assert not (nothing.chunks or nothing.done or nothing.content or nothing.thinking or nothing.tool_calls)
    assert nothing.message == {"role": "assistant", "content": ""}


def test_returned_values_do_not_change_with_the_next_chunk() -> None:
    accumulator = fold(chunk_of(content="a", tool_calls=[call("f")]))
    early = (accumulator.message, accumulator.response, accumulator.tool_calls)
    before = copy.deepcopy(early)
    accumulator.add(chunk_of(content="b", tool_calls=[call("g")]))
    accumulator.tool_calls.append(call("h"))
    assert early == before
    assert [each["function"]["name"] for each in accumulator.tool_calls] == ["f", "g"]


BLOCKS: list[list[dict[str, Any]]] = [
    [chunk_of(content="a"), chunk_of(content="b"), chunk_of(content="c")],
    [chunk_of(content="a"), chunk_of(content="b", thinking="c"), chunk_of(content="d")],
    [chunk_of(content="a"), {**chunk_of(content="b"), "logprobs": [1]}, {**chunk_of(content="c"), "logprobs": [2]}],
    [{**chunk_of(content="a"), "extra": 1}, chunk_of(content="b")],
    [chunk_of(content="a", extra=1), chunk_of(content="b")],
    [chunk_of(content="a"), chunk_of(content=1)],
    [{"response": "a", "message": {"content": "b"}}] * 2,
    [{"response": "a", "tool_calls": [call("f")]}] * 2,
    [{"response": "a"}, {"response": "b"}],
    [{"response": "a"}, {"response": None}],
    [{"message": "content"}] * 2,
    [{"message": ["content"]}] * 2,
    [{"done": True}] * 2,
]


@pytest.mark.parametrize("chunks", BLOCKS)
def test_a_block_of_chunks_is_added_like_each_of_them(chunks: list[dict[str, Any]]) -> None:
    together = Accumulator()
    together.add_all(chunks)
    assert together.response == fold(*chunks).response
    assert (together.chunks, together.done) == (len(chunks), fold(*chunks).done)
    assert together.message == fold(*chunks).message


CALLS: list[tuple[dict[str, Any], str, Any, dict[str, Any]]] = [
    # a call, its name, its arguments, what answers it beside role and content
    ({"function": {"name": "f", "arguments": {"a": 1}}}, "f", {"a": 1}, {"tool_name": "f"}),
    ({"id": "c", "function": {"name": "f"}}, "f", None, {"tool_name": "f", "tool_call_id": "c"}),
    ({"id": 5, "function": {"name": 5}}, "", None, {"tool_name": ""}),
    ({"function": "f"}, "", None, {"tool_name": ""}),
    ({}, "", None, {"tool_name": ""}),
]


@pytest.mark.parametrize(("call", "name", "arguments", "rest"), CALLS)
def test_a_tool_message_has_the_name_and_the_id_of_the_call(
    call: dict[str, Any], name: str, arguments: Any, rest: dict[str, Any]
) -> None:
    assert parse_tool_call(call) == (name, arguments)
    assert tool_message(call, "x") == {"role": "tool", "content": "x", **rest}
