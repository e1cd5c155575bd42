"""NDJSON: splitting blocks into lines, decoding and encoding."""

from __future__ import annotations

import json
import runpy
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import NotNDJSON
from ostream.protocol import json_codec, ndjson, response_lines
from ostream.protocol.ndjson import (
    LINE_LIMIT,
    decode_line,
    decode_lines,
    encode_line,
    is_object_prefix,
    is_partial_line,
    split_lines,
)


def lines_of(blocks: list[bytes], limit: int = LINE_LIMIT) -> list[bytes]:
    return [line for lines in split_lines(blocks, limit) for line in lines]


def test_lines_are_yielded_with_the_block_that_ends_them() -> None:
    given: list[bytes] = []

    def blocks() -> Any:
        for block in (b"a\nb\nc", b"", b"d", b"e\n", b"f"):
            given.append(block)
            yield block

    seen = [(lines, len(given)) for lines in split_lines(blocks())]
    assert seen == [([b"a\n", b"b\n"], 1), ([b"cde\n"], 4), ([b"f"], 5)]


def test_a_line_in_many_blocks_takes_linear_time() -> None:
    # Copied for each piece, half a terabyte would move in a minute; this takes 0.05 s.
    piece, pieces = b"x" * 64, 1 << 17
    before = time.process_time()
    (lines,) = split_lines(piece if n < pieces else b"\n" for n in range(pieces + 1))
    assert time.process_time() - before < 10
    assert lines == [piece * pieces + b"\n"]


LIMIT = 10
TOO_LONG = [
    # blocks, the lines that come before the error
    ([b"x" * 11], []),
    ([b"x" * 10, b"\n"], []),
    ([b"x" * 10 + b"\n"], []),
    ([b"xxxxx", b"xxxxx", b"x"], []),
    ([b"a\n", b"x" * 11 + b"\n", b"b\n"], [b"a\n"]),
    ([b"a\n" + b"x" * 11 + b"\nb\n"], [b"a\n"]),
    ([b"a\nb\n" + b"x" * 11], [b"a\n", b"b\n"]),
]


@pytest.mark.parametrize(("blocks", "before"), TOO_LONG)
def test_a_line_over_the_limit_is_an_error_after_the_lines_before_it(blocks: list[bytes], before: list[bytes]) -> None:
    seen: list[bytes] = []
    with pytest.raises(NotNDJSON, match="a line of more than 10 bytes") as caught:
        for lines in split_lines(blocks, LIMIT):
            seen += lines
    assert seen == before
    assert caught.value.line.rstrip(b"\n") in (b"x" * 10, b"x" * 11)


def test_the_limit_is_64_mib_and_the_error_carries_only_the_beginning() -> None:
    with pytest.raises(NotNDJSON, match=r"^a line of more than 67,108,864 bytes$") as caught:
        lines_of([b"x" * (1 << 20)] * 64 + [b"\n"])
    assert caught.value.line == b"x" * 1000


@pytest.mark.parametrize("blocks", [[b"x" * 10], [b"123456789\n"], [b"123456789\n" * 3], [b"12345", b"6789\n1\n"]])
def test_lines_up_to_the_limit_pass_however_many_a_block_holds(blocks: list[bytes]) -> None:
    assert b"".join(lines_of(blocks, LIMIT)) == b"".join(blocks)


OBJECTS = [
    # line, object
    (b'{"a":1}\n', {"a": 1}),
    (b'{"done":true}', {"done": True}),  # no newline at the end
    (b'{"a":1}\r\n', {"a": 1}),
    (b'{"a":1}\r', {"a": 1}),
    (b' \t{"a" : 1} \t\n', {"a": 1}),
    (b"\n", None),  # blank lines
    (b" \t\r\n", None),
    (b"\xef\xbb\xbf\n", None),
    (b'{"a":"\xf0\x9f\x98\x80"}\n', {"a": "😀"}),
    (b'{"a":"x\xc2\x85y"}\n', {"a": "x\x85y"}),  # U+0085, unescaped
    (rb'{"a":"\u003cb\u003e\u2028\ufffd\ud83d\ude00"}', {"a": "<b>\u2028\ufffd😀"}),
    (rb'{"a":"\ud83d"}', {"a": "\ud83d"}),  # a lone surrogate
    (b'{"a":"\xff\xf0\x9f"}\n', {"a": "\ufffd\ufffd"}),  # not UTF-8
    (b'\xef\xbb\xbf{"a":1}\n', {"a": 1}),  # byte order mark
    (b'\xef\xbb\xbf {"a":"\xff"}\n', {"a": "\ufffd"}),
    (b'{"a":1e999,"b":-1e999}\n', {"a": 1.7976931348623157e308, "b": -1.7976931348623157e308}),
    (b'{"a":1,"a":2}\n', {"a": 2}),
    (b"{}\n", {}),
]


