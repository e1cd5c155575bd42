"""extract-content and extract-thinking: which text they write, what ends it, and the status of an empty answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ostream.system.input import BLOCK
from tests.process import call


def response(*fragments: str, **last: Any) -> bytes:
    """Chunks of /api/generate, one for each fragment of content, and a last one."""
    chunks = [{"response": fragment, "done": False} for fragment in fragments]
    return b"".join(json.dumps(chunk).encode() + b"\n" for chunk in [*chunks, {"response": "", "done": True, **last}])


CALL = b'{"message":{"content":"","tool_calls":[{"function":{"name":"f"}}]},"done":false}\n'
THOUGHT = response(thinking="Hm")
CONTENT = [
    # options, stream, text, exit status
    ([], response("a", "b\n", ""), "ab\n", 0),
    ([], response("\n"), "\n", 5),
    ([], response(), "", 5),
    ([], response("a") + response() + response("b"), "a\nb\n", 5),
    ([], response("a", done=False), "a\n", 3),
    ([], response(done_reason="load"), "", 0),
    ([], response(image="aGk="), "", 0),
    ([], response("a", done_reason="length"), "a\n", 0),
    ([], b'{"message":{"content":7},"done":true}\n', "7\n", 0),
    ([], b'{"message":{"content":"a"},"response":"b","done":true}\n{"response":"c","done":true}\n', "a\nc\n", 0),
    (["-n"], response("a\n") + response("b"), "a\nb", 0),
    (["--no-newline"], response("a", done=False), "a", 3),
    (["-0"], response("a") + response("b\n"), "a\0b\n\0", 0),
    (["-0"], response() + response("b"), "\0b\0", 5),
    (
        ["--json"],
        response("a", "b", id=7) + response("\0é\n"),
        '{"id":7,"content":"ab"}\n{"content":"\\u0000é\\n"}\n',
        0,
    ),
    (["--json"], response("a", id=None), '{"id":null,"content":"a"}\n', 0),
    (["--json"], b'{"error":"x","exit_status":1}\n', "", 1),
    (["--json"], response(), '{"content":""}\n', 5),
    (["-x"], response("Here:\n``", "`sh\nls", "\npwd\n```\nDone."), "ls\npwd\n", 0),
    (["-x"], response("~~~\na\n~~~\n```\nb\n```\n"), "a\n", 0),
    (["-xn"], response("```\nnever closed"), "never closed", 0),
    (["-x"], response("```\ncut", done_reason="length"), "cut\n", 4),
    (["-x"], CALL + response(), "", 5),
    (["-x", "-0"], response("```\na\n```") + response("```\nb\n```"), "a\n\0b\n\0", 0),
    (["-x", "--json"], response("```\na\n```"), '{"content":"a\\n"}\n', 0),
    (["--think-tags"], response("<thi", "nk>why</th", "ink>\n\nbecause"), "because\n", 0),
    (["--think-tags"], response("<think>never closed"), "", 5),
    (["--think-tags", "-x"], response("<think>```\nno\n```</think>```\nyes\n```"), "yes\n", 0),
    (["--think-tags=open"], response("why</think>because"), "because\n", 0),
    (["--think-tags=other"], response("a"), "", 2),
]


@pytest.mark.parametrize(("options", "stream", "text", "status"), CONTENT)
def test_content(options: list[str], stream: bytes, text: str, status: int) -> None:
    result = call("extract-content", *options, stdin=stream)
    assert (result.returncode, result.stdout.decode()) == (status, text)


THINKING = [
    ([], response("a", thinking="why"), "why\n"),
    (["-n"], b'{"message":{"thinking":"w"},"done":false}\n{"message":{"thinking":"hy"},"done":true}\n', "why"),
    (["--json"], response(thinking="why", id="x"), '{"id":"x","thinking":"why"}\n'),
    (["--think-tags"], response("<think>wh", "y</think>because"), "why\n"),
    (["--think-tags=open"], response("why", "</think>because"), "why\n"),
    (["--think-tags"], response("<think>a</think>b", thinking="c"), "ac\n"),
]


@pytest.mark.parametrize(("options", "stream", "text"), THINKING)
def test_thinking(options: list[str], stream: bytes, text: str) -> None:
    result = call("extract-thinking", *options, stdin=stream)
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, text, b"")


ONLY_CALLS = "the answer contains tool calls and no text; 'collect' shows them"
TAGS = "the answer contains </think>; use {} to separate its thinking"
RAISE = "raise num_predict or num_ctx with --option"
EMPTY = "the model generated no text; change the prompt or try again"
# What `send --fail-on-empty` adds. Its message has been printed.
REJECTED = b'{"error":"the answer is empty","status_code":200,"exit_status":5}\n'
MESSAGES = [
    # options, stream, message
    ([], THOUGHT, "the answer contains thinking but no text; read it with extract-thinking, or use --no-think"),
    ([], response(id="a"), f'id "a": the answer is empty; {EMPTY}'),
    (
        [],
        response(thinking="Hm", done_reason="length"),
        f"the answer was truncated before its thinking ended; {RAISE}, or use --no-think",
    ),
    ([], response(done_reason="length"), f"the answer was truncated before it contained any text; {RAISE}"),
    (["-x"], response("no code"), "no code block in the answer; leave out -x to print the complete text"),
    ([], response() + REJECTED, ""),
    ([], response() + response() + REJECTED, f"the answer is empty; {EMPTY}"),
    ([], response(id="a") + REJECTED[:-2] + b',"id":"b"}\n', f'id "a": the answer is empty; {EMPTY}'),
    (["-x"], response("a") + REJECTED, ""),
    (["-x"], response("```\na", done_reason="length") + REJECTED.replace(b"5", b"4"), ""),
    (["-q"], CALL + response(), ""),
    ([], CALL + response(), ONLY_CALLS),
    ([], CALL + response("text"), ""),
    ([], response("text") + CALL + response(), ONLY_CALLS),
    ([], response("<think>a</th", "ink>b"), TAGS.format("--think-tags")),
    ([], response("a</think>b") * 2, TAGS.format("--think-tags=open")),
    (["--think-tags"], response("a</thi", "nk>b"), TAGS.format("--think-tags=open")),
    ([], response("a < b"), ""),
    ([], response("<" * 70, f"a</think>b{'c' * BLOCK}"), TAGS.format("--think-tags=open")),
]


@pytest.mark.parametrize(("options", "stream", "message"), MESSAGES)
def test_messages_about_the_text_of_an_answer(options: list[str], stream: bytes, message: str) -> None:
    result = call("extract-content", *options, stdin=stream)
    assert result.stderr.decode() == (message and f"extract-content: {message}\n")


def test_empty_answers_are_counted_with_five_ids_and_passed_on_as_one_error_line() -> None:
    stream = b"".join(response(id=number) for number in range(7)) + THOUGHT + THOUGHT
    result = call("extract-content", "-w", "/dev/null", stdin=stream)
    messages = result.stderr.decode().splitlines()
    assert messages[0].startswith("extract-content: the answer is empty (7 responses: id 0, 1, 2, 3, 4 and 2 more); ")
    assert messages[1].startswith("extract-content: the answer contains thinking but no text (2 responses); ")
    assert result.stdout.startswith(stream)
    lines = [json.loads(line) for line in result.stdout[len(stream) :].splitlines()]
    assert [line["exit_status"] for line in lines] == [result.returncode] * 2 == [5, 5]
    after = call("stats", "--summary", stdin=result.stdout)
    assert (after.returncode, after.stderr) == (5, b"")


@pytest.mark.parametrize("command", ["extract-content", "extract-thinking"])
def test_only_one_end_can_be_given(command: str) -> None:
    for pair in (["-n", "-0"], ["-0", "--json"], ["-n", "--json"]):
        result = call(command, *pair)
        assert result.returncode == 2
        assert b"can't be combined with" in result.stderr
    result = call(command, "-w", "a", "--write=b")
    assert (result.returncode, result.stderr.decode()) == (
        2,
        f"{command}: --write: given twice; see '{command} --help'\n",
    )


CALLS = CALL.replace(b"false", b"true")
TEXT = b'{"message":{"content":"a"},"done":true}\n'
ANSWERED = b'{"role":"assistant","content":""}\n{"role":"tool","content":"x"}\n'


@pytest.mark.parametrize(
    ("stream", "times"),
    [
        (CALLS + TEXT, 1),
        (CALLS + CALLS, 2),
        (CALLS + ANSWERED, 0),
        (CALLS + ANSWERED + TEXT, 0),
        (CALLS + ANSWERED + CALLS, 1),
    ],
)
def test_tool_calls_without_a_result_are_noted(stream: bytes, times: int) -> None:
    result = call("extract-content", stdin=stream)
    assert result.returncode == 0
    assert result.stderr.decode() == f"extract-content: {ONLY_CALLS}\n" * times
