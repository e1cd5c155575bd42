"""A program with the names of the official SDK: it must be clean under strict checkers."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from ostream import (
    ChatResponse,
    Chunk,
    Client,
    GenerateResponse,
    Image,
    Message,
    Options,
    OstreamError,
    RequestError,
    Stream,
    Tool,
    chat,
    generate,
)
from ostream.types import MessageParam, ToolParam


def tool() -> Tool:
    parameters = Tool.Function.Parameters(
        type="object",
        properties={"city": Tool.Function.Parameters.Property(type="string", description="A city.")},
        required=["city"],
    )
    return Tool(type="function", function=Tool.Function(name="get_weather", parameters=parameters))


class Answer:
    """What a pydantic class looks like."""

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        return {"type": "object"}


def ask(client: Client) -> str:
    call = Message.ToolCall(function=Message.ToolCall.Function(name="get_weather", arguments={"city": "Zürich"}))
    messages: list[MessageParam] = [
        Message(role="user", content="Look", images=[Image(value=Path("a.png")), b"png"]),
        Message(role="assistant", tool_calls=[call]),
    ]
    tools: list[ToolParam] = [tool(), {"type": "function"}, print]
    options = Options(temperature=0, num_ctx=8192)
    response: ChatResponse = client.chat("qwen3", messages, tools=tools, options=options, format=Answer)
    dumped: str = response.model_dump_json(indent=2)
    return dumped + response.text + str(Message.model_validate({"role": "user"}).content)


def read(client: Client) -> tuple[int | None, float | None]:
    stream: Stream[ChatResponse] = client.chat("qwen3", stream=True)
    for text in stream.text_stream:
        print(text, end="", flush=True)
    response = stream.final()
    return response.eval_count, stream.metrics.eval_rate


def either(flag: bool) -> Chunk:
    response: GenerateResponse = generate("qwen3", "Why?", top_logprobs=2)
    return response if flag else chat("qwen3", stream=True).final()


def clients() -> list[Client]:
    try:
        return [
            Client("localhost", verify=False, headers={"X": None}),
            Client(verify=Path("ca.pem"), timeout=5),
            Client(verify=ssl.create_default_context()),
        ]
    except (RequestError, OstreamError) as error:
        print(error.advice, error.partial)
        return []
