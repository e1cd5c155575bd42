"""A user's program in the style of keys, with plain dicts: it has to be clean under strict checkers."""

from __future__ import annotations

import json
from typing import Any, Iterator, Mapping

from ostream import Accumulator, Client, chat, content, decode_line, generate, split_lines, thinking, tool_calls

messages = [{"role": "user", "content": "Why is the sky blue?"}]


def ask() -> str:
    response = chat(model="qwen3", messages=messages, options={"temperature": 0, "mirostat": 1})
    messages.append({"role": "assistant", "content": response["message"]["content"]})
    print(response["eval_count"] / (response["eval_duration"] / 1_000_000_000))
    text: str = response["message"]["content"]
    return text


def stream() -> None:
    for part in chat("qwen3", messages=messages, stream=True):
        print(part["message"]["content"], end="", flush=True)
    for fragment in generate("qwen3", "Why is the sky blue?", stream=True):
        print(fragment["response"], fragment.get("eval_count"), json.dumps(fragment))


def stream_chat(
    base_url: str, model: str, history: list[dict[str, Any]], think: bool, options: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    with Client(base_url).chat(model, history, think=think, options=options, stream=True) as answer:
        for chunk in answer:
            if chunk.message.thinking:
                yield {"type": "thinking", "text": chunk.message.thinking}
            if chunk.message.content:
                yield {"type": "content", "text": chunk.message.content}
        yield {"type": "done", "message": answer.message, "metrics": answer.metrics}


def by_hand(blocks: Iterator[bytes]) -> dict[str, Any]:
    whole = Accumulator()
    for lines in split_lines(blocks):
        for line in lines:
            chunk = decode_line(line)
            if chunk is not None:
                print(content(chunk), thinking(chunk), tool_calls(chunk))
                whole.add(chunk)
    return whole.response


TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}},
}


def offer() -> None:
    for call in chat("qwen3", messages, tools=[TOOL]).message.tool_calls or []:
        print(call["function"]["name"], call["function"]["arguments"], call.get("id"))
