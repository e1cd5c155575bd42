"""Programs written from the documentation of the official SDK, run with only the import changed.

Each prints what it got. With --full the SDK runs them too: output and requests must be the same.
"""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest

from ostream.recording.format import JSON
from tests.server import body_of, serve

# A program and the recordings that answer its requests, in order.
PROGRAMS: dict[str, tuple[str, list[str]]] = {
    "chat": (
        """
from ollama import ChatResponse, chat
response: ChatResponse = chat(model="m", messages=[{"role": "user", "content": "Why is the sky blue?"}])
print(response["message"]["content"])
print(response.message.content)
""",
        ["chat-nostream"],
    ),
    "generate": (
        """
from ollama import generate
print(generate("m", "Why is the sky blue?")["response"])
for part in generate(model="m", prompt="Why is the sky blue?", stream=True):
    print(part.response, end="", flush=True)
""",
        ["generate-nostream", "generate-stream"],
    ),
    "custom client": (
        """
from ollama import Client
with Client(host=HOST, headers={"x-some-header": "some-value"}, timeout=60, verify=False) as client:
    print(client.chat(model="m", messages=[{"role": "user", "content": "Why?"}]).message.role)
client.close()
""",
        ["chat-nostream"],
    ),
    "errors": (
        """
import ollama
try:
    ollama.chat("does-not-yet-exist", [{"role": "user", "content": "Hi"}])
except ollama.ResponseError as e:
    print("Error:", e.error, e.status_code, e)
""",
        ["chat-unknown-model"],
    ),
    "tool functions": (
        '''
from ollama import chat
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
def get_weather(city, **options):
    return f"sunny in {city}"
messages = [{"role": "user", "content": "Weather?"}]
functions = {"add_two_numbers": add_two_numbers, "get_weather": get_weather}
response = chat("m", messages=messages, tools=[add_two_numbers])
messages.append(response.message)
for tool in response.message.tool_calls or []:
    output = functions[tool.function.name](**tool.function.arguments)
    messages.append({"role": "tool", "content": str(output), "tool_name": tool.function.name})
print(messages[-1])
print(chat("m", messages=messages).message.content)
''',
        ["chat-tools-nostream", "chat-nostream"],
    ),
    "tool objects": (
        """
from ollama import Message, Tool, chat
tool = Tool(type="function", function=Tool.Function(
    name="get_weather", description="Get it",
    parameters=Tool.Function.Parameters(type="object", required=["city"], properties={
        "city": Tool.Function.Parameters.Property(type="string", description="The city")})))
call = Message.ToolCall(function=Message.ToolCall.Function(name="get_weather", arguments={"city": "Toronto"}))
messages = [Message(role="user", content="?"), Message(role="assistant", tool_calls=[call]),
            Message(role="tool", content="22", tool_name="get_weather")]
print(tool.function.parameters.properties["city"].type, messages[1].tool_calls[0].function.arguments["city"])
print(chat("m", messages, tools=[tool]).done)
""",
        ["chat-nostream"],
    ),
    "thinking": (
        """
from ollama import chat
in_thinking, thinking, content = False, "", ""
for chunk in chat(model="m", messages=[{"role": "user", "content": "17 x 23?"}], think=True, stream=True):
    if chunk.message.thinking:
        if not in_thinking:
            in_thinking = True
            print("Thinking:")
        print(chunk.message.thinking, end="")
        thinking += chunk.message.thinking
    elif chunk.message.content:
        if in_thinking:
            in_thinking = False
            print("Answer:")
        print(chunk.message.content, end="")
        content += chunk.message.content
print({"role": "assistant", "thinking": thinking, "content": content})
""",
        ["chat-think-true"],
    ),
    "structured output": (
        """
from pydantic import BaseModel
from ollama import chat
class Answer(BaseModel):
    answer: str
response = chat(model="m", messages=[{"role": "user", "content": "?"}], format=Answer.model_json_schema(),
                options={"temperature": 0})
print(Answer.model_validate_json(response.message.content))
""",
        ["chat-format-json"],
    ),
    "dumping": (
        """
import json
from ollama import chat
response = chat("m", [{"role": "user", "content": "?"}])
dumped = response.model_dump()
print(dumped["message"]["content"], dumped["message"]["thinking"], sorted(dumped["message"]))
print(json.loads(response.model_dump_json())["eval_count"], response.message.model_dump(exclude_none=True))
""",
        ["chat-nostream"],
    ),
}


def run(program: str, names: list[str], module: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[Any]]:
    """Run a program with `module` as the SDK; return its output and the bodies it sent."""
    rest = list(names)
    bodies = []

    def respond(exchange: Any) -> None:
        bodies.append(json.loads(exchange.body))
        name = rest.pop(0)
        if "unknown" in name:
            exchange.send_body(404, JSON, body_of(name))
        elif not bodies[-1].get("stream"):
            exchange.send_body(200, JSON, folded(body_of(name)))
        else:
            exchange.head(200, "application/x-ndjson")
            for line in body_of(name).splitlines(keepends=True):
                exchange.chunk(line)
            exchange.end()

    with serve(respond) as server, contextlib.redirect_stdout(io.StringIO()) as output:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        if module == "ollama":
            import ollama

            client = ollama.Client(server.url, trust_env=False)
            monkeypatch.setattr(ollama, "chat", client.chat)
            monkeypatch.setattr(ollama, "generate", client.generate)
        source = program.replace("import ollama", f"import {module} as ollama").replace("from ollama", f"from {module}")
        exec(compile(source, "program", "exec", dont_inherit=True), {"HOST": server.url, "__name__": "program"})
        if module == "ollama":
            client.close()
    return output.getvalue(), bodies


def folded(body: bytes) -> bytes:
    """The response that `stream: false` would have returned."""
    from ostream import Accumulator, decode_line

    accumulator = Accumulator()
    for line in body.splitlines():
        accumulator.add(decode_line(line) or {})
    return json.dumps(accumulator.response).encode()


def comparable(body: Any) -> Any:
    """A body without what the SDK adds or leaves out: an empty `tools`, and empty and unknown keys in it."""
    unknown = ("id", "index")
    if isinstance(body, dict):
        return {
            key: comparable(value) for key, value in body.items() if value not in (None, "", []) and key not in unknown
        }
    return [comparable(item) for item in body] if isinstance(body, list) else body


@pytest.mark.parametrize(
    ("program", "names"),
    [
        # Those that import pydantic need the packages of make check.
        pytest.param(*case, marks=pytest.mark.tools) if "from pydantic" in case[0] else case
        for case in PROGRAMS.values()
    ],
    ids=PROGRAMS,
)
def test_a_program_of_the_sdk_runs_with_its_import_changed(
    program: str, names: list[str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    output, bodies = run(program, names, "ostream", monkeypatch)
    assert output
    assert len(bodies) == len(names)
    if request.getfixturevalue("tools"):
        pytest.importorskip("ollama", reason="needs tests/requirements-check.txt")
        theirs, their_bodies = run(program, names, "ollama", monkeypatch)
        assert output == theirs
        assert comparable(bodies) == comparable(their_bodies)
