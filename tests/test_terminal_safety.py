"""On a terminal, every command prints untrusted text so that no character of it controls the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.process import call
from tests.server import http_answer, send_raw, serve
from tests.system.test_terminal import is_hidden

SEQUENCES = [
    "\x1b[2J\x1b[H",
    "\x1b]0;title\x07",
    "\x9d2;title\x9c",
    "\x1b]52;c;ZXZpbA==\x07",  # sets the clipboard
    "\x9b41m",
    "\x1b[?1049h",  # alternate screen
    "\x1b[6n",  # makes the terminal type a reply
    "\x1bP1$qm\x1b\\",
    "\r",
    "\x0b\x0c",
    "\x7f\0",
    "\u202e\u2067",
]
UNTRUSTED = st.lists(
    st.sampled_from([*SEQUENCES, "a", "\n", "\t", "\\u001b[2J", "é😀"]) | st.text(max_size=4), max_size=6
)
TEXT = UNTRUSTED.map("".join)
VALUE = TEXT | st.none() | st.integers() | st.dictionaries(TEXT, TEXT, max_size=2)
CALL = st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": VALUE, "arguments": VALUE})})
MESSAGE = st.fixed_dictionaries(
    {}, optional={"content": VALUE, "thinking": VALUE, "tool_calls": st.lists(CALL, max_size=2), "role": VALUE}
)
KEYS = (
    *("response", "thinking", "model", "done_reason", "created_at", "id", "signin_url"),
    *("role", "tool_name", "content"),
)
LINE = st.fixed_dictionaries(
    {},
    optional={
        "message": MESSAGE,
        "done": st.booleans(),
        "error": VALUE | st.dictionaries(st.just("message"), VALUE),
        **dict.fromkeys(KEYS, VALUE),
    },
)
STREAM = st.lists(
    st.builds(json.dumps, LINE, ensure_ascii=st.booleans()) | TEXT.filter(lambda text: "\n" not in text), max_size=5
).map(lambda lines: "\n".join(lines).encode("utf-8", "replace"))
one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def assert_safe(shown: bytes, command: str) -> str:
    text = shown.decode()
    if command == "render":  # its own dim text
        text = text.replace("\x1b[2m", "").replace("\x1b[22m", "")
    assert not any(map(is_hidden, text)), text
    return text


FILTERS = [
    ["extract-content"],
    ["extract-content", "-x"],
    ["extract-content", "-0", "--think-tags"],
    ["extract-content", "--json"],
    ["extract-content", "-w", "/dev/stderr"],
    ["extract-thinking", "-n", "-v"],
    ["render", "--stats"],
    ["render", "-w", "/dev/stderr"],
    ["stats"],
    ["stats", "--json"],
    ["stats", "--field", "model"],
    ["stats", "--plot"],
    ["collect"],
    ["collect", "-w", "/dev/null"],
]


@pytest.mark.parametrize("argv", FILTERS, ids=" ".join)
@given(stream=STREAM)
def test_no_stream_controls_the_terminal_of_a_filter(argv: list[str], stream: bytes) -> None:
    done = call(*argv, stdin=stream, terminal=True)
    assert done.returncode in (0, 1, 2, 3, 5)
    assert_safe(done.stdout, argv[0])


@one_directory
@given(name=TEXT.filter(lambda text: text != "-"), option=st.sampled_from(["-w", "--"]))
def test_no_file_name_controls_the_terminal(name: str, option: str, tmp_path: Path) -> None:
    for command in ("extract-content", "stats", "replay"):
        done = call(command, option, f"{tmp_path}/no/x{name}", terminal=True)
        assert done.returncode in (1, 2, 3)
        assert_safe(done.stdout, command)


ARGUMENTS = [
    ["--host", "{}"],
    ["--header", "{}"],
    ["--header", "X: {}"],
    ["-o", "{}"],
    ["-f", "{}"],
    ["-i", "no/{}"],
    ["-s", "@no/{}"],
    ["--body", "no/{}"],
    ["--think={}"],
    ["--top-logprobs", "{}"],
    ["--cacert", "no/{}", "--host", "https://127.0.0.1:1"],
    ["-m{}", "--dry-run"],
    ["-v", "--dry-run", "{}"],
    ["--{}"],
]


@pytest.mark.parametrize("argv", ARGUMENTS, ids=" ".join)
@given(text=TEXT.map(lambda text: text.replace("\0", "")))
def test_no_argument_controls_the_terminal_of_send(argv: list[str], text: str) -> None:
    words = [word.replace("{}", text) for word in argv]
    env = {"OLLAMA_HOST": "127.0.0.1:1", "OLLAMA_API_KEY": ""}
    done = call("send", "-m", "m", *words, "hi", env=env, terminal=True)
    assert done.returncode in (0, 1, 2, 69, 75)
    assert_safe(done.stdout, "send")


@given(stream=STREAM, status=st.sampled_from([200, 404, 500]), options=st.sampled_from([[], ["--stamp", "-v"]]))
def test_no_answer_controls_the_terminal_of_send(stream: bytes, status: int, options: list[str]) -> None:
    with serve(send_raw(http_answer(status, stream))) as server:
        done = call("send", "-m", "m", *options, "hi", env={"OLLAMA_HOST": server.url}, terminal=True)
    assert done.returncode in (0, 1, 3)
    assert_safe(done.stdout, "send")
