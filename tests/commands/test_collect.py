"""collect: one object per response, as `"stream": false` would have returned it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.process import call
from tests.server import NAMES, body_of


def collect(stream: bytes) -> list[Any]:
    return [json.loads(line) for line in call("collect", stdin=stream).stdout.splitlines()]


def comparable(response: dict[str, Any]) -> dict[str, Any]:
    """The parts that two runs of the same prompt have in common."""
    volatile = ("created_at", "id")
    common = {key: "..." if key in volatile or key.endswith("_duration") else value for key, value in response.items()}
    for tool_call in response.get("message", {}).get("tool_calls", ()):
        tool_call["id"] = "..."
    return common


PAIRS = [
    ("chat-stream", "chat-nostream"),
    ("generate-stream", "generate-nostream"),
    ("chat-think-true", "chat-think-true-nostream"),
    ("chat-tools-stream", "chat-tools-nostream"),
    ("chat-repeat-limit", "chat-repeat-limit-nostream"),
]


@pytest.mark.parametrize(("streamed", "whole"), PAIRS)
def test_a_stream_is_folded_into_the_object_of_stream_false(streamed: str, whole: str) -> None:
    collected = collect(body_of(streamed))[0]
    expected = json.loads(body_of(whole))
    assert comparable(collected) == comparable(expected)
    assert list(collected) == list(expected)
    assert list(collected.get("message", ())) == list(expected.get("message", ()))


@pytest.mark.parametrize("name", [name for name in NAMES if b'"done":true' in body_of(name)])
def test_collect_of_collected_objects_changes_nothing(name: str) -> None:
    once = call("collect", stdin=body_of(name))
    assert once.returncode == 0
    assert call("collect", stdin=once.stdout).stdout == once.stdout
    for command in ("extract-content", "extract-thinking"):
        assert call(command, stdin=once.stdout).stdout == call(command, stdin=body_of(name)).stdout


A = b'{"model":"m","message":{"role":"assistant","content":"a"},"done":false}\n'
B = b'{"model":"m","message":{"role":"assistant","content":"b"},"done":true}\n'
WHOLE = {"model": "m", "message": {"role": "assistant", "content": "ab"}, "done": True}
PART = {"model": "m", "message": {"role": "assistant", "content": "a"}, "done": False}
REST = {"model": "m", "message": {"role": "assistant", "content": "b"}, "done": True}
STREAMS = [
    # stream, objects
    (A + B, [WHOLE]),
    (A + B + A + B, [WHOLE, WHOLE]),
    (A + b'{"error":"x","exit_status":75}\n', [PART, {"error": "x", "exit_status": 75}]),
    (b'{"error":"x"}\n' + B, [{"error": "x", "exit_status": 1}, REST]),
    (
        A + b'{"error":"x","status_code":500}\n' + B,
        [PART, {"error": "x", "status_code": 500, "exit_status": 1}, REST],
    ),
    (A, [PART, {"error": 'standard input: the stream ended early (no "done": true)', "exit_status": 3}]),
    (b"", [{"error": "standard input: no response", "exit_status": 3}]),
    (A + b"[]\n", [PART, {"error": "standard input:2: not a JSON object but an array", "exit_status": 2}]),
]


@pytest.mark.parametrize(("stream", "objects"), STREAMS)
def test_truncated_responses_and_failures_are_objects_too(stream: bytes, objects: list[Any]) -> None:
    direct = call("collect", stdin=stream)
    assert [json.loads(line) for line in direct.stdout.splitlines()] == objects
    after = call("extract-content", stdin=direct.stdout)
    assert (after.returncode, after.stderr) == (direct.returncode, b"")


def test_think_tags_become_thinking() -> None:
    stream = b'{"response":"<think>a</th"}\n{"response":"ink>b","done":true}\n{"response":"<think>c"}\n'
    result = call("collect", "--think-tags", stdin=stream)
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    assert objects[0] == {"response": "b", "thinking": "a", "done": True}
    assert objects[1] == {"response": "", "thinking": "c"}
    assert result.returncode == 3
