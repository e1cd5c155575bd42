"""The objects of requests and responses: dicts whose items are attributes, with the SDK's model methods."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from ostream import ChatResponse, Chunk, GenerateResponse, Image, Message, Options, ResponseError, Tool
from ostream.protocol.ndjson import encode_line
from ostream.protocol.objects import Function, Logprob, ToolCall, wrap_chunk

RESPONSE: dict[str, Any] = {
    "model": "m",
    "created_at": "2026-01-02T03:04:05Z",
    "message": {
        "role": "assistant",
        "content": "Hi",
        "tool_calls": [{"id": "1", "function": {"index": 0, "name": "f", "arguments": {"items": 1, "x": {"y": 2}}}}],
        "new": [1],
    },
    "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}],
    "done": True,
    "logprobs": [{"token": "Hi", "logprob": -0.5, "bytes": [72], "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}],
    "remark": {"a": 1},
    "error": None,
}
CLASSES = [Chunk, ChatResponse, GenerateResponse, Message, ToolCall, Function, Logprob, Options, Tool, Tool.Function]
CLASSES += [Tool.Function.Parameters, Tool.Function.Parameters.Property, Image]


@pytest.mark.parametrize("make", [lambda decoded: wrap_chunk(ChatResponse, decoded), ChatResponse])
def test_items_are_attributes_at_every_level_of_the_api(make: Any) -> None:
    chunk = make(RESPONSE)
    assert (chunk.model, chunk.done, chunk.remark, chunk.error, chunk.text) == ("m", True, {"a": 1}, None, "Hi")
    assert (chunk.message.role, chunk.message.content, chunk.message.new) == ("assistant", "Hi", [1])
    (call,) = chunk.message.tool_calls
    assert (call.id, call.function.index, call.function.name) == ("1", 0, "f")
    assert type(call.function.arguments) is dict
    assert type(call.function.arguments["x"]) is dict
    (logprob,) = chunk.logprobs
    assert (logprob.token, logprob.logprob, logprob.bytes) == ("Hi", -0.5, [72])
    assert logprob.top_logprobs[0].bytes is None
    assert type(chunk.remark) is dict


def test_items_of_a_chunk_of_a_stream_are_objects_too() -> None:
    chunk = wrap_chunk(Chunk, RESPONSE)
    assert chunk["message"].content == "Hi"
    assert chunk["message"]["tool_calls"][0].function.name == chunk["tool_calls"][0]["function"].name == "f"
    assert chunk["logprobs"][0]["top_logprobs"][0].token == "Hi"
    assert type(RESPONSE["message"]) is dict


@pytest.mark.parametrize("cls", CLASSES)
def test_a_known_name_that_is_missing_is_none_and_any_other_an_attribute_error(cls: type[Any]) -> None:
    names = [name for klass in cls.__mro__ for name, value in vars(klass).items() if isinstance(value, property)]
    for name in set(names) - {"message", "arguments", "text", "type"}:
        assert not getattr(cls(), name), name
        assert getattr(cls({name: cls}), name) is cls, name
        assert name not in cls()
        assert name not in dir(dict)
    with pytest.raises(AttributeError, match=f"'{cls.__name__}' object has no attribute 'contents'"):
        getattr(cls(), "contents")  # noqa: B009
    assert not hasattr(cls(), "__dict__")


def test_chat_and_generate_responses_are_told_apart() -> None:
    generated = wrap_chunk(GenerateResponse, {"response": "a", "tool_calls": RESPONSE["tool_calls"]})
    assert not hasattr(generated, "message")
    assert not hasattr(ChatResponse(), "response")
    assert not isinstance(generated, ChatResponse)
    assert (generated.text, generated.tool_calls[0].function.name) == ("a", "f")


@pytest.mark.parametrize("chunk", [ChatResponse(), ChatResponse(message=None), ChatResponse(message={})])
def test_text_set_on_a_missing_message_is_kept(chunk: ChatResponse) -> None:
    assert chunk.message.content is None
    chunk.message.content = "Hi"
    assert chunk["message"] == {"content": "Hi"}
    assert ChatResponse(message="text").message == {}


def test_setting_an_attribute_sets_the_item() -> None:
    chunk: Any = wrap_chunk(ChatResponse, RESPONSE)
    chunk.done = False
    chunk.mine = 1
    chunk.message.tool_calls[0].function.name = "g"
    assert (chunk["done"], chunk["mine"]) == (False, 1)
    assert chunk["message"]["tool_calls"][0]["function"]["name"] == "g"
    assert RESPONSE["done"] is True


ARGUMENTS: list[tuple[Any, dict[str, Any]]] = [('{"a": 1}', {"a": 1}), ("", {}), (None, {}), ([], {})]


@pytest.mark.parametrize(("sent", "arguments"), ARGUMENTS)
def test_arguments_of_a_tool_call_are_a_dict(sent: Any, arguments: dict[str, Any]) -> None:
    call = {"function": {"name": "f", "arguments": sent}}
    wrapped = wrap_chunk(Chunk, {"message": {"tool_calls": [call]}})["message"]["tool_calls"][0]
    assert wrapped["function"]["arguments"] == wrapped.function.arguments == ToolCall(call).function.arguments
    assert wrapped.function.arguments == arguments
    assert Function().arguments == {}


def test_arguments_that_are_not_an_object_are_a_response_error() -> None:
    (call,) = wrap_chunk(Chunk, {"tool_calls": [{"function": {"name": "f", "arguments": '{"a"'}}]})["tool_calls"]
    assert call["function"]["arguments"] == '{"a"'
    with pytest.raises(ResponseError, match="tool call f: the arguments are not a JSON object"):
        call.function.arguments  # noqa: B018


@pytest.mark.parametrize("value", ["f", {"a": 1}, [1, None], [[[]]]])
def test_wrong_types_stay_as_they_were_sent_but_attributes_leave_them_out(value: Any) -> None:
    sent = {"message": {"tool_calls": value}, "tool_calls": value, "logprobs": value}
    chunk = wrap_chunk(GenerateResponse, sent)
    assert chunk == sent == Chunk(sent)
    assert not (chunk["message"].tool_calls or chunk.tool_calls or chunk.logprobs)
    call = {"function": value, "id": "1"}
    assert ToolCall(call).function.name is None
    assert call == ToolCall(call)
    assert not isinstance(Tool(call).function, (str, list))


def test_deeply_nested_log_probabilities_are_read_without_recursion() -> None:
    entry: dict[str, Any] = {"token": "a"}
    for _ in range(5000):
        entry = {"token": "a", "top_logprobs": [entry]}
    chunk = wrap_chunk(ChatResponse, {"logprobs": [entry]})
    assert chunk.logprobs[0].top_logprobs[0].top_logprobs[0].token == "a"  # type: ignore[index]


COPIES = [
    *(copy.copy, copy.deepcopy, ChatResponse.copy),
    *(lambda chunk, n=n: pickle.loads(pickle.dumps(chunk, n)) for n in range(5)),
]


@pytest.mark.parametrize("twin", COPIES)
def test_a_copy_is_equal_and_has_the_same_classes(twin: Any) -> None:
    chunk = wrap_chunk(ChatResponse, RESPONSE)
    other = twin(chunk)
    assert other == chunk == RESPONSE
    assert other is not chunk
    assert type(other) is ChatResponse
    assert type(other["message"]) is Message
    assert type(other["message"]["tool_calls"][0]["function"]) is Function
    assert type(other["logprobs"][0]["top_logprobs"][0]) is Logprob


def test_it_is_a_dict_of_exactly_what_was_sent() -> None:
    chunk = wrap_chunk(Chunk, RESPONSE)
    assert isinstance(chunk, dict)
    assert list(chunk) == list(RESPONSE)
    assert encode_line(chunk) == encode_line(RESPONSE)


def test_a_repr_is_short_and_names_class_and_items() -> None:
    chunk = wrap_chunk(ChatResponse, {**RESPONSE, "message": {"role": "assistant", "content": "x" * 1000}})
    assert repr(chunk) == f"ChatResponse(model='m', text={'x' * 60!r}…, done=True)"
    message = Message(role="user", content="Hi", images=[b"x" * 100], tool_calls=[ToolCall(id="1")])
    assert repr(message) == (
        f"Message(role='user', content='Hi', images=[b'{'x' * 57}…, tool_calls=[ToolCall(id='1')])"
    )


def test_model_dump_gives_plain_objects_with_the_fields_of_the_sdk() -> None:
    message = Message(role="assistant", tool_calls=[Message.ToolCall(function=Function(name="f", arguments={}))])
    dumped = message.model_dump()
    assert type(dumped["tool_calls"][0]) is dict
    assert dumped == {
        **dict.fromkeys(("content", "thinking", "images", "tool_name")),
        "role": "assistant",
        "tool_calls": [{"function": {"name": "f", "arguments": {}}}],
    }
    assert message.model_dump(exclude_unset=True) == message.model_dump(exclude_none=True, mode="json") == message
    assert message.model_dump(include={"role"}) == {"role": "assistant"}
    assert set(message.model_dump(exclude={"role", "tool_calls"}).values()) == {None}
    assert ChatResponse(message={"role": "x"}).model_dump()["eval_count"] is None


def test_objects_go_through_json_and_back() -> None:
    chunk = wrap_chunk(ChatResponse, RESPONSE)
    text = chunk.model_dump_json(exclude_none=True, exclude={"error"})
    assert json.loads(text) == {key: value for key, value in RESPONSE.items() if key != "error"}
    assert "\n" in chunk.model_dump_json(indent=2)
    assert Message.model_validate_json('{"role":"user"}') == Message.model_validate(Message(role="user"))

    class Model:
        def model_dump(self, exclude_none: bool) -> dict[str, Any]:
            return {"role": "user"}

    assert Message.model_validate(Model()) == {"role": "user"}


def test_a_tool_can_be_built_as_with_the_sdk(tmp_path: Path) -> None:
    parameters = Tool.Function.Parameters(
        properties={"a": Tool.Function.Parameters.Property(type="string", enum=None)}, required=["a"], defs={}
    )
    tool = Tool(function=Tool.Function(name="f", description=None, parameters=parameters))
    assert tool.function is not None and tool.function.name == "f"
    assert tool.model_dump(exclude_none=True) == {
        "type": "function",
        "function": {
            "name": "f",
            "parameters": {
                "type": "object",
                "$defs": {},
                "properties": {"a": {"type": "string"}},
                "required": ["a"],
            },
        },
    }
    same = Tool(tool.model_dump(exclude_none=True))
    assert same.function is not None and same.function.parameters is not None
    assert same.function.parameters.required == ["a"]
    assert same.function.parameters.properties is not None
    assert same.function.parameters.properties["a"].type == "string"
    assert same.model_dump(exclude_none=True) == tool.model_dump(exclude_none=True)
    (tmp_path / "image").write_bytes(b"\0\xff")
    assert Image(value=tmp_path / "image").model_dump() == Image(value="AP8=").model_dump() == "AP8="


@pytest.mark.tools
def test_objects_are_fields_of_pydantic_models() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Answer", message=(Message, ...), response=(ChatResponse, ...))
    answer = model(message={"role": "user"}, response=wrap_chunk(ChatResponse, RESPONSE))
    assert (type(answer.message), type(answer.response)) == (Message, ChatResponse)
    assert json.loads(answer.model_dump_json())["response"] == RESPONSE
    assert model.model_json_schema()["properties"]["message"]["type"] == "object"
    with pytest.raises(ValueError, match="dictionary"):
        model(message=1, response={})
