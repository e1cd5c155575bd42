"""No character of another's text may steer the terminal."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostream.system.terminal import escaped, one_line, visible

CONTROLS = [
    # characters, what is shown
    ("\0", "^@"),
    ("\x07", "^G"),
    ("\b", "^H"),
    ("\r", "^M"),
    ("\x0b\x0c", "^K^L"),
    ("\x1b[2J", "^[[2J"),
    ("\x1b]0;title\x07", "^[]0;title^G"),
    ("\x1f", "^_"),
    ("\x7f", "^?"),
    ("\x80", "<80>"),
    ("\x85", "<85>"),
    ("\x9b2J", "<9B>2J"),
    ("\x9f", "<9F>"),
    ("\u202eabc\u202c", "<U+202E>abc<U+202C>"),
    ("\u2066\u2067\u2068\u2069", "<U+2066><U+2067><U+2068><U+2069>"),
    ("\u061c\u200e\u200f", "<U+061C><U+200E><U+200F>"),
]
KEPT = ["a\tb\nc", "naïve — 青空 😀", "\u00a0\u00ad\u2028\u200d\u2065\u206a\u2029\ufeff", "<b> ^[ \\x1b", "שלום", ""]


@pytest.mark.parametrize(("text", "shown"), CONTROLS)
def test_a_control_character_is_shown_as_text(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", KEPT)
def test_other_text_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


def steers(character: str) -> bool:
    """Said by Unicode's own tables: a control, or a format character that has to do with direction."""
    if character in "\n\t":
        return False
    bidirectional = unicodedata.bidirectional(character)
    return unicodedata.category(character) == "Cc" or (
        unicodedata.category(character) == "Cf"
        and (bidirectional in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"} or character in MARKS)
    )


MARKS = "\u061c\u200e\u200f"


def test_of_all_of_unicode_just_what_steers_is_changed() -> None:
    characters = [chr(code) for code in range(0x110000)]
    changed = {character for character in characters if visible(character) != character}
    assert changed == set(filter(steers, characters))
    assert {character for character in characters if escaped(character) != character} == changed


@settings(deadline=None)
@given(st.text())
def test_the_shown_is_safe_however_the_text_was_cut(text: str) -> None:
    assert not any(map(steers, visible(text)))
    assert visible(text) == "".join(map(visible, text))
    assert not any(map(steers, escaped(text)))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.text(st.sampled_from('\x1b\x7f\x80\x9b\u202e\\"\n\tu0')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(VALUES, st.booleans())
def test_escaped_ndjson_has_the_same_values(value: Any, ascii_only: bool) -> None:
    line = json.dumps(value, ensure_ascii=ascii_only)
    for end in ("", "\n", "\r\n"):
        shown = escaped(line + end)
        assert json.loads(shown) == value
        assert not any(map(steers, shown))
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
def test_a_message_is_one_visible_line_and_not_endless(text: str, line: str) -> None:
    assert one_line(text) == line
    assert len(one_line(text, 10)) <= 10


@settings(deadline=None)
@given(st.text(), st.integers(1, 20))
def test_any_text_makes_one_line_within_the_limit(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    assert not any(map(steers, line))
