"""Messages that an error line contains: which of them a filter prints."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.process import call

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
