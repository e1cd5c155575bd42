"""A user's program in the style of attributes: it has to be clean under strict checkers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from ostream import (
    ChatResponse,
    Client,
    GenerateResponse,
    IncompleteStream,
    Message,
    ResponseError,
    Stream,
    StreamTimeout,
    chat,
    generate,
    run_tools,
)
from ostream.types import MessageDict, MessageParam, OptionsDict


def get_weather(city: str, days: int = 1) -> str:
    """The weather of a city.

    Args:
        city: Its name.
        days: How many.
    """
    return f"sunny in {city} for {days} days"


def tell(messages: list[MessageParam]) -> str:
    text = ""
    in_thinking = False
    stream = chat("qwen3", messages, think=True, stream=True)
    for chunk in stream:
        if chunk.message.thinking:
            in_thinking = True
        elif chunk.message.content:
            in_thinking = False
            text += chunk.message.content
        print(chunk.message.content, end="", flush=True)
    messages.append(stream.message)
    return text if not in_thinking else ""


def use_tools(client: Client) -> Message:
    tools: dict[str, Callable[..., Any]] = {"get_weather": get_weather}
    messages: list[MessageParam] = [{"role": "user", "content": "The weather?"}]
    response = client.chat("qwen3", messages, tools=[get_weather])
    messages.append(response.message)
    for call in response.message.tool_calls or []:
        output: Any = tools[call.function.name](**call.function.arguments)
        messages.append({"role": "tool", "content": str(output), "tool_name": call.function.name})
    messages += run_tools(response.message, tools)
    return client.chat("qwen3", messages, keep_alive="5m", truncate=False).message


def rate(response: ChatResponse | GenerateResponse) -> float:
    if response.eval_count is None or not response.eval_duration:
        return 0.0
    return response.eval_count / (response.eval_duration / 1_000_000_000)


def probabilities(prompt: str) -> list[float]:
    options: OptionsDict = {"temperature": 0, "num_predict": 3, "stop": ["\n"]}
    response = generate(model="qwen3", prompt=prompt, options=options, logprobs=True, top_logprobs=2)
    return [entry.logprob for entry in response.logprobs or [] if entry.token.strip()]


def converse(prompts: list[str]) -> list[int]:
    context: list[int] = []
    for prompt in prompts:
        with generate("qwen3", prompt, context=context, images=[Path("a.png"), b"png"], stream=True) as stream:
            for part in stream:
                print(part.response, end="")
        context = stream.response.context or []
        print(stream.metrics.eval_rate)
    return context


def either(stream: bool) -> ChatResponse | Stream:
    return chat("qwen3", [{"role": "user", "content": "hello"}], stream=stream)


def careful() -> str:
    question: MessageDict = {"role": "user", "content": "hello", "images": [Path("a.png")]}
    client = Client("127.0.0.1", headers={"X": "y"}, timeout=5, max_time=600, retry=3)
    try:
        return client.chat("qwen3", [question], format={"type": "object"}).message.content or ""
    except ResponseError as error:
        return f"{error.error} {error.status_code}"
    except StreamTimeout as error:
        return error.timeout
    except IncompleteStream as error:
        return str(error.partial)
