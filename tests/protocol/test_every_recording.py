"""Every recorded answer of a real server, divided or truncated at every byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ostream.errors import NotNDJSON
from ostream.protocol.chunk import content, thinking, tool_calls
from ostream.protocol.error_lines import is_error
from ostream.protocol.ndjson import decode_line, encode_line, is_partial_line, split_lines
from ostream.recording.format import parse
from tests.server import NAMES, body_of
from tests.tiers import sample

EXAMPLES = sorted((Path(__file__).parent.parent.parent / "examples" / "recordings").glob("*.ndjson"))
# These are not NDJSON: a plain text and an empty body.
TEXTS = {"notfound": b"404 page not found", "bad-host": b""}

BYTES = {**{name: body_of(name) for name in NAMES}, **{path.name: path.read_bytes() for path in EXAMPLES}}
OBJECTS = sorted(set(BYTES) - set(TEXTS))


def lines_of(*blocks: bytes) -> list[bytes]:
    return [line for lines in split_lines(blocks) for line in lines]


@pytest.mark.parametrize("name", OBJECTS)
def test_every_line_decodes_as_with_json(name: str) -> None:
    whole = BYTES[name]
    lines = lines_of(whole)
    assert lines == whole.splitlines(keepends=True)  # in bytes that cuts at \n and \r, of which there are none
    for line in lines:
        value = json.loads(line)
        assert decode_line(line) == value
        assert json.loads(encode_line(value)) == value


@pytest.mark.parametrize("name", sample(sorted(BYTES), 10))
def test_cut_in_two_anywhere_gives_the_same_lines(name: str) -> None:
    whole = BYTES[name]
    lines = lines_of(whole)
    assert all(lines_of(whole[:cut], whole[cut:]) == lines for cut in range(len(whole) + 1))


@pytest.mark.parametrize("name", sample(OBJECTS, 10))
def test_every_prefix_has_complete_lines_and_at_most_one_truncated_line(name: str) -> None:
    whole = BYTES[name]
    ends = {0}  # where a whole object has just ended, with or without its newline
    at = 0
    for line in lines_of(whole):
        at += len(line)
        ends |= {at, at - len(line) + len(line.rstrip(b"\n"))}
    for size in range(len(whole) + 1):
        lines = lines_of(whole[:size])
        for line in lines[:-1]:
            assert not is_partial_line(line)
        if size in ends:
            assert all(isinstance(decode_line(line), dict) for line in lines)
        else:
            assert is_partial_line(lines[-1]), size
            with pytest.raises(NotNDJSON):
                decode_line(lines[-1])


SKY = 'The sky is blue, naïve café — 青空 😀\n<b> & "quoted"\t\\ \u2028</b> done.'
WORDS = " w00 w01 w02 w03 w04"
SAID = [
    # name, content, thinking, names of the called tools, whether there is a done, whether there is an error line
    ("chat-stream", SKY, "", [], True, False),
    ("generate-stream", SKY, "", [], True, False),
    ("chat-think-true", "The answer is: 42!", "Hmm let me see…\n\n", [], True, False),
    ("generate-think-true", "The answer is: 42!", "Hmm let me see…\n\n", [], True, False),
    ("chat-think-false", "No thinking here; 43", "", [], True, False),
    ("chat-tools-text", "Let me check that.\n", "", ["get_time", "get_weather"], True, False),
    ("chat-tools-stream", "", "", ["get_weather"], True, False),
    ("chat-tools-nostream", "", "", ["get_weather"], True, False),
    ("chat-load", "", "", [], True, False),
    ("generate-unload", "", "", [], True, False),
    ("chat-repeat-limit", "start:" + 31 * " ha", "", [], False, False),
    ("server-kill-midstream", WORDS, "", [], False, False),
    ("kill-chat", WORDS, "", [], False, True),
    ("kill-generate", WORDS, "", [], False, True),
    ("chat-unknown-model", "", "", [], False, True),
    ("broken-missing-blob", "", "", [], False, True),
]


@pytest.mark.parametrize(
    ("name", "answer", "reasoning", "called", "done", "failed"), SAID, ids=[row[0] for row in SAID]
)
def test_the_views_return_text_thinking_and_calls(
    name: str, answer: str, reasoning: str, called: list[str], done: bool, failed: bool
) -> None:
    chunks = [decode_line(line) or {} for line in lines_of(BYTES[name])]
    assert "".join(map(content, chunks)) == answer
    assert "".join(map(thinking, chunks)) == reasoning
    assert [call["function"]["name"] for chunk in chunks for call in tool_calls(chunk)] == called
    assert any(chunk.get("done") is True for chunk in chunks) is done
    assert [is_error(chunk) for chunk in chunks] == [False] * (len(chunks) - 1) + [failed]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_a_recording(path: Path) -> None:
    exchanges = parse(lines_of(path.read_bytes()), path.name)
    assert exchanges
    for exchange in exchanges:
        assert exchange.path in ("/api/chat", "/api/generate")
        assert exchange.body
        assert exchange.lines
        assert all(b"elapsed" not in line for line, _ in exchange.lines)
