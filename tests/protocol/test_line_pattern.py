"""The pattern of an ordinary line accepts only what decoding accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.protocol.error_lines import CHUNK, line_kind
from ostream.protocol.line_pattern import LARGEST_BLOCK, are_ordinary
from ostream.protocol.ndjson import decode_line
from tests.server import body_of

HEAD = '{"model":"m","created_at":"2026-01-02T03:04:05.6Z",'
CHAT = HEAD + '"message":{"role":"assistant","content":"é \\u003c\\n\\ud83d"},"done":false}\n'
THINK = CHAT.replace('"},"done"', '","thinking":""},"done"')
GENERATE = HEAD + '"response":" \\"a\\\\","done":false}\n'
ORDINARY = [line.encode() for line in (CHAT, THINK, GENERATE, GENERATE.replace(',"done"', ',"thinking":"b","done"'))]


def is_ordinary(line: bytes) -> bool:
    return are_ordinary(ORDINARY[0] * 20 + line)


def test_the_lines_of_a_server_match_unless_they_are_few_or_long() -> None:
    recorded = [line + b"\n" for name in ("chat-stream", "generate-stream") for line in body_of(name).splitlines()[:-1]]
    assert are_ordinary(b"".join([*ORDINARY * 4, *recorded]))
    # The time and the memory of the matcher grow with the escapes and the lines.
    escapes = ORDINARY[0].replace(b"\\n", b"\\n" * (LARGEST_BLOCK // 2 - 100))
    assert are_ordinary(escapes)
    assert not is_ordinary(escapes)
    assert not are_ordinary(escapes[:-3] + b"\n")


@pytest.mark.parametrize(
    "line",
    [
        b'{"\\u0065rror":"boom","done":false}\n',
        b'{oops ,"done":false}\n',
        *(
            ORDINARY[0].replace(b'"m"', b'"%b"' % new)
            for new in (b"\0", b"\n", b'm","error":"boom', b'm","x":%s,"a":"b' % (b"9" * 5000))
        ),
        *(ORDINARY[0].replace("é".encode(), new) for new in (b"\xe9", b"\0", b"\n")),
        ORDINARY[0].replace(b"false", b"true"),
        ORDINARY[0].replace(b"\\n", b"\\x"),
        ORDINARY[0].rstrip(),
        ORDINARY[0] + b"\n",
    ],
    ids=lambda line: line[:60],
)
def test_a_line_with_anything_else_does_not_match(line: bytes) -> None:
    assert not is_ordinary(line)
    assert not are_ordinary(line + ORDINARY[0] * 20)


@st.composite
def mutated(draw: Any) -> bytes:
    """An ordinary line with a few bytes replaced, removed or inserted."""
    line = bytearray(draw(st.sampled_from(ORDINARY)))
    alphabet = st.sampled_from(b'"\\{}[],: \n\r\0\x1f\x7f\xc3\xa9\xffuntfalse0123') | st.integers(0, 255)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(line)))
        line[place : place + draw(st.integers(0, 2))] = bytes(draw(st.lists(alphabet, max_size=2)))
    return bytes(line)


@given(mutated())
def test_a_line_that_matches_is_a_chunk_before_the_last(line: bytes) -> None:
    if not is_ordinary(line):
        return
    chunk = decode_line(line)
    assert chunk is not None
    assert json.loads(line) == chunk
    assert line_kind(chunk) == CHUNK
    assert chunk["done"] is False
    assert chunk.keys() <= {"model", "created_at", "message", "response", "thinking", "done"}
