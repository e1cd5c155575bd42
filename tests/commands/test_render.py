"""render: the text it prints, in a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import signal
import sys
import termios
from typing import Any

import pytest

from ostream.cli.transcript import Transcript, footer
from tests.process import Terminal, call, end_of


def chunk(content: str = "", done: bool = False, **more: Any) -> bytes:
    return json.dumps({"message": {"content": content, **more}, "done": done}).encode() + b"\n"


DIM, BRIGHT = "\x1b[2m", "\x1b[22m"
CALL = {"function": {"name": "get_weather", "arguments": {"city": "Zürich"}}}
THOUGHT = chunk(thinking="Hmm") + chunk(thinking="…") + chunk("It is 4.") + chunk(done=True)
NUMBERS = b'{"response":"a","done":true,"eval_count":2,"eval_duration":1000000000,"prompt_eval_duration":5000000}\n'
MESSAGES = b'{"role":"user","content":"hi"}\n{"role":"tool","tool_name":"f","content":"3"}\n'

PAGES = [
    # lines, options, in a pipe, on a terminal
    (THOUGHT, [], "Thinking:\n\nHmm…\n\nAnswer:\n\nIt is 4.\n", f"{DIM}Hmm{BRIGHT}{DIM}…{BRIGHT}\n\nIt is 4.\n"),
    (chunk("a\n", done=True) * 2, [], "a\n\na\n", "a\n\na\n"),
    (
        chunk("a") + chunk(tool_calls=[CALL], done=True),
        [],
        'a\n\nTool calls:\n\nget_weather {"city": "Zürich"}\n',
        'a\n\nget_weather {"city": "Zürich"}\n',
    ),
    (MESSAGES, [], "user: hi\n\ntool f: 3\n", "user: hi\n\ntool f: 3\n"),
    (
        NUMBERS + MESSAGES[:31],
        ["--stats"],
        "a\n\n2 tokens, 2.0 tokens/s, first token after 5ms\n\nuser: hi\n",
        f"a\n{DIM}\n2 tokens, 2.0 tokens/s, first token after 5ms\n{BRIGHT}\nuser: hi\n",
    ),
    (chunk(), ["--stats"], "", ""),
    (chunk("a", done=True) + b'{"role":"assistant","content":"a"}\n', [], "a\n", "a\n"),
]  # fmt: skip


def unified(shown: str) -> str:
    """Two dim writes are the same as one, wherever the reads ended."""
    return shown.replace(BRIGHT + DIM, "")


@pytest.mark.parametrize(("lines", "options", "piped", "shown"), PAGES)
def test_thinking_answer_and_calls_are_in_sections(lines: bytes, options: list[str], piped: str, shown: str) -> None:
    result = call("render", *options, stdin=lines)
    assert result.stdout.decode() == piped
    terminal = Terminal("render", *options)
    assert unified(terminal.communicate(lines)[0]) == unified(shown)
    assert terminal.process.returncode == result.returncode == (0 if piped else 3)
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert Terminal("render", *options, env=env).communicate(lines)[0] == piped


def test_a_failure_ends_the_line_and_starts_the_numbers_again() -> None:
    result = call("render", "--stats", stdin=chunk("a") + b'{"error":"x","exit_status":1}\n' + NUMBERS)
    assert (result.returncode, result.stderr) == (1, b"")
    assert result.stdout.decode() == "a\n\na\n\n2 tokens, 2.0 tokens/s, first token after 5ms\n"


def test_the_file_of_w_may_be_the_terminal() -> None:
    shown, passed, _ = Terminal("render", "-w", "/dev/stderr", on="stderr").communicate(THOUGHT)
    assert (unified(shown), passed) == (unified(PAGES[0][3]), THOUGHT.decode())


def test_with_raw_terminal_control_characters_are_written_unchanged() -> None:
    text = "a\x1b[31m\x9b1m\u202eb"
    stream = chunk(text, thinking=text) + chunk(done=True)
    assert Terminal("render", "--raw-terminal").communicate(stream)[0].count(text) == 2


def test_deeply_nested_arguments_are_shown() -> None:
    for depth in range(100, sys.getrecursionlimit() + 100):
        arguments = f'{{"x": {"[" * depth}{"]" * depth}}}'
        function = {"name": "f", "arguments": arguments}
        ((text, _),) = Transcript(headings=False).chunk({"tool_calls": [{"function": function}]})
        assert text == f"f {arguments}\n"


NOTES = [
    # options, stream, text, note
    (["--think-tags"], chunk("<think>Hm") + chunk("</think>a", done=True), "Thinking:\n\nHm\n\nAnswer:\n\na\n", ""),
    (["--think-tags"], chunk("<think>Hm") + b'{"error":"x","exit_status":1}\n', "Thinking:\n\nHm\n", ""),
    (["--think-tags"], chunk("<thi") + b'{"error":"x","exit_status":1}\n', "<thi\n", ""),
    ([], chunk("<think>Hm</think>") + chunk("a", done=True), "<think>Hm</think>a\n", "the answer contains </think>; "),
    ([], chunk(thinking="Hm", done=True), "Thinking:\n\nHm\n", "the answer contains thinking but no text\n"),
    ([], chunk(" ", done=True), " \n", "the answer is empty\n"),
    ([], chunk(done=True, images=["aGk="]), "", ""),
    ([], chunk("\ud83d") + chunk("\ude00") + chunk(done=True), "\ufffd\ufffd\n", ""),
]  # fmt: skip


@pytest.mark.parametrize(("options", "stream", "text", "note"), NOTES)
def test_think_tags_and_notes(options: list[str], stream: bytes, text: str, note: str) -> None:
    result = call("render", *options, stdin=stream)
    assert result.stdout.decode() == text
    assert result.stderr.decode().startswith(note and f"render: {note}")
    assert result.returncode == stream.count(b'"error"')


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_the_terminal_unchanged(number: signal.Signals) -> None:
    terminal = Terminal("render")
    before = termios.tcgetattr(terminal.slave)
    terminal.process.stdin.write(chunk(thinking="Hmm"))
    terminal.process.stdin.flush()
    shown = terminal.show(BRIGHT.encode())
    terminal.process.send_signal(number)
    assert end_of(terminal.process) == -number
    assert termios.tcgetattr(terminal.slave) == before
    assert shown.count(DIM.encode()) == shown.count(BRIGHT.encode()) == 1
    os.close(terminal.slave)
    os.close(terminal.screen)


def test_messages_are_shown_with_their_roles() -> None:
    page = Transcript(headings=True)
    call = {"function": {"name": "f", "arguments": "not an object"}}
    lines: list[dict[str, Any]] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "tool_calls": [call, {"id": "x"}]},
        {"role": "tool", "tool_name": "f", "content": "3\n"},
        {"role": "assistant", "content": None},
    ]
    text = "".join(text for line in lines for text, _ in page.message(line))
    assert text == (
        "user: hi\n\nassistant: \nf not an object\na tool call without a function\n\ntool f: 3\n\nassistant: \n"
    )


FOOTERS = [
    ({"eval_count": 24, "eval_rate": 171.97, "time_to_first_token": 80_000_000, "done_reason": "stop"},
     "24 tokens, 172.0 tokens/s, first token after 80ms"),
    ({"done_reason": "length"}, "ended by length"),
    ({}, "no numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("known", "line"), FOOTERS)
def test_the_footer_has_the_numbers_that_are_known(known: dict[str, Any], line: str) -> None:
    fields = ("eval_count", "eval_rate", "time_to_first_token", "done_reason")
    assert footer({**dict.fromkeys(fields), **known}) == line
    assert Transcript(headings=False).footer(line) == [(f"\n{line}\n", True)]
