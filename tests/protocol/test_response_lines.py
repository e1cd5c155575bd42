"""The lines of a response: an indented object is joined to one line."""

from __future__ import annotations

import pytest

from ostream.protocol import response_lines


def test_indented_object_of_more_than_the_limit_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [[b"{\n"], [b' "a": 1,\n'], [b' "b": 2\n'], [b"}\n"]]
    assert list(response_lines.join_indented(iter(lines))) == [[b'{\t"a": 1,\t"b": 2\t}\n']]
    broken_string = [[b'{"a":"x\n'], [b'y"}\n']]
    assert list(response_lines.join_indented(iter(broken_string))) == broken_string
    monkeypatch.setattr(response_lines, "LINE_LIMIT", 10)
    assert list(response_lines.join_indented(iter(lines))) == lines[:3]
