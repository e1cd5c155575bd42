"""Thinking, answer and code block do not depend on where the text is cut; only tags, fences and space are lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ostream.protocol.text import FirstCodeBlock, ThinkTagSplitter

PIECE = st.sampled_from(
    ["<think>", "</think>", "<thi", "nk>", "</", "```", "``", "~~~", "\n", "\r\n", " ", "\t", "a", "```sh\n"]
)
TEXT = st.lists(PIECE | st.text(max_size=3), max_size=12)


def split(fragments: list[str], opened: bool) -> tuple[str, str]:
    tags = ThinkTagSplitter(opened)
    parts = [tags.add(fragment) for fragment in fragments]
    parts.append(tags.end())
    return "".join(thinking for thinking, _ in parts), "".join(answer for _, answer in parts)


@given(TEXT, st.booleans())
def test_think_tags_do_not_depend_on_fragments_and_lose_only_tags_and_space(fragments: list[str], opened: bool) -> None:
    text = "".join(fragments)
    thinking, answer = split(fragments, opened)
    assert (thinking, answer) == split([text], opened) == split(list(text), opened)
    if text.lstrip().startswith("<think>"):
        body, opened = text.lstrip()[len("<think>") :], True
    else:
        body = text
    before, closing, after = body.partition("</think>")
    if not opened:
        assert (thinking, answer) == ("", text)
    else:
        assert (thinking, answer) == ((before, after.lstrip()) if closing else (body, ""))


@given(TEXT)
def test_the_code_block_does_not_depend_on_fragments(fragments: list[str]) -> None:
    def code(pieces: list[str]) -> str:
        block = FirstCodeBlock()
        text = "".join(map(block.add, pieces))
        return text + block.end()

    text = "".join(fragments)
    assert code(fragments) == code([text]) == code(list(text))
