"""The views of a chunk, for both endpoints and every age of server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ostream.protocol.chunk import content, thinking, tool_calls
from ostream.protocol.objects import Chunk, wrap_chunk

CALL = {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"x": 1}}}
BARE = {"function": {"name": "f", "arguments": {"x": 1}}}


def called(arguments: Any) -> dict[str, Any]:
    return {"function": {"name": "f", "arguments": arguments}}


VIEWS: list[tuple[dict[str, Any], str, str, list[Any]]] = [
    # chunk, content, thinking, tool calls
    ({"message": {"role": "assistant", "content": "Hi"}, "done": False}, "Hi", "", []),
    ({"response": "Hi", "done": False}, "Hi", "", []),
    # both at once, and with the done
    ({"response": "a", "thinking": "t", "done": True}, "a", "t", []),
    ({"message": {"content": "a", "thinking": "t", "tool_calls": [CALL]}, "done": True}, "a", "t", [CALL]),
    ({"response": "", "tool_calls": [CALL], "done": True}, "", "", [CALL]),
    # no id and no index; no arguments
    ({"message": {"tool_calls": [BARE]}}, "", "", [BARE]),
    # the final object without message or response, null and other types in their place
    ({"done": True}, "", "", []),
    ({"message": None, "response": "Hi"}, "Hi", "", []),
    ({"message": {"content": None, "thinking": None, "tool_calls": None, "images": None}}, "", "", []),
    ({"response": None, "thinking": None, "tool_calls": None}, "", "", []),
    # what is not text is its JSON, so that nothing received is lost
    ({"message": {"content": ["é"], "thinking": 1, "tool_calls": {"f": 1}}}, '["é"]', "1", []),
    ({"message": "Hi", "response": 42, "thinking": [], "tool_calls": "f"}, "42", "", []),
    ({"response": False, "thinking": True}, "false", "true", []),
    ({"message": {"tool_calls": ["f", None, CALL]}}, "", "", [CALL]),
    ({"message": {"tool_calls": [{"function": "f"}, {}]}}, "", "", [{"function": "f"}, {}]),
    # log-probabilities alone
    ({"message": {"content": ""}, "logprobs": [{"token": "", "logprob": 0}]}, "", "", []),
]


@pytest.mark.parametrize(("chunk", "text", "reasoning", "calls"), VIEWS)
@pytest.mark.parametrize("wrap", [dict, lambda chunk: wrap_chunk(Chunk, chunk)], ids=["dict", "Chunk"])
def test_the_views_read_both_endpoints_and_every_age_of_server(
    chunk: dict[str, Any], text: str, reasoning: str, calls: list[Any], wrap: Any
) -> None:
    before = json.dumps(chunk)
    seen = wrap(chunk)
    assert (content(seen), thinking(seen), tool_calls(seen)) == (text, reasoning, calls)
    assert json.dumps(seen) == json.dumps(chunk) == before


ARGUMENTS = [
    # as sent, as given
    ({"x": 1}, {"x": 1}),
    ('{"x": 1}', {"x": 1}),
    (None, {}),
    ('{"x": ', '{"x": '),  # what can't be an object stays what it is
    ("", {}),
    ("null", {}),
    ("[]", {}),
    ([], {}),
    ("[1]", "[1]"),
    ('{"x": NaN}', '{"x": NaN}'),
    ('{"x": 1e999}', {"x": 1.7976931348623157e308}),
    ('{"x": ' + "[" * 100_000, '{"x": ' + "[" * 100_000),
]


@pytest.mark.parametrize(("sent", "given"), ARGUMENTS, ids=[repr(sent)[:20] for sent, _ in ARGUMENTS])
def test_tool_call_arguments_are_a_dict_if_they_can_be_one(sent: Any, given: Any) -> None:
    chunk = {"message": {"tool_calls": [{**called(sent), "id": "1"}]}}
    assert tool_calls(chunk) == [{**called(given), "id": "1"}]
    assert chunk == {"message": {"tool_calls": [{**called(sent), "id": "1"}]}}


def test_content_nested_too_deeply_is_no_text() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    assert content({"response": nested}) == ""
