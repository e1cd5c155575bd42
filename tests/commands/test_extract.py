"""extract-content and extract-thinking: which text, and what ends it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.process import call
from tests.server import body_of


def response(*fragments: str, **last: Any) -> bytes:
    """Chunks of /api/generate, one for each fragment of content, and a last one."""
    chunks = [{"response": fragment, "done": False} for fragment in fragments]
    return b"".join(json.dumps(chunk).encode() + b"\n" for chunk in [*chunks, {"response": "", "done": True, **last}])


CALL = b'{"message":{"content":"","tool_calls":[{"function":{"name":"f"}}]},"done":false}\n'
NOTE = "the answer has no text but tool calls; 'collect' shows them"
ENDS = [
    # options, stream, text
    ([], response("a", "b"), "ab\n"),
    ([], response("a", "b\n"), "ab\n"),
    ([], response("a\n", ""), "a\n"),
    ([], response("\n"), "\n"),
    ([], response(), ""),
    ([], response("", ""), ""),
    ([], response("a") + response() + response("b"), "a\nb\n"),
    ([], response("a", done=False), "a\n"),
    (["-n"], response("a", "b"), "ab"),
    (["-n"], response("a\n") + response("b"), "a\nb"),
    (["--no-newline"], response("a", done=False), "a"),
    (["-0"], response("a") + response("b\n"), "a\0b\n\0"),
    (["-0"], response() + response("b"), "\0b\0"),
    (["--null"], response("a", done=False), "a\0"),
    (["--json"], response("a", "b", id=7) + response(), '{"id":7,"content":"ab"}\n{"content":""}\n'),
    (["--json"], response("a", id=None), '{"id":null,"content":"a"}\n'),
    (["--json"], response("\0é\n"), '{"content":"\\u0000é\\n"}\n'),
    (["--json"], response("a", done=False), '{"content":"a"}\n'),
    (["-x"], response("Here:\n``", "`sh\nls", "\npwd\n```\nDone."), "ls\npwd\n"),
    (["-x"], response("~~~\na\n~~~\n```\nb\n```\n"), "a\n"),
    (["-x"], response("```\nnever closed"), "never closed\n"),
    (["-xn"], response("```\nnever closed"), "never closed"),
    (["-x", "-0"], response("```\na\n```") + response("```\nb\n```"), "a\n\0b\n\0"),
    (["-x", "--json"], response("```\na\n```"), '{"content":"a\\n"}\n'),
    (["--think-tags"], response("<thi", "nk>why</th", "ink>\n\nbecause"), "because\n"),
    (["--think-tags"], response("why</think>because"), "because\n"),
    (["--think-tags"], response("no tags"), "no tags\n"),
    (["--think-tags", "-x"], response("<think>```\nno\n```</think>```\nyes\n```"), "yes\n"),
    (["--think-tags"], response("<think>a</think>b") + response("<think>c</think>d"), "b\nd\n"),
    (["-nq"], response("a"), "a"),
]


@pytest.mark.parametrize(("options", "stream", "text"), ENDS)
def test_content(options: list[str], stream: bytes, text: str) -> None:
    result = call("extract-content", *options, stdin=stream)
    cut = b'"done": false}' in stream.splitlines()[-1]
    assert (result.returncode, result.stdout.decode()) == (3 if cut else 0, text)
    assert result.stderr.count(b"\n") == cut


THOUGHTS = [
    ([], response("a", thinking="why"), "why\n"),
    ([], response("a"), ""),
    (
        [],
        b'{"message":{"content":"a","thinking":"w"},"done":false}\n{"message":{"thinking":"hy"},"done":true}\n',
        "why\n",
    ),
    (["-n"], response(thinking="why"), "why"),
    (["--json"], response(thinking="why", id="x"), '{"id":"x","thinking":"why"}\n'),
    (["--think-tags"], response("<think>wh", "y</think>because"), "why\n"),
    (["--think-tags"], response("why", "</think>because"), "why\n"),
    (["--think-tags"], response("<think>never closed"), "never closed\n"),
    (["--think-tags"], response("no tags"), ""),
    (["--think-tags"], response("<think>a</think>b", thinking="c"), "ac\n"),
]


@pytest.mark.parametrize(("options", "stream", "text"), THOUGHTS)
def test_thinking(options: list[str], stream: bytes, text: str) -> None:
    result = call("extract-thinking", *options, stdin=stream)
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, text, b"")


@pytest.mark.parametrize("name", ["chat-think-true", "generate-think-true", "chat-tools-think"])
def test_recorded_thinking_and_content_are_those_of_the_whole_answer(name: str) -> None:
    stream = body_of(name)
    whole = json.loads(call("collect", stdin=stream).stdout)
    message = whole.get("message", {**whole, "content": whole.get("response")})
    for command, key in (("extract-content", "content"), ("extract-thinking", "thinking")):
        result = call(command, "-n", stdin=stream)
        assert result.stdout.decode() == message[key]


NOTES = [
    # command, options, stream, the note
    ("extract-content", [], CALL + response(), NOTE),
    ("extract-content", [], response(tool_calls=[{"function": {"name": "f"}}]), NOTE),
    ("extract-content", [], CALL + response("text"), ""),
    ("extract-content", [], response("text") + CALL + response(), NOTE),
    ("extract-content", ["-q"], CALL + response(), ""),
    ("extract-content", ["--quiet"], CALL + response(), ""),
    ("extract-thinking", [], CALL + response(), ""),
    (
        "extract-content",
        ["-x"],
        response("no code"),
        "no fenced code block in the answer; without -x the whole text is printed",
    ),
    ("extract-content", ["-qx"], response("no code"), ""),
    (
        "extract-content",
        ["-x"],
        CALL + response("text, but no code"),
        "no fenced code block in the answer; without -x the whole text is printed",
    ),
]


@pytest.mark.parametrize(("command", "options", "stream", "note"), NOTES)
def test_a_note_says_why_there_is_no_text(command: str, options: list[str], stream: bytes, note: str) -> None:
    result = call(command, *options, stdin=stream)
    assert (result.returncode, result.stderr.decode()) == (0, note and f"{command}: {note}\n")


@pytest.mark.parametrize("command", ["extract-content", "extract-thinking"])
def test_only_one_end_can_be_asked_for(command: str) -> None:
    for pair in (["-n", "-0"], ["-0", "--json"], ["-n", "--json"]):
        result = call(command, *pair)
        assert result.returncode == 2
        assert b"can't be combined with" in result.stderr


def test_only_content_has_code() -> None:
    assert call("extract-thinking", "-x").returncode == 2


def test_half_characters_of_two_fragments_do_not_depend_on_how_the_reads_fell() -> None:
    """Two surrogates that would make a pair: each is a fragment of its own, and no character."""
    halves = b'{"response":"\\ud83d","done":false}\n{"response":"\\ude00","done":false}\n' + response("!")
    assert call("extract-content", stdin=halves).stdout.decode() == "\ufffd\ufffd!\n"


CALL = b'{"message":{"content":"","tool_calls":[{"function":{"name":"f"}}]},"done":true}\n'
TEXT = b'{"message":{"content":"a"},"done":true}\n'
ANSWERED = b'{"role":"assistant","content":""}\n{"role":"tool","content":"x"}\n'
NOTED = [
    # the stream, how often it is said that an answer has only calls
    (CALL, 1),
    (CALL + TEXT, 1),
    (CALL + CALL, 2),
    (CALL + ANSWERED, 0),
    (CALL + ANSWERED + TEXT, 0),
    (CALL + ANSWERED + CALL, 1),
    (TEXT + ANSWERED, 0),
]


@pytest.mark.parametrize(("stream", "times"), NOTED)
def test_calls_that_nobody_answered_are_noted(stream: bytes, times: int) -> None:
    result = call("extract-content", stdin=stream)
    assert result.returncode == 0
    note = "extract-content: the answer has no text but tool calls; 'collect' shows them\n"
    assert result.stderr.decode() == note * times
