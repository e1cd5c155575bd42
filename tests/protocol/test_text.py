"""Text out of text: think tags and the first fenced code block, however the text comes in pieces."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostream.protocol.text import FirstCodeBlock, TextSelector, ThinkTagSplitter


def part(fragments: list[str]) -> tuple[str, str]:
    """Thinking and answer of a text in fragments."""
    tags = ThinkTagSplitter()
    parts = [tags.add(fragment) for fragment in fragments] + [tags.end()]
    return "".join(thinking for thinking, _ in parts), "".join(answer for _, answer in parts)


def code_of(fragments: list[str]) -> str:
    fence = FirstCodeBlock()
    return "".join([fence.add(fragment) for fragment in fragments] + [fence.end()])


TAGGED = [
    # text, thinking, answer
    ("<think>why</think>because", "why", "because"),
    ("<think>\nwhy\n</think>\n\nbecause\n", "\nwhy\n", "because\n"),
    (" \n<think>why</think> because", "why", "because"),
    # only the closing tag: the opening one was in the prompt
    ("why</think>because", "why", "because"),
    (" why\n</think>\nbecause", " why\n", "because"),
    ("</think>because", "", "because"),
    # no tag at all
    ("because", "", "because"),
    (" \n because \n", "", " \n because \n"),
    ("", "", ""),
    (" \n", "", " \n"),
    # never closed
    ("<think>why", "why", ""),
    ("<think>why</thin", "why</thin", ""),
    ("<think>", "", ""),
    ("<thin", "", "<thin"),
    (" <", "", " <"),
    ("because</thin", "", "because</thin"),
    # only a block at the start counts, and only the first end of it
    ("<think>a</think>b<think>c</think>d", "a", "b<think>c</think>d"),
    ("<think>a</think></think>b", "a", "</think>b"),
    ("<think>a<think>b</think>c", "a<think>b", "c"),
    ("so <think>a</think>b", "so <think>a", "b"),
    ("<think></think>", "", ""),
    ("<think>a</think> \n ", "a", ""),
    # what only looks like a tag
    ("<thinking>a</thinking>b", "", "<thinking>a</thinking>b"),
    ("<THINK>a", "", "<THINK>a"),
    ("<think>1 < 2 </ </think</think>c", "1 < 2 </ </think", "c"),
    ("<<think>a</think>b", "<<think>a", "b"),
    ("<think>a<</think>b", "a<", "b"),
]


@pytest.mark.parametrize(("text", "thinking", "answer"), TAGGED)
def test_think_tags_part_thinking_from_answer(text: str, thinking: str, answer: str) -> None:
    assert part([text]) == (thinking, answer)
    assert part(list(text)) == (thinking, answer)
    for cut in range(len(text) + 1):
        assert part([text[:cut], text[cut:]]) == (thinking, answer)


TAG_PIECES = st.lists(st.sampled_from(["<think>", "</think>", "<", "</", "think>", "</thin", " ", "\n", "a", "b<"]))


@settings(deadline=None, max_examples=300)
@given(TAG_PIECES)
def test_think_tags_do_not_mind_where_the_text_is_cut(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert part(pieces) == part(list(whole)) == part([whole])


@settings(deadline=None, max_examples=300)
@given(TAG_PIECES)
def test_think_tags_lose_nothing_but_tags_and_space_around_them(pieces: list[str]) -> None:
    whole = "".join(pieces)
    thinking, answer = part([whole])
    opening = "<think>" if whole.lstrip().startswith("<think>") else ""
    body = whole.lstrip()[len(opening) :] if opening else whole
    before, closing, after = body.partition("</think>")
    if closing:
        assert (thinking, answer) == (before, after.lstrip())
    else:
        assert (thinking, answer) == ((body, "") if opening else ("", whole))


def test_thinking_and_answer_come_as_soon_as_they_are_known() -> None:
    tags = ThinkTagSplitter()
    steps = [("<thi", ("", "")), ("nk>a", ("a", "")), ("b", ("b", "")), ("<", ("", "")), ("c</think>d", ("<c", "d"))]
    for fragment, settled in [*steps, ("e</think>", ("", "e</think>"))]:
        assert tags.add(fragment) == settled
    assert tags.end() == ("", "")


FENCED = [
    # text, the code
    ("```\na\n```\n", "a\n"),
    ("Do:\n\n```python\nx = 1\n\ny = 2\n```\nDone.\n", "x = 1\n\ny = 2\n"),
    ("~~~ sh `x`\nls\n~~~\n", "ls\n"),
    ("```\na\n```", "a\n"),
    ("```\r\na\r\n```\r\n", "a\r\n"),
    # only the first block
    ("```\na\n```\n```\nb\n```\n", "a\n"),
    ("```\n```\n```\nb\n```\n", ""),
    # never closed: to the end
    ("```\na\nb", "a\nb"),
    ("```\na\n``", "a\n``"),
    ("```", ""),
    ("```sh", ""),
    # the end needs the same character, at least as often, and nothing behind it
    ("````\n```\na\n````\n", "```\na\n"),
    ("```\n~~~\na\n`````\nb", "~~~\na\n"),
    ("```\na\n``` b\n```\n", "a\n``` b\n"),
    ("```\na\n```  \nb", "a\n"),
    # a fence within the code, as in a docstring, stands further in
    ('```python\ndef f():\n    """\n    ```\n    x\n    ```\n    """\n```\n', None),
    ("```\na\n   ```\nb", "a\n"),
    # an indented fence, as under a list item, indents its code
    ("1. Do:\n   ```sh\n   ls\n     -l\n   ```\n", "ls\n  -l\n"),
    ("1. Do:\n\n    ```sh\n    ls\n\n  -l\n    ```\n", "ls\n\n-l\n"),
    ("10. Do:\n       - now:\n         ```sh\n         ls\n         ```\nb", "ls\n"),
    # no fence
    ("a ``` b\n", ""),
    ("```a``` b\n", ""),
    ("``\na\n``\n", ""),
    ("    x = 1\n", ""),
    ("", ""),
]


@pytest.mark.parametrize(("text", "code"), FENCED)
def test_the_first_fenced_block_is_the_code(text: str, code: str | None) -> None:
    if code is None:
        code = text.partition("\n")[2].rpartition("```")[0]
    assert code_of([text]) == code
    for cut in range(len(text) + 1):
        assert code_of([text[:cut], text[cut:]]) == code


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(["```", "`", "~~~", "\n", "\n\n", " ", "    ", "a", "sh", "\r\n", "```\n", "~~~~\n"])))
def test_fences_do_not_mind_where_the_text_is_cut(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert code_of(pieces) == code_of(list(whole)) == code_of([whole])


def test_code_comes_line_by_line_as_soon_as_a_line_is_whole() -> None:
    fence = FirstCodeBlock()
    steps = [("Do:\n``", ""), ("`\nx =", ""), (" 1", ""), ("\ny", "x = 1\n"), ("\n``", "y\n"), ("`\nz\n", "")]
    for fragment, settled in steps:
        assert fence.add(fragment) == settled
    assert fence.end() == ""
    assert fence.found


def test_a_line_of_megabytes_in_small_fragments_is_not_copied_for_each_fragment() -> None:
    # Were it, half a terabyte would move, which takes a minute.
    fragments = ["```\n", *["x" * 64] * (1 << 17), "\n```\n"]
    before = time.process_time()
    assert code_of(fragments) == "x" * (64 << 17) + "\n"
    assert time.process_time() - before < 10


def chunk(content: str, thinking: str = "") -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content, "thinking": thinking}, "done": False}


ANSWER = [chunk("", "deep "), chunk("<think>why"), chunk("</think>\n\n```\n1"), chunk("\n```\nso")]
SHAPES = [
    # what, think tags, only code, the text of ANSWER
    ("content", True, False, "```\n1\n```\nso"),
    ("content", False, True, "1\n"),
    ("content", True, True, "1\n"),
    ("content", False, False, "<think>why</think>\n\n```\n1\n```\nso"),
    ("thinking", True, False, "deep why"),
    ("thinking", False, False, "deep "),
]


@pytest.mark.parametrize(("what", "think_tags", "code", "text"), SHAPES)
def test_a_shape_serves_one_response_after_the_other(what: str, think_tags: bool, code: bool, text: str) -> None:
    notes: list[str] = []
    shape = TextSelector(what, think_tags, code, notes.append)
    for _ in range(2):
        assert "".join([shape.add(one) for one in ANSWER] + [shape.end()]) == text
    assert notes == []


HELD = [
    # what, think tags, only code, content, the text, is there a note
    ("content", True, False, "no tags at all", "no tags at all", False),
    ("thinking", True, False, "no tags at all", "", False),
    ("content", True, False, "<think>never closed", "", False),
    ("thinking", True, False, "<think>never closed</", "never closed</", False),
    ("content", True, True, "```\n1\n2", "1\n2", False),
    ("content", False, True, "no code", "", True),
    ("content", True, True, "no code", "", True),
    ("content", True, True, "<think>```\n1\n```</think>no code", "", True),
]


@pytest.mark.parametrize(("what", "think_tags", "code", "content", "text", "noted"), HELD)
def test_what_is_held_comes_at_the_end_and_missing_code_is_noted(
    what: str, think_tags: bool, code: bool, content: str, text: str, noted: bool
) -> None:
    notes: list[str] = []
    shape = TextSelector(what, think_tags, code, notes.append)
    assert shape.add(chunk(content)) + shape.end() == text
    assert len(notes) == noted
    assert all("no fenced code block" in note for note in notes)
