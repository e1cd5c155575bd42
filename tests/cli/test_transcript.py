"""The text that render prints for chunks and messages."""

from __future__ import annotations

from typing import Any

import pytest

from ostream.cli.transcript import Transcript, footer


def test_messages_are_shown_with_their_roles() -> None:
    page = Transcript(headings=True)
    call = {"function": {"name": "f", "arguments": "not an object"}}
    lines: list[dict[str, Any]] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "tool_calls": [call, {"id": "x"}]},
        {"role": "tool", "tool_name": "f", "content": "3\n"},
        {"role": "assistant", "content": None},
    ]
    text = "".join(text for line in lines for text, _ in page.message(line))
    assert text == (
        "user: hi\n\nassistant: \nf not an object\na tool call without a function\n\ntool f: 3\n\nassistant: \n"
    )


FOOTERS = [
    ({"eval_count": 24, "eval_rate": 171.97, "time_to_first_token": 80_000_000, "done_reason": "stop"},
     "24 tokens, 172.0 tokens/s, first token after 80ms"),
    ({"done_reason": "length"}, "ended by length"),
    ({}, "no numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("known", "line"), FOOTERS)
def test_the_footer_has_the_numbers_that_are_known(known: dict[str, Any], line: str) -> None:
    fields = ("eval_count", "eval_rate", "time_to_first_token", "done_reason")
    assert footer({**dict.fromkeys(fields), **known}) == line
    assert Transcript(headings=False).footer(line) == [(f"\n{line}\n", True)]
