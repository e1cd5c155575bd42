"""Recordings as input: exchanges with other endpoints are no responses. Which messages of error lines are printed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.process import FILTERS, call

CHUNK = {"message": {"role": "assistant", "content": "Hi"}, "done": True, "elapsed": 5}
CUT = {"error": "cut", "exit_status": 3}


def request(path: Any) -> dict[str, Any]:
    return {"request": {"path": path, "body": {}}, "status": 200}


CHAT, TAGS = [request("/api/chat"), CHUNK], [request("/api/tags"), {"models": [], "elapsed": 5}]
CASES: list[tuple[str, list[dict[str, Any]], int, bytes]] = [
    # case, lines, status, content
    ("another endpoint", [*TAGS, *CHAT], 0, b"Hi\n"),
    ("a response before another endpoint", [*CHAT, *TAGS], 0, b"Hi\n"),
    ("failure of another endpoint", [request("/api/pull"), {"error": "no", "elapsed": 5}, *CHAT], 0, b"Hi\n"),
    ("truncated answer of another endpoint", [request("/api/pull"), {**CUT, "elapsed": 5}, *CHAT], 0, b"Hi\n"),
    ("only another endpoint", TAGS, 3, b""),
    ("failure of send after another endpoint", [*CHAT, request("/api/tags"), CUT], 3, b"Hi\n"),
    ("response without elapsed", [request("/api/tags"), {"message": {"content": "Hi"}, "done": True}], 0, b"Hi\n"),
    ("path that is no text", [request(7), CHUNK], 0, b"Hi\n"),
    ("request that is no object", [{"request": 7}, CHUNK], 0, b"Hi\n"),
]


@pytest.mark.parametrize(("lines", "status", "content"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_exchanges_of_other_endpoints_are_skipped(lines: list[dict[str, Any]], status: int, content: bytes) -> None:
    stdin = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    assert {command: call(command, stdin=stdin).returncode for command in FILTERS} == dict.fromkeys(FILTERS, status)
    assert call("extract-content", stdin=stdin).stdout == content
    passed = call("extract-content", "-w", "/dev/null", stdin=stdin).stdout
    assert passed.startswith(stdin)


def test_skipping_ends_with_the_file(tmp_path: Any) -> None:
    (tmp_path / "a").write_text(json.dumps(request("/api/tags")))
    (tmp_path / "b").write_text(json.dumps(CHUNK))
    result = call("extract-content", tmp_path / "a", tmp_path / "b")
    assert (result.returncode, result.stdout) == (0, b"Hi\n")


LINE = {"error": "boom", "exit_status": 1}


@pytest.mark.parametrize(
    ("report", "saved", "message"),
    [("send: boom", True, "stats: {}:1: boom\n"), ("send: boom", False, "send: boom\n"), (5, False, "")],
)
def test_a_message_is_printed_only_if_it_is_text_from_a_pipe_and_is_not_passed_on(
    report: object, saved: bool, message: str, tmp_path: Path
) -> None:
    stream = json.dumps({**LINE, "report": report}).encode() + b"\n"
    file = tmp_path / "saved"
    file.write_bytes(stream)
    result = call("stats", "-w", os.devnull, *[file] * saved, stdin=stream)
    assert result.stderr.decode() == message.format(file)
    assert (result.returncode, json.loads(result.stdout)) == (1, LINE)
