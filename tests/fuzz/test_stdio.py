"""Any text can be written and read back, any message is one line, and the worst status does not depend on order."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import OstreamError
from ostream.protocol.ndjson import encode_line
from ostream.system.input import read_blocks
from ostream.system.output import Output, encode_text
from ostream.system.terminal import one_line
from tests.fuzz.given import LINES
from tests.system.test_terminal import is_hidden

ANY = st.text(st.characters() | st.characters(categories=["Cs"]))


@given(st.lists(ANY, max_size=4), st.lists(LINES, max_size=4))
def test_written_text_and_lines_are_read_back(texts: list[str], lines: list[bytes]) -> None:
    reader, writer = os.pipe()
    out = Output(writer, "pipe")
    out.write_text(*texts)
    for data in lines:
        out.write_lines(data)
    os.close(writer)
    read = b"".join(read_blocks(reader, "pipe"))
    os.close(reader)
    assert read == b"".join([*map(encode_text, texts), *lines])


@given(ANY, ANY, st.binary())
def test_a_message_and_an_error_line_are_one_line(text: str, advice: str, partial: Any) -> None:
    error = OstreamError(text, advice=advice)
    error.partial = partial
    line = encode_text(one_line(f"{error}; {error.advice}")).decode()
    assert len(line.splitlines()) <= 1
    assert not any(map(is_hidden, line))
    assert encode_line(error.error_line()).count(b"\n") == 1
