"""However text is cut into fragments, thinking, answer and the fenced block are the same, and nothing but tags, fences
and the space around them is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ostream.protocol.text import TextSelector

PIECE = st.sampled_from(
    ["<think>", "</think>", "<thi", "nk>", "</", "```", "``", "~~~", "\n", "\r\n", " ", "\t", "a", "```sh\n"]
)
TEXT = st.lists(PIECE | st.text(max_size=3), max_size=12)


def shaped(what: str, fragments: list[str], think_tags: bool, code: bool) -> str:
    shape = TextSelector(what, think_tags, code, lambda note: None)
    return "".join([*(shape.add({"response": fragment}) for fragment in fragments), shape.end()])


@given(TEXT, st.sampled_from(["content", "thinking"]), st.booleans(), st.booleans())
def test_extract(fragments: list[str], what: str, think_tags: bool, code: bool) -> None:
    whole = "".join(fragments)
    code = code and what == "content"
    text = shaped(what, fragments, think_tags, code)
    assert text == shaped(what, [whole], think_tags, code) == shaped(what, list(whole), think_tags, code)
    if not think_tags and not code:
        assert text == (whole if what == "content" else "")
    if think_tags and not code:
        other = shaped("thinking" if what == "content" else "content", fragments, True, False)
        assert len(text) + len(other) <= len(whole)
