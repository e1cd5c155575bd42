"""What a chunk says, in both endpoints' shapes and every age of them; and the dict that answers attributes."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostream.protocol.chunk import Chunk, Function, Logprob, Message, ToolCall, content, thinking, tool_calls
from ostream.protocol.ndjson import decode_line, encode_line

CALL = {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"x": 1}}}
BARE = {"function": {"name": "f", "arguments": {"x": 1}}}


def called(arguments: Any) -> dict[str, Any]:
    return {"function": {"name": "f", "arguments": arguments}}


VIEWS: list[tuple[dict[str, Any], str, str, list[Any]]] = [
    # chunk, content, thinking, tool calls
    ({"message": {"role": "assistant", "content": "Hi"}, "done": False}, "Hi", "", []),
    ({"response": "Hi", "done": False}, "Hi", "", []),
    # both at once, and with the done
    ({"message": {"content": "a", "thinking": "t"}, "done": False}, "a", "t", []),
    ({"response": "a", "thinking": "t", "done": True}, "a", "t", []),
    ({"message": {"content": "a", "thinking": "t", "tool_calls": [CALL]}, "done": True}, "a", "t", [CALL]),
    ({"response": "", "tool_calls": [CALL], "done": True}, "", "", [CALL]),
    # several calls with the same index
    ({"message": {"content": "", "tool_calls": [CALL, CALL]}}, "", "", [CALL, CALL]),
    # no id, no index, a name nobody offered
    ({"message": {"tool_calls": [BARE]}}, "", "", [BARE]),
    # the final object without message or response, null and other types in their place
    ({"done": True}, "", "", []),
    ({}, "", "", []),
    ({"message": None, "done": True}, "", "", []),
    ({"message": None, "response": "Hi"}, "Hi", "", []),
    ({"message": {"content": None, "thinking": None, "tool_calls": None, "images": None}}, "", "", []),
    ({"response": None, "thinking": None, "tool_calls": None}, "", "", []),
    ({"message": {"content": ["Hi"], "thinking": 1, "tool_calls": {"f": 1}}}, "", "", []),
    ({"message": "Hi", "response": 1, "thinking": {}, "tool_calls": "f"}, "", "", []),
    ({"message": {"tool_calls": ["f", None, CALL]}}, "", "", [CALL]),
    ({"message": {"tool_calls": [{"function": "f"}, {}]}}, "", "", [{"function": "f"}, {}]),
    # log-probabilities alone
    ({"message": {"content": ""}, "logprobs": [{"token": "", "logprob": 0}]}, "", "", []),
]


@pytest.mark.parametrize(("chunk", "text", "reasoning", "calls"), VIEWS)
@pytest.mark.parametrize("dressed", [False, True])
def test_the_views_take_both_endpoints_and_all_ages(
    chunk: dict[str, Any], text: str, reasoning: str, calls: list[Any], dressed: bool
) -> None:
    before = json.dumps(chunk)
    seen = Chunk(chunk) if dressed else chunk
    assert (content(seen), thinking(seen), tool_calls(seen)) == (text, reasoning, calls)
    assert json.dumps(seen) == json.dumps(chunk) == before


ARGUMENTS = [
    # as sent, as given
    ({"x": 1}, {"x": 1}),
    ({}, {}),
    ('{"x": 1}', {"x": 1}),
    ("{}", {}),
    (None, {}),
    ('{"x": ', '{"x": '),  # what can't be an object stays what it is
    ("", {}),
    (" ", {}),
    ("null", {}),
    ("[]", {}),
    ([], {}),
    ("[1]", "[1]"),
    ("3", "3"),
    ('{"x": NaN}', '{"x": NaN}'),
    ('{"x": 1e999}', {"x": 1.7976931348623157e308}),
    ('{"x": ' + "[" * 100_000, '{"x": ' + "[" * 100_000),
]


@pytest.mark.parametrize(("sent", "given"), ARGUMENTS, ids=[repr(sent)[:20] for sent, _ in ARGUMENTS])
def test_arguments_are_an_object_where_they_can_be_one(sent: Any, given: Any) -> None:
    chunk = {"message": {"tool_calls": [{**called(sent), "id": "1"}]}}
    assert tool_calls(chunk) == [{**called(given), "id": "1"}]
    assert chunk == {"message": {"tool_calls": [{**called(sent), "id": "1"}]}}


def test_missing_arguments_are_none_at_all() -> None:
    assert tool_calls({"tool_calls": [{"function": {"name": "f"}}]}) == [called({})]


KEYS = st.sampled_from(["message", "content", "response", "thinking", "tool_calls", "function", "arguments", "done"])
SHAPES = st.dictionaries(
    KEYS,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["", "a", '{"x":NaN}', '{"x":1}', "[", "{"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    ),
)


@settings(deadline=None)
@given(SHAPES)
def test_the_views_never_raise_and_give_what_can_be_written_out(chunk: dict[str, Any]) -> None:
    for seen in (chunk, Chunk(chunk)):
        assert isinstance(content(seen), str)
        assert isinstance(thinking(seen), str)
        calls = {"tool_calls": tool_calls(seen)}
        assert decode_line(encode_line(calls)) == calls
    assert Chunk(chunk) == chunk


WHOLE: dict[str, Any] = {
    "model": "m",
    "created_at": "2026-01-02T03:04:05Z",
    "message": {
        "role": "assistant",
        "content": "Hi",
        "tool_calls": [{"id": "1", "function": {"index": 0, "name": "f", "arguments": {"items": 1, "x": {"y": 2}}}}],
        "new": [1],
    },
    "tool_calls": [BARE],
    "done": True,
    "logprobs": [{"token": "Hi", "logprob": -0.5, "bytes": [72], "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}],
    "remark": {"a": 1},
    "error": None,
}


def test_attributes_answer_at_every_level_the_api_defines() -> None:
    chunk = Chunk(WHOLE)
    assert (chunk.model, chunk.done, chunk.remark, chunk.error) == ("m", True, {"a": 1}, None)
    assert (chunk.message.role, chunk.message.content, chunk.message.new) == ("assistant", "Hi", [1])
    assert chunk["message"]["content"] == "Hi"
    (call,) = chunk.message.tool_calls
    assert (call.id, call.function.index, call.function.name) == ("1", 0, "f")
    assert type(call.function.arguments) is dict
    assert type(call.function.arguments["x"]) is dict
    assert chunk.tool_calls[0].function.name == "f"
    (logprob,) = chunk.logprobs
    assert (logprob.token, logprob.logprob, logprob.bytes) == ("Hi", -0.5, [72])
    assert logprob.top_logprobs[0].bytes is None
    assert type(chunk.remark) is dict


KNOWN: list[tuple[type, list[str]]] = [
    (
        Chunk,
        [
            *("model", "created_at", "response", "thinking", "done", "done_reason", "context", "tool_calls"),
            *("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count"),
            *("eval_duration", "logprobs", "remote_model", "remote_host", "image", "completed", "total"),
        ],
    ),
    (Message, ["role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id"]),
    (ToolCall, ["id", "function"]),
    (Function, ["name", "arguments", "index"]),
    (Logprob, ["token", "logprob", "bytes", "top_logprobs"]),
]


@pytest.mark.parametrize(("cls", "names"), KNOWN)
def test_a_name_the_api_knows_is_none_when_left_out_and_any_other_an_attribute_error(
    cls: type, names: list[str]
) -> None:
    for name in names:
        assert getattr(cls(), name) is None, name
        assert getattr(cls({name: 0}), name) == 0, name
        assert name not in cls()
    with pytest.raises(AttributeError, match=f"{cls.__name__} has no 'contents'"):
        getattr(cls(), "contents")  # noqa: B009
    assert not hasattr(cls(), "__dict__")


@pytest.mark.parametrize("cls", [cls for cls, _ in KNOWN])
def test_no_field_of_the_api_hides_a_method_of_dict(cls: type) -> None:
    answered = {name for name, value in vars(cls).items() if isinstance(value, property)}
    assert answered
    assert answered.isdisjoint(dir(dict))


@pytest.mark.parametrize("chunk", [Chunk(), Chunk(response="Hi"), Chunk(message=None)])
def test_the_message_that_was_left_out_is_an_empty_one(chunk: Chunk) -> None:
    assert type(chunk.message) is Message
    assert chunk.message == {}
    assert chunk.message.content is None


def test_setting_an_attribute_sets_the_item() -> None:
    chunk = Chunk(WHOLE)
    chunk.done = False
    chunk.mine = 1
    chunk.message.content = "Ho"
    chunk.message.tool_calls[0].function.name = "g"
    assert (chunk["done"], chunk["mine"], chunk["message"]["content"]) == (False, 1, "Ho")
    assert chunk["message"]["tool_calls"][0]["function"]["name"] == "g"
    chunk["model"] = "other"
    assert chunk.model == "other"
    assert WHOLE["message"]["content"] == "Hi"  # what it was made of is as it was


@pytest.mark.parametrize(
    "twin",
    [copy.copy, copy.deepcopy, Chunk]
    + [
        lambda chunk, protocol=n: pickle.loads(pickle.dumps(chunk, protocol))
        for n in range(pickle.HIGHEST_PROTOCOL + 1)
    ],
)
def test_a_copy_is_equal_and_answers_as_well(twin: Any) -> None:
    chunk = Chunk(WHOLE)
    other = twin(chunk)
    assert other == chunk == WHOLE
    assert other is not chunk
    assert type(other) is Chunk
    assert type(other.message) is Message
    assert type(other.message.tool_calls[0].function) is Function
    assert other.logprobs[0].top_logprobs[0].token == "Hi"


def test_it_is_a_dict_of_exactly_what_was_sent() -> None:
    chunk = Chunk(WHOLE)
    assert isinstance(chunk, dict)
    assert json.dumps(chunk) == json.dumps(WHOLE)
    assert list(chunk) == list(WHOLE)
    assert encode_line(chunk) == encode_line(WHOLE)
    assert dict(chunk.items()) == {**chunk} == WHOLE
