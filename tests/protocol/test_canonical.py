"""The canonical form of a request: what changes an answer changes it, and nothing else does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ostream.errors import RequestError
from ostream.protocol.canonical import canonical_body, row_sha256

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
SCHEMA = {"type": "object", "properties": {"a": {"const": None}, "b": {"minimum": 0}}}

ALIKE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}),
    ({"messages": [{"role": "user", "content": "hi"}]}, {"messages": [{"content": "hi", "role": "user"}]}),
    ({**BODY, "stream": True, "keep_alive": "5m"}, BODY),
    ({**BODY, "options": {"temperature": 0}}, {**BODY, "options": {"temperature": 0.0}}),
    ({**BODY, "options": {"num_ctx": 1000}}, {**BODY, "options": {"num_ctx": 1e3}}),
    ({**BODY, "think": None, "tools": [], "options": {"seed": None}, "images": []}, BODY),
    ({"messages": [{"content": "hi", "images": [], "tool_calls": None}]}, {"messages": [{"content": "hi"}]}),
    ({**BODY, "format": {"minimum": 1.0}}, {**BODY, "format": {"minimum": 1}}),
]

DIFFERENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (BODY, {**BODY, "model": "n"}),
    ({"raw": False}, {}),
    ({"think": False}, {"think": 0}),
    ({"prompt": ""}, {}),
    ({"prompt": "1"}, {"prompt": 1}),
    *[
        ({key: [SCHEMA]}, {key: [{"properties": SCHEMA["properties"], "type": "object"}]})
        for key in ("format", "response_format", "tools")
    ],
    ({"format": SCHEMA}, {"format": {"type": "object", "properties": {"a": {}, "b": {"minimum": 0}}}}),
    ({"arguments": {"x": None}}, {"arguments": {}}),
    ({"messages": [{"stream": True}]}, {"messages": [{}]}),
    ({"messages": [{"role": "user", "content": 1}]}, {"messages": [{"role": "user", "content": "1"}]}),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_bodies_that_are_answered_alike_have_one_form(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert canonical_body(one) == canonical_body(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_bodies_that_are_answered_differently_have_two_forms(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert canonical_body(one) != canonical_body(other)


def test_the_form_is_a_fixed_point() -> None:
    form = canonical_body({**BODY, "x": "é\ud800", "y": [1.5, {"a": None}], "format": SCHEMA})
    assert canonical_body(json.loads(form)) == form


def test_deep_nesting_is_a_request_error() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(RequestError, match="nested too deeply"):
        canonical_body({"x": deep})


def test_only_the_named_columns_of_a_row_count() -> None:
    row = {"id": "1", "text": "a", "new": "x"}
    assert row_sha256(row, ["text", "id"]) == row_sha256({**row, "new": "y"}, ["id", "text"])
    assert row_sha256(row, ["text"]) != row_sha256({**row, "text": "b"}, ["text"])
    assert row_sha256({}, ["text"]) == row_sha256({"text": ""}, ["text"])
