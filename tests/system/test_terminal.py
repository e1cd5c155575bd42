"""Untrusted text on a terminal: which characters are replaced, and by what."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostream.system.terminal import escaped, one_line, visible

REPLACED = [
    ("\0\x07\b\r\x0b\x0c\x1f\x7f", "^@^G^H^M^K^L^_^?"),
    ("\x1b[2J", "^[[2J"),
    ("\x1b]0;title\x07", "^[]0;title^G"),
    ("\x80\x85\x9b2J\x9f", "<80><85><9B>2J<9F>"),
    ("\u202eabc\u202c", "<U+202E>abc<U+202C>"),
    ("a\u00ad\u200b\u2028\u2060\ufeff", "a<U+00AD><U+200B><U+2028><U+2060><U+FEFF>"),
    ("\ufffe\ud83d", "<U+FFFE><U+D83D>"),
    ("ok\U000e0041\U000e007f", "ok<U+E0041><U+E007F>"),
]
KEPT = [
    "a\tb\nc",
    "naïve — 青空 😀",
    "👩\u200d🚀 ❤\ufe0f",
    "نمی\u200cخواهم क्\u200dष",
    "\u06dd\ue0b0",
    "<b> ^[ \\x1b",
    "",
]


@pytest.mark.parametrize(("text", "shown"), REPLACED)
def test_control_and_format_characters_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", KEPT)
def test_other_text_is_unchanged(text: str) -> None:
    assert visible(text) == text


JOINERS_AND_SIGNS = {*"\u200c\u200d\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd", *map(chr, range(0x600, 0x606))}


def is_hidden(character: str) -> bool:
    """By the categories of Unicode, where this Python's version of it knows the character."""
    code = ord(character)
    if character in "\n\t" or character in JOINERS_AND_SIGNS:
        return False
    return (
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        or 0xE0000 <= code < 0xE0080
        or 0xFDD0 <= code < 0xFDF0
        or code & 0xFFFE == 0xFFFE
    )


@pytest.mark.full
def test_exactly_the_hidden_characters_of_unicode_are_replaced() -> None:
    characters = [chr(code) for code in range(0x110000)]
    replaced = {character for character in characters if visible(character) != character}
    unassigned = {character for character in replaced if unicodedata.category(character) == "Cn"}
    assert replaced - unassigned == {*filter(is_hidden, characters)} - unassigned
    assert len(unassigned) < 300
    assert {character for character in characters if escaped(character) != character} == replaced


@settings(deadline=None)
@given(st.text())
def test_replacing_does_not_depend_on_where_the_text_is_cut(text: str) -> None:
    assert visible(text) == "".join(map(visible, text))
    assert not any(map(is_hidden, visible(text) + escaped(text)))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.text(st.sampled_from('\x1b\x7f\x80\x9b\u202e\\"\n\tu0')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(VALUES, st.booleans())
def test_escaped_ndjson_decodes_to_the_same_values(value: Any, ascii_only: bool) -> None:
    line = json.dumps(value, ensure_ascii=ascii_only)
    for end in ("", "\n", "\r\n"):
        shown = escaped(line + end)
        assert json.loads(shown) == value
        assert not any(map(is_hidden, shown))
        assert shown.endswith("\n") is end.endswith("\n")


LINES = [
    # text, on one line
    ("a\nb\r\n\tc", "a b c"),
    ("  a\x0bb\u2028c\x85d  ", "a b c d"),
    ("\x1b[31mred", "^[[31mred"),
    ("", ""),
    ("x" * 1000, "x" * 1000),
    ("x" * 1001, "x" * 999 + "…"),
    ("\x1b" * 600, "^[" * 499 + "^…"),
    ("x " * 100_000, "x " * 499 + "x…"),
]


@pytest.mark.parametrize(("text", "line"), LINES, ids=[repr(text)[:20] for text, _ in LINES])
def test_a_message_is_one_visible_line_of_limited_length(text: str, line: str) -> None:
    assert one_line(text) == line
    assert len(one_line(text, 10)) <= 10
