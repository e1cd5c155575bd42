"""Splitting and decoding do not depend on where blocks end; a line decodes to an object, None or NotNDJSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from ostream.errors import NotNDJSON
from ostream.protocol.json_codec import encode_json
from ostream.protocol.ndjson import decode_line, encode_line, is_partial_line, split_lines
from tests.fuzz.given import JSON, blocks


@given(blocks())
def test_lines_do_not_depend_on_the_blocks_and_decode_or_raise_not_ndjson(cut: list[bytes]) -> None:
    lines = [line for batch in split_lines(cut) for line in batch]
    assert lines == [line for batch in split_lines([b"".join(cut)]) for line in batch]
    assert b"".join(lines) == b"".join(cut)
    assert all(line.endswith(b"\n") for line in lines[:-1])
    assert all(line and b"\n" not in line[:-1] for line in lines)
    for line in lines:
        try:
            chunk = decode_line(line)
        except NotNDJSON as error:
            assert error.line and str(error) and is_partial_line(line) in (True, False)
        else:
            assert chunk is None or decode_line(encode_line(chunk)) == chunk
            assert chunk is None or encode_line(chunk).find(b"\n") == len(encode_line(chunk)) - 1


@given(JSON)
def test_encoding_equals_that_of_json(value: Any) -> None:
    try:
        dumped = json.dumps({"a": value}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:  # infinity, NaN, or an integer with too many digits
        with pytest.raises(ValueError):
            encode_json({"a": value})
    else:
        assert encode_json({"a": value}) == dumped
