"""Whatever comes from outside, however cut into chunks and reads, a terminal shows it as text: its title, clipboard,
modes, colours, cursor and earlier lines stay as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostream.system.terminal import escaped, one_line, visible
from tests.emulator import STYLE, Emulator, on_terminal
from tests.process import Terminal
from tests.server import http_answer, send_raw, serve, tcp

SEQUENCES = [
    "\x1b[2J\x1b[H",  # clear, and home
    "\x1b]0;title\x07",
    "\x1b]2;title\x1b\\",
    "\x9d2;title\x9c",
    "\x1b]52;c;ZXZpbA==\x07",  # the clipboard
    "\x1b[31m",
    "\x9b41m",
    "\x1b[?1049h",  # the other screen
    "\x1b[?25l",  # no cursor
    "\x1b[?2004h",
    "\x1b[3A",  # up
    "\x1bM",
    "\x1b[2;3r",
    "\x1b7",
    "\x1bc",
    "\x1b[6n",  # answer on standard input
    "\x1b(0",
    "\x0e",
    "\x1bP1$qm\x1b\\",
    "\x1b_G\x1b\\",
    "\x84\x85\x8d",
    "\r",
    "\b\b\b",
    "\x0b\x0c",
    "\x07",
    "\x7f\0",
    "\x18\x1a",
    "\u202e",
    "\u2067",
    "\x1b",
    "\x9b",
]
OUTSIDE = st.lists(
    st.sampled_from(SEQUENCES) | st.text(max_size=4) | st.sampled_from(["a", "\n", "\t", "mH;2", "\\u001b[2J", "é😀"]),
    max_size=6,
).map("".join)
CUTS = st.lists(st.integers(0, 10_000), max_size=5)


def shows_only_text(shown: bytes, cuts: list[int] | None = None, style: bool = False) -> str:
    emulator = Emulator()
    drawn = emulator.shows(shown, cuts)
    assert emulator.only_text(*(STYLE if style else ())), shown
    return drawn


def test_the_emulator_sees_each_of_the_sequences() -> None:
    for sequence in SEQUENCES:
        if sequence in ("\u202e", "\u2067", "\x1b", "\x9b", "\x84\x85\x8d", "\x7f\0", "\x18\x1a"):
            continue  # they draw, or wait for more, or mean nothing to this one
        emulator = Emulator()
        try:
            drawn = emulator.shows(sequence.encode())
        except AssertionError:
            continue
        assert not emulator.only_text() or drawn != visible(sequence), sequence


@given(st.lists(OUTSIDE, max_size=5), CUTS)
def test_text_made_visible_is_drawn_as_it_is(fragments: list[str], cuts: list[int]) -> None:
    shown = "".join(visible(fragment.encode("utf-8", "replace").decode()) for fragment in fragments)
    assert shows_only_text(shown.encode(), cuts) == re.sub("[\n\t]", "", shown)


@given(OUTSIDE, st.booleans(), CUTS)
def test_ndjson_escaped_is_drawn_as_it_is(text: str, ascii_only: bool, cuts: list[int]) -> None:
    line = escaped(json.dumps({text: [text]}, ensure_ascii=ascii_only)).encode("utf-8", "replace")
    assert shows_only_text(line, cuts).encode() == line


@given(OUTSIDE, CUTS)
def test_a_message_is_drawn_on_one_line(text: str, cuts: list[int]) -> None:
    line = one_line(text).encode("utf-8", "replace")
    assert shows_only_text(line, cuts).encode() == line


VALUE = OUTSIDE | st.none() | st.integers() | st.dictionaries(OUTSIDE, OUTSIDE, max_size=2)
CALL = st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": VALUE, "arguments": VALUE})})
MESSAGE = st.fixed_dictionaries(
    {},
    optional={"content": VALUE, "thinking": VALUE, "tool_calls": st.lists(CALL, max_size=2), "role": VALUE},
)
LINE = st.fixed_dictionaries(
    {},
    optional={
        "message": MESSAGE,
        "response": VALUE,
        "thinking": VALUE,
        "model": VALUE,
        "done": st.booleans(),
        "done_reason": VALUE,
        "created_at": VALUE,
        "id": VALUE,
        "error": VALUE | st.dictionaries(st.just("message"), VALUE),
        "signin_url": VALUE,
        "role": VALUE,
        "tool_name": VALUE,
        "content": VALUE,
    },
)
STREAM = st.lists(
    st.tuples(LINE, st.booleans()).map(lambda pair: json.dumps(pair[0], ensure_ascii=pair[1]))
    | OUTSIDE.filter(lambda text: "\n" not in text),
    max_size=5,
).map(lambda lines: "\n".join(lines).encode("utf-8", "replace"))

SHOWN = [
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
# Several examples share one folder; each writes its input there anew.
in_one_folder = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("argv", SHOWN, ids=" ".join)
@in_one_folder
@given(stream=STREAM, block=st.integers(1, 60) | st.just(1 << 15), cuts=CUTS)
def test_no_stream_steers_the_terminal_of_a_filter(
    argv: list[str], stream: bytes, block: int, cuts: list[int], tmp_path: Path
) -> None:
    status, shown = on_terminal(tmp_path, *argv, stdin=stream, block=block)
    assert status in (0, 1, 2, 3)
    shows_only_text(shown, cuts, style=argv[0] == "render")


@in_one_folder
@given(name=OUTSIDE.filter(lambda text: text != "-"), cuts=CUTS, extra=st.booleans())
def test_no_name_of_a_file_steers_the_terminal(name: str, cuts: list[int], extra: bool, tmp_path: Path) -> None:
    argv = ["-w", str(tmp_path / "no" / "x") + name] if extra else ["-v", "--", str(tmp_path / "no" / "x") + name]
    for command in ("extract-content", "stats", "replay"):
        status, shown = on_terminal(tmp_path, command, *argv)
        assert status in (1, 2, 3)
        shows_only_text(shown, cuts)


ARGUMENTS = [
    ["-m", "m", "--host", "{}", "hi"],
    ["-m", "m", "--header", "{}", "hi"],
    ["-m", "m", "--header", "X: {}", "hi"],
    ["-m", "m", "-o", "{}", "hi"],
    ["-m", "m", "-f", "{}", "hi"],
    ["-m", "m", "-i", "no/{}", "hi"],
    ["-m", "m", "-s", "@no/{}", "hi"],
    ["-m", "m", "--body", "no/{}", "hi"],
    ["-m", "m", "--think={}", "hi"],
    ["-m", "m", "--top-logprobs", "{}", "hi"],
    ["-m", "m", "--cacert", "no/{}", "--host", "https://127.0.0.1:1", "hi"],
    ["-m", "{}", "--dry-run", "hi"],
    ["-m", "m", "-v", "--dry-run", "{}"],
    ["-m", "m", "--{}", "hi"],
]


@pytest.mark.parametrize("argv", ARGUMENTS, ids=" ".join)
@in_one_folder
@given(text=OUTSIDE, cuts=CUTS)
def test_no_argument_steers_the_terminal_of_send(argv: list[str], text: str, cuts: list[int], tmp_path: Path) -> None:
    text = text.replace("\0", "")  # no argument can hold one
    argv = [word.replace("{}", text) for word in argv]
    status, shown = on_terminal(tmp_path, "send", *argv, OLLAMA_HOST="127.0.0.1:1", OLLAMA_API_KEY="")
    assert status in (0, 2, 69)
    shows_only_text(shown, cuts)


@in_one_folder
@given(
    stream=STREAM, status=st.sampled_from([200, 404, 500]), options=st.sampled_from([[], ["--stamp", "-v"]]), cuts=CUTS
)
def test_no_answer_steers_the_terminal_of_send(
    stream: bytes, status: int, options: list[str], cuts: list[int], tmp_path: Path
) -> None:
    with serve(send_raw(http_answer(status, stream))) as server:
        status, shown = on_terminal(tmp_path, "send", "-m", "m", *options, "hi", OLLAMA_HOST=server.url)
    assert status in (0, 1, 3)
    shows_only_text(shown, cuts)


EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\x1b]52;c;ZXZpbA==\x07"
HEADS = [
    "HTTP/1.1 404 {}\r\n\r\n",
    "HTTP/1.1 {}\r\n\r\n",
    "{}\r\n\r\n",
    "HTTP/1.1 302 Found\r\nLocation: http://h/{}\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Encoding: {}\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: {}\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<title>{}</title>",
    "HTTP/1.1 502 Bad\r\nContent-Type: text/html\r\n\r\n<h1>{}</h1>",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}\r\n",
    "HTTP/1.1 503 Busy\r\nRetry-After: {}\r\n\r\n",
    "HTTP/1.1 401 No\r\n\r\n" + json.dumps({"error": "no", "signin_url": "{}"}),
    "HTTP/1.1 400 No\r\n\r\n" + json.dumps({"detail": "{}"}),
]


@pytest.mark.parametrize("head", HEADS)
def test_no_head_of_an_answer_steers_the_terminal_of_send(head: str, tmp_path: Path) -> None:
    # What is JSON or HTML may say it raw, too.
    answer = head.replace("{}", EVIL).encode("latin-1" if head.endswith("\r\n\r\n") else "utf-8")
    with tcp(lambda connection: connection.sendall(answer)) as port:
        status, shown = on_terminal(
            tmp_path, "send", "-v", "-m", "m", "--stamp", "hi", OLLAMA_HOST=f"http://127.0.0.1:{port}"
        )
    assert status in (1, 3, 75)
    shows_only_text(shown)


PROCESSES = [["extract-content"], ["extract-thinking"], ["render", "--stats"], ["stats"], ["collect"]]


@pytest.mark.parametrize("argv", PROCESSES, ids=" ".join)
def test_a_real_process_on_a_real_terminal(argv: list[str]) -> None:
    call: dict[str, Any] = {"function": {"name": EVIL, "arguments": {EVIL: EVIL}}}
    message = {"content": EVIL, "thinking": EVIL, "tool_calls": [call]}
    lines = [
        {"model": EVIL, "message": message, "done": True, "done_reason": EVIL},
        {"error": EVIL},
        {"response": EVIL},
    ]
    stream = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode()
    shown, _, _ = Terminal(*argv, on="stdout stderr").communicate(stream)
    drawn = shows_only_text(shown.encode(), style=argv[0] == "render")
    assert "^[]0;title^G" in drawn
