"""Recordings as input: what the filters make of exchanges that were no responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.process import FILTERS, call

CHUNK = {"message": {"role": "assistant", "content": "Hi"}, "done": True, "elapsed": 5}
CUT = {"error": "cut", "exit_status": 3}


def asked(path: Any) -> dict[str, Any]:
    return {"request": {"path": path, "body": {}}, "status": 200}


CASES: list[tuple[str, list[dict[str, Any]], int, bytes]] = [
    # what, lines, status, content
    ("another endpoint", [asked("/api/tags"), {"models": [], "elapsed": 5}, asked("/api/chat"), CHUNK], 0, b"Hi\n"),
    ("the other way round", [asked("/api/chat"), CHUNK, asked("/api/tags"), {"models": [], "elapsed": 5}], 0, b"Hi\n"),
    ("its failure", [asked("/api/pull"), {"error": "no", "elapsed": 5}, asked("/api/chat"), CHUNK], 0, b"Hi\n"),
    ("its cut", [asked("/api/pull"), {**CUT, "elapsed": 5}, asked("/api/generate"), CHUNK], 0, b"Hi\n"),
    ("nothing but that", [asked("/api/tags"), {"models": [], "elapsed": 5}], 3, b""),
    ("a failure of send behind it", [asked("/api/chat"), CHUNK, asked("/api/tags"), CUT], 3, b"Hi\n"),
    ("an answer behind it", [asked("/api/tags"), {"message": {"content": "Hi"}, "done": True}], 0, b"Hi\n"),
    ("a path that is none", [asked(7), CHUNK], 0, b"Hi\n"),
    ("a request that is none", [{"request": 7}, CHUNK], 0, b"Hi\n"),
]


@pytest.mark.parametrize(("lines", "status", "content"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_only_responses_count(lines: list[dict[str, Any]], status: int, content: bytes) -> None:
    stdin = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    assert {command: call(command, stdin=stdin).returncode for command in FILTERS} == dict.fromkeys(FILTERS, status)
    assert call("extract-content", stdin=stdin).stdout == content
    passed = call("extract-content", "-w", "/dev/null", stdin=stdin).stdout
    assert passed.startswith(stdin)


def test_the_next_file_begins_anew(tmp_path: Any) -> None:
    (tmp_path / "a").write_text(json.dumps(asked("/api/tags")))
    (tmp_path / "b").write_text(json.dumps(CHUNK))
    result = call("extract-content", tmp_path / "a", tmp_path / "b")
    assert (result.returncode, result.stdout) == (0, b"Hi\n")
