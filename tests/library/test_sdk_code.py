"""Code written for the official SDK, run with the import changed, on recordings of a real server.

The use of the API is that of the SDK's public examples for chat and generate; the code is ours.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List

import pytest

from ostream import ChatResponse, Client, ResponseError, chat, generate
from ostream.recording.format import JSON
from tests.server import body_of, serve

SKY = 'The sky is blue, naïve café — 青空 😀\n<b> & "quoted"\t\\ \u2028</b> done.'
MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]


def add_two_numbers(a: int, b: int) -> int:
    """
    Add two numbers

    Args:
      a (int): The first number
      b (int): The second number

    Returns:
      int: The sum of the two numbers
    """
    return int(a) + int(b)


def get_weather(city: str, days: int = 1, deep: Any = None) -> str:
    """The weather of a city."""
    return f"sunny in {city} for {days} days"


def get_time(tz: str) -> str:
    """The time in a zone."""
    return f"noon in {tz}"


@pytest.fixture
def recorded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[List[Dict[str, Any]]]:
    """A server that answers the requests with these recordings, in turn; gives the bodies it was sent."""
    import json

    names = list(request.param)
    asked: List[Dict[str, Any]] = []

    def respond(exchange: Any) -> None:
        asked.append(json.loads(exchange.body))
        name = names.pop(0)
        if asked[-1].get("stream") is False or name.endswith("nostream"):
            exchange.send_body(404 if "unknown" in name else 200, JSON, body_of(name))
            return
        exchange.head(200, "application/x-ndjson")
        for line in body_of(name).splitlines(keepends=True):
            exchange.chunk(line)
        exchange.end()

    with serve(respond) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield asked


def use(*names: str) -> Any:
    return pytest.mark.parametrize("recorded", [names], indirect=True)


@use("chat-stream")
def test_the_chat_loop(recorded: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stream = chat(model="qwen3", messages=MESSAGES, stream=True)
    for chunk in stream:
        print(chunk.message.content, end="", flush=True)
    assert capsys.readouterr().out == SKY


@use("chat-stream")
def test_the_chat_loop_with_keys(recorded: Any) -> None:
    parts = [part["message"]["content"] for part in chat("qwen3", messages=MESSAGES, stream=True)]
    assert "".join(parts) == SKY


@use("chat-think-true", "chat-history")
def test_the_thinking_loop_builds_the_new_messages(recorded: Any) -> None:
    stream = chat(model="qwen3", messages=MESSAGES, think=True, stream=True)
    in_thinking = False
    content = ""
    thinking = ""
    for chunk in stream:
        if chunk.message.thinking:
            if not in_thinking:
                in_thinking = True
            thinking += chunk.message.thinking
        elif chunk.message.content:
            if in_thinking:
                in_thinking = False
            content += chunk.message.content
    new_messages = [*MESSAGES, {"role": "assistant", "thinking": thinking, "content": content}]
    assert new_messages[-1] == {"role": "assistant", "thinking": "Hmm let me see…\n\n", "content": "The answer is: 42!"}
    assert stream.message == new_messages[-1]

    chat("qwen3", new_messages)
    assert recorded[1]["messages"] == new_messages
    assert recorded[0]["think"] is True


@use("chat-nostream", "chat-nostream")
def test_a_whole_answer_in_both_styles(recorded: Any) -> None:
    response: ChatResponse = chat(model="qwen3", messages=MESSAGES)
    assert response["message"]["content"] == SKY
    assert response.message.content == SKY
    assert recorded[0]["stream"] is False
    response = Client().chat(model="qwen3", messages=MESSAGES)
    assert response.eval_count / (response.eval_duration / 1_000_000_000) == pytest.approx(
        24e9 / response["eval_duration"]
    )


@use("chat-history")
def test_a_history(recorded: Any) -> None:
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": "Because of the air."},
        {"role": "user", "content": "More?"},
    ]
    response = chat("qwen3", messages=messages)
    messages += [{"role": "user", "content": "x"}, {"role": "assistant", "content": response.message.content}]
    assert recorded[0]["messages"] == messages[:3]


@use("chat-tools-text", "chat-tools-followup")
def test_several_tools_and_their_answers(recorded: Any) -> None:
    tools = {"get_weather": get_weather, "get_time": get_time}
    messages: List[Any] = [{"role": "user", "content": "weather and time?"}]
    response = chat("qwen3", messages=messages, tools=[get_weather, get_time], stream=True)
    calls = []
    for chunk in response:
        calls += chunk.message.tool_calls or []
    messages.append(response.message)
    for call in calls:
        function = tools[call.function.name]
        output = function(**call.function.arguments)
        messages.append({"role": "tool", "content": str(output), "tool_name": call.function.name})
    assert [message["tool_name"] for message in messages[2:]] == [call.function.name for call in calls]
    assert len(calls) == 2
    final = "".join(chunk.message.content for chunk in chat("qwen3", messages=messages, stream=True))
    assert final
    assert recorded[1]["messages"][1]["tool_calls"] == [dict(call) for call in calls]


@use("chat-tools-nostream")
def test_a_function_as_a_tool(recorded: Any) -> None:
    response = chat("qwen3", messages=MESSAGES, tools=[add_two_numbers])
    assert response.message.tool_calls[0].function.name == "get_weather"
    function = recorded[0]["tools"][0]["function"]
    assert function["name"] == "add_two_numbers"
    assert function["description"] == "Add two numbers"
    assert function["parameters"]["properties"]["a"] == {"type": "integer", "description": "The first number"}
    assert function["parameters"]["required"] == ["a", "b"]


@use("chat-format-json")
def test_a_structured_answer(recorded: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    stream = chat("qwen3", messages=MESSAGES, format=schema, options={"temperature": 0}, stream=True)
    text = "".join(chunk.message.content for chunk in stream)
    assert text.startswith("{")
    assert recorded[0]["format"] == schema
    assert recorded[0]["options"] == {"temperature": 0}


@use("chat-logprobs")
def test_log_probabilities(recorded: Any) -> None:
    entries = []
    for chunk in chat("qwen3", messages=MESSAGES, logprobs=True, top_logprobs=2, stream=True):
        entries += chunk.logprobs or []
    assert [entry.token for entry in entries][:2] == ["The", " sky"]
    assert all(entry.logprob <= 0 and len(entry.top_logprobs) == 2 for entry in entries)
    assert all(isinstance(alternative.token, str) for entry in entries for alternative in entry["top_logprobs"])


@use("generate-stream", "generate-nostream")
def test_generate(recorded: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for part in generate("qwen3", "Why is the sky blue?", stream=True):
        print(part["response"], end="", flush=True)
    assert capsys.readouterr().out == SKY
    assert generate(model="qwen3", prompt="Why is the sky blue?").response == SKY


@use("generate-stream")
def test_filling_in_the_middle(recorded: Any) -> None:
    generate(
        model="codellama:7b-code",
        prompt="def remove_non_ascii(s: str) -> str:",
        suffix="return result",
        options={"num_predict": 128, "temperature": 0, "top_p": 0.9, "stop": ["<EOT>"]},
    )
    assert recorded[0]["suffix"] == "return result"


@use("generate-stream", "generate-stream-second-turn")
def test_a_conversation_by_context(recorded: Any) -> None:
    context = None
    for prompt in ("Why is the sky blue?", "And at night?"):
        for chunk in generate("qwen3", prompt, context=context, stream=True):
            if chunk.context:
                context = chunk.context
    assert "context" not in recorded[0]
    assert recorded[1]["context"]
    assert context is not None and context[: len(recorded[1]["context"])] == recorded[1]["context"]


def test_a_server_that_puts_context_and_metrics_on_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        b'{"response":"a","done":false,"context":[1],"eval_count":1,"eval_duration":100000000}\n',
        b'{"response":"b","done":true,"context":[1,2],"eval_count":2,"eval_duration":400000000}\n',
    ]

    def respond(exchange: Any) -> None:
        exchange.head(200, "application/x-ndjson")
        for line in lines:
            exchange.chunk(line)
        exchange.end()

    with serve(respond) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        stream = generate("qwen3", "x", stream=True)
        context = [chunk["context"] for chunk in stream][-1]
        assert context == [1, 2]
        assert stream.response.response == "ab"
        assert stream.metrics["eval_count"] == 2
        assert stream.metrics["eval_rate"] == 5


def stream_chat(
    base_url: str, model: str, messages: List[Any], think: Any = None, options: Any = None
) -> Iterator[Dict[str, Any]]:
    with Client(base_url).chat(model, messages, think=think, options=options, stream=True) as stream:
        for chunk in stream:
            if chunk.message.thinking:
                yield {"type": "thinking", "text": chunk.message.thinking}
            if chunk.message.content:
                yield {"type": "content", "text": chunk.message.content}
        yield {"type": "done", "message": stream.message, "metrics": stream.metrics}


@use("chat-think-true")
def test_a_stream_chat_of_ten_lines(recorded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    events = list(stream_chat(os.environ["OLLAMA_HOST"], "qwen3", MESSAGES, think="low", options={"seed": 1}))
    assert "".join(event["text"] for event in events if event["type"] == "content") == "The answer is: 42!"
    assert events[-1]["message"]["thinking"] == "Hmm let me see…\n\n"
    assert events[-1]["metrics"]["time_to_first_token_from"] == "client clock"
    assert recorded[0]["think"] == "low"


@use("chat-unknown-model")
def test_an_error_has_the_names_of_the_sdk(recorded: Any) -> None:
    with pytest.raises(ResponseError) as caught:
        chat("nope", MESSAGES)
    assert caught.value.status_code == 404
    assert caught.value.error == "model 'nope' not found"
    assert str(caught.value) == "model 'nope' not found (status code: 404)"