@pytest.mark.parametrize(("line", "value"), OBJECTS)
def test_decode_line_returns_the_object_or_none(line: bytes, value: dict[str, Any] | None) -> None:
    assert decode_line(line) == value


DAMAGE = [
    # line, part of the message
    (b'{"a":1}{"b":2}\n', "not JSON: Extra data at column 8"),
    (b'{"a":1}\x0b', "not JSON: Extra data at column 8"),
    (b"{\n", "not JSON: Expecting property name enclosed in double quotes at column 3"),  # pretty-printed
    (b'{"a":}\n', "not JSON: Expecting value at column 6"),
    (b'{"a":"\x1b"}\n', "not JSON: Invalid control character at at column 7"),
    (b'data: {"a":1}\n', "server-sent events, not NDJSON"),
    (b": comment\n", "server-sent events, not NDJSON"),
    (b"Retry: 10\n", "server-sent events, not NDJSON"),
    (b"event: message\r\n", "server-sent events, not NDJSON"),
    (b"<!DOCTYPE html><html>\n", "this is HTML or XML, not NDJSON"),
    (b"hello\n", "not JSON: Expecting value at column 1"),
    (b"null\n", "not a JSON object but null"),
    (b"[1]\n", "not a JSON object but an array"),
    (b'"x"\n', "not a JSON object but a string"),
    (b"12\n", "not a JSON object but a number"),
    (b"true\n", "not a JSON object but true or false"),
    (b'{"a":NaN}\n', "not usable: NaN is not JSON"),
    (b'{"a":[-Infinity]}\n', "not usable: -Infinity is not JSON"),
    (b"[" * 100_000 + b"\n", "not usable: nested too deeply"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not usable: nested too deeply"),
    (b"\0\0\n", "not JSON: Expecting value at column 1"),
    (b"\x1f\x8b\x08\0\n", "this is gzip data; decompress it with 'gzip -dc'"),
    (b"\xff\xfe{\0\n", "this is UTF-16 or another encoding"),
]


@pytest.mark.parametrize(("line", "message"), DAMAGE, ids=[repr(line[:20]) for line, _ in DAMAGE])
def test_a_line_without_an_object_raises_an_error_with_the_reason(line: bytes, message: str) -> None:
    with pytest.raises(NotNDJSON) as caught:
        decode_line(line)
    assert message in str(caught.value)
    assert caught.value.exit_status == 2


ANY_LINES = st.lists(st.sampled_from([line for line, _ in OBJECTS + DAMAGE[:-3]]) | st.binary(max_size=9), max_size=4)


@given(ANY_LINES)
def test_decode_lines_agrees_with_decode_line_on_any_lines(pieces: list[bytes]) -> None:
    lines = lines_of([b"".join(piece if n % 2 else piece + b"\n" for n, piece in enumerate(pieces))])
    expected: list[Any] = []
    failed = None
    for line in lines:
        try:
            expected.append(decode_line(line))
        except NotNDJSON as error:
            failed = error
            break
    values, damage = decode_lines(lines)
    assert (values, str(damage)) == (expected, str(failed))
    assert getattr(damage, "line", None) == getattr(failed, "line", None)


def test_blank_lines_are_found_without_an_exception_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    # As for a damaged line. A megabyte of them would take 2 s.
    monkeypatch.delattr(ndjson, "decode_line")
    assert decode_lines([b"\n", b" \t\r\n", b'{"a":1}\n', b"\n"]) == ([None, None, {"a": 1}, None], None)


def test_an_integer_of_a_hundred_thousand_digits_is_a_number_or_an_error() -> None:
    # Interpreters without the limit on digits read it.
    try:
        value = decode_line(b'{"a":' + b"9" * 100_000 + b"}\n")
    except NotNDJSON as error:
        assert "not usable: Exceeds the limit" in str(error)
        assert "set_int_max_str_digits" not in str(error)  # that advice is not for users
    else:
        assert value == {"a": 10**100_000 - 1}


@pytest.mark.parametrize("line", [b'{"a":\xff}\n', b' \t{"a":\xff}\n', b'\xef\xbb\xbf{"a"\n'])
def test_the_error_has_the_line_as_it_was_read(line: bytes) -> None:
    with pytest.raises(NotNDJSON) as caught:
        decode_line(line)
    assert caught.value.line == line


PARTIAL = [
    (b'{"a":', True),
    (b"{", True),
    (b'\xef\xbb\xbf {"a', True),
    (b'{"a":\n', False),
    (b"<html", False),
    (b"404 page not found", False),
    (b"[1", False),
    (b'{"a":1}', False),
]


@pytest.mark.parametrize(("line", "partial"), PARTIAL)
def test_only_the_beginning_of_an_object_without_a_newline_is_partial(line: bytes, partial: bool) -> None:
    assert is_partial_line(line) is partial


def test_any_beginning_of_an_object_is_a_prefix() -> None:
    line = b'{"a":"x\\u00e9\\ud83d\\ude00 \xc3\xa9\\"y","b":[-1.5e+3,true,null,{}], "c" : false}'
    assert json.loads(line)
    for end in range(1, len(line)):
        assert is_object_prefix(line[:end]), line[:end]
    assert is_object_prefix(b'{"a":' + b"[" * 100_000)


@pytest.mark.parametrize(
    "line",
    [
        b'{"a":"x\n',
        b'{"a":NaN',
        b'{"a":NaN}',
        b'{"a":"\0"}',
        b'{"a":tru}',
        b'{"a":nul,',
        b'{"a" x',
        b'{"a":1}{',
        b'{"a":1-}',
        b'{"a":"\\uZZZZ"}',
        b"{'a'",
        b"{{ mustache",
        b"<p>",
    ],
)
def test_a_line_with_other_damage_is_no_prefix(line: bytes) -> None:
    assert not is_object_prefix(line)


def test_encoding_is_compact_utf8_and_a_lone_surrogate_stays_an_escape() -> None:
    assert encode_line({"a": "ü😀", "b": [1, None]}) == '{"a":"ü😀","b":[1,null]}\n'.encode()
    assert encode_line({"a": "ü\ud83d", "b": 1}) == rb'{"a":"\u00fc\ud83d","b":1}' + b"\n"


def test_an_object_too_deep_to_encode_raises_not_ndjson() -> None:
    value: dict[str, Any] = {}
    for _ in range(100_000):
        value = {"a": value}
    with pytest.raises(NotNDJSON, match="nested too deeply"):
        encode_line(value)


def test_nan_is_not_encoded() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        encode_line({"a": json.loads("NaN")})


def _other_scanner(settings: Any) -> Any:
    return settings.an_attribute_of_a_later_python


_OTHER_MODULE = SimpleNamespace(make_scanner=_other_scanner, make_encoder=lambda: None, encode_basestring=None)


@pytest.mark.parametrize("module", [None, _OTHER_MODULE])
def test_lines_are_decoded_and_encoded_without_the_code_in_c(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    monkeypatch.setitem(sys.modules, "_json", module)
    codec = runpy.run_path(json_codec.__file__)
    assert codec["encode_json"]({"ü": [1, None]}) == '{"ü":[1,null]}'
    scan_once = codec["scan_once"]
    assert scan_once('{"a": [1, 1e999]}', 0) == ({"a": [1, sys.float_info.max]}, 17)
    with pytest.raises(ValueError, match="NaN is not JSON"):
        scan_once("[NaN]", 0)


def test_indented_object_of_more_than_the_limit_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [[b"{\n"], [b' "a": 1,\n'], [b' "b": 2\n'], [b"}\n"]]
    assert list(response_lines.join_indented(iter(lines))) == [[b'{\t"a": 1,\t"b": 2\t}\n']]
    broken_string = [b'{"a":"x\n', b'y"}\n']
    assert list(response_lines.join_indented(iter([broken_string[:1], broken_string[1:]]))) == [broken_string]
    monkeypatch.setattr(response_lines, "LINE_LIMIT", 10)
    assert list(response_lines.join_indented(iter(lines))) == [[line for [line] in lines[:3]]]
