"""A stream as a person wants to read it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.cli.transcript import Transcript, footer
from ostream.protocol.ndjson import decode_line, split_lines
from tests.server import body_of


def chunks_of(name: str) -> list[dict[str, Any]]:
    return [decode_line(line) or {} for lines in split_lines([body_of(name)]) for line in lines]


def shown(name: str, headings: bool) -> str:
    page = Transcript(headings)
    parts = [part for chunk in chunks_of(name) for part in page.chunk(chunk)] + page.end()
    return "".join(f"({text})" if aside else text for text, aside in parts)


PAGES = [
    ("chat-stream", True, 'The sky is blue, naïve café — 青空 😀\n<b> & "quoted"\t\\ \u2028</b> done.\n'),
    ("chat-think-true-nostream", True, "Thinking:\n\n(Hmm let me see…\n\n)Answer:\n\nThe answer is: 42!\n"),
    ("chat-think-true-nostream", False, "(Hmm let me see…\n\n)The answer is: 42!\n"),
    ("chat-tools-nostream", True, 'Tool calls:\n\nget_weather {"city": "Zürich", "days": 3}\n'),
    ("chat-load", True, ""),
]


@pytest.mark.parametrize(("name", "headings", "page"), PAGES)
def test_a_response_is_set_in_sections(name: str, headings: bool, page: str) -> None:
    assert shown(name, headings) == page


def test_messages_are_shown_with_their_roles() -> None:
    page = Transcript(headings=True)
    call = {"function": {"name": "f", "arguments": "not an object"}}
    lines = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "tool_calls": [call, {"id": "x"}]},
        {"role": "tool", "tool_name": "f", "content": "3\n"},
        {"role": "assistant", "content": None},
    ]
    text = "".join(text for line in lines for text, _ in page.message(line))
    assert text == (
        "user: hi\n\nassistant: \nf not an object\na tool call without a function\n\ntool f: 3\n\nassistant: \n"
    )


TEXT = st.text("a\n", min_size=1, max_size=4)
CHUNK = st.fixed_dictionaries({"message": st.fixed_dictionaries({}, optional={"thinking": TEXT, "content": TEXT})})


@given(st.lists(st.lists(CHUNK, min_size=1, max_size=4), max_size=3), st.booleans())
def test_all_text_is_shown_in_order_and_every_response_ends_its_line(responses: list[Any], headings: bool) -> None:
    page = Transcript(headings)
    text = ""
    for chunks in responses:
        said = "".join(chunk["message"].get(key, "") for chunk in chunks for key in ("thinking", "content"))
        parts = [part for chunk in chunks for part in page.chunk(chunk)] + page.end()
        text += "".join(text for text, _ in parts)
        assert not said or text.endswith("\n")
        letters = "".join(text for text, _ in parts if text not in ("Thinking:\n\n", "Answer:\n\n"))
        assert letters.count("a") == said.count("a")


FOOTERS = [
    ({"eval_count": 24, "eval_rate": 171.97, "time_to_first_token": 80_000_000, "done_reason": "stop"},
     "24 tokens, 172.0 tokens/s, first token after 80ms"),
    ({"done_reason": "length"}, "ended by length"),
    ({}, "no numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("known", "line"), FOOTERS)
def test_the_footer_says_what_is_known(known: dict[str, Any], line: str) -> None:
    fields = ("eval_count", "eval_rate", "time_to_first_token", "done_reason")
    assert footer({**dict.fromkeys(fields), **known}) == line
    assert Transcript(headings=False).footer(line) == [(f"\n{line}\n", True)]
