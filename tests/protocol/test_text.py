"""<think> tags and the first fenced code block, however the text is cut into fragments."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ostream.protocol.text import FirstCodeBlock, ThinkTagRewriter, ThinkTagSplitter


def split(fragments: list[str], opened: bool = False) -> tuple[str, str]:
    """Thinking and answer of a text in fragments."""
    tags = ThinkTagSplitter(opened)
    parts = [tags.add(fragment) for fragment in fragments] + [tags.end()]
    return "".join(thinking for thinking, _ in parts), "".join(answer for _, answer in parts)


def code_of(fragments: list[str]) -> str:
    fence = FirstCodeBlock()
    return "".join([fence.add(fragment) for fragment in fragments] + [fence.end()])


TAGGED = [
    # text, thinking, answer
    ("<think>why</think>because", "why", "because"),
    ("<think>\nwhy\n</think>\n\nbecause\n", "\nwhy\n", "because\n"),
    # only the closing tag
    ("why</think>because", "", "why</think>because"),
    # no tag at all
    (" \n because \n", "", " \n because \n"),
    ("", "", ""),
    # never closed
    ("<think>why", "why", ""),
    ("<think>why</thin", "why</thin", ""),
    ("<thin", "", "<thin"),
    ("because</thin", "", "because</thin"),
    # only a block at the start counts, and only the first end of it
    ("<think>a</think>b<think>c</think>d", "a", "b<think>c</think>d"),
    ("<think>a</think></think>b", "a", "</think>b"),
    ("<think>a<think>b</think>c", "a<think>b", "c"),
    ("so <think>a</think>b", "", "so <think>a</think>b"),
    ("<think>a</think> \n ", "a", ""),
    # what only looks like a tag
    ("<thinking>a</thinking>b", "", "<thinking>a</thinking>b"),
    ("<think>1 < 2 </ </think</think>c", "1 < 2 </ </think", "c"),
    ("<<think>a</think>b", "", "<<think>a</think>b"),
    ("<think>a<</think>b", "a<", "b"),
]


OPENED = [
    ("why</think>because", "why", "because"),
    (" why\n</think>\nbecause</think>", " why\n", "because</think>"),
    ("</think>because", "", "because"),
    ("<think>why</think>because", "why", "because"),
    (" <thi", " <thi", ""),
    ("", "", ""),
]


@pytest.mark.parametrize(
    ("opened", "text", "thinking", "answer"), [*((False, *row) for row in TAGGED), *((True, *row) for row in OPENED)]
)
def test_think_tags_split_thinking_from_answer(opened: bool, text: str, thinking: str, answer: str) -> None:
    assert split(list(text), opened) == (thinking, answer)
    for cut in range(len(text) + 1):
        assert split([text[:cut], text[cut:]], opened) == (thinking, answer)


def test_thinking_and_answer_are_returned_as_soon_as_they_are_known() -> None:
    tags = ThinkTagSplitter()
    steps = [("<thi", ("", "")), ("nk>a", ("a", "")), ("b", ("b", "")), ("<", ("", "")), ("c</think>d", ("<c", "d"))]
    for fragment, known in [*steps, ("e</think>", ("", "e</think>"))]:
        assert tags.add(fragment) == known
    untagged = ThinkTagSplitter()
    assert [untagged.add(fragment) for fragment in (" ", "<", "a", "b")] == [
        *(("", ""), ("", ""), ("", " <a"), ("", "b")),
    ]
    assert ThinkTagSplitter(opened=True).add("a") == ("a", "")


def test_leading_white_space_is_kept_in_linear_time_and_bounded_memory() -> None:
    tags = ThinkTagSplitter()
    before = time.process_time()
    kept = 0
    for _ in range(1 << 18):
        kept += 32 - len(tags.add(" " * 32)[1])
    assert kept <= 1 << 16
    assert time.process_time() - before < 10


REWRITTEN = [
    # chunks, as they are without tags, the rest
    (
        [{"message": {"content": "<think>a"}}, {"message": {"content": "</think>b", "thinking": "c"}, "done": True}],
        [{"message": {"content": "", "thinking": "a"}}, {"message": {"content": "b", "thinking": "c"}, "done": True}],
        None,
    ),
    ([{"response": "<thi"}, {"response": "x"}], [{"response": ""}, {"response": "<thix"}], None),
    ([{"response": " <thi"}], [{"response": ""}], {"response": " <thi"}),
    ([{"message": {"content": "<think>a</th"}}], [{"message": {"content": "", "thinking": "a"}}],
     {"message": {"content": "", "thinking": "</th"}}),
    ([{"response": "<", "done": True}, {"response": "<think>a", "done": True}],
     [{"response": "<", "done": True}, {"response": "", "thinking": "a", "done": True}], None),
]  # fmt: skip


@pytest.mark.parametrize(("chunks", "rewritten", "rest"), REWRITTEN)
def test_chunks_are_rewritten_as_a_server_without_tags_sends_them(chunks: Any, rewritten: Any, rest: Any) -> None:
    rewriter = ThinkTagRewriter()
    assert [rewriter.chunk(chunk) for chunk in chunks] == rewritten
    assert rewriter.end() == rest
    assert rewriter.end() is None


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
    ("```sh", ""),
    # the closing fence has the same character, at least as often, and nothing after it
    ("````\n```\na\n````\n", "```\na\n"),
    ("```\n~~~\na\n`````\nb", "~~~\na\n"),
    ("```\na\n``` b\n```\n", "a\n``` b\n"),
    ("```\na\n```  \nb", "a\n"),
    # a fence inside the code, as in a docstring, is indented further
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
    ("", ""),
]


@pytest.mark.parametrize(("text", "code"), FENCED)
def test_the_first_fenced_block_is_the_code(text: str, code: str | None) -> None:
    if code is None:
        code = text.partition("\n")[2].rpartition("```")[0]
    assert code_of([text]) == code
    for cut in range(len(text) + 1):
        assert code_of([text[:cut], text[cut:]]) == code


def test_code_is_returned_as_soon_as_a_line_is_complete() -> None:
    fence = FirstCodeBlock()
    steps = [("Do:\n``", ""), ("`\nx =", ""), (" 1", ""), ("\ny", "x = 1\n"), ("\n``", "y\n"), ("`\nz\n", "")]
    for fragment, code in steps:
        assert fence.add(fragment) == code
    assert fence.end() == ""
    assert fence.found and fence.closed


def test_a_line_in_many_fragments_takes_linear_time() -> None:
    fragments = ["```\n", *["x" * 64] * (1 << 17), "\n```\n"]
    before = time.process_time()
    assert code_of(fragments) == "x" * (64 << 17) + "\n"
    assert time.process_time() - before < 10
