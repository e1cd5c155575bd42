"""A failure is reported once per pipeline, and again by each command that later reads it from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process import FILTERS, quoted, sh
from tests.tiers import sample

SEND = "send -m m --host http://127.0.0.1:1 hi"
REFUSED = "127.0.0.1:1: connection refused"

READ = [
    # script, commands that report the failure
    (SEND + " | FILTER", ["send"]),
    (SEND + " | FILTER -w /dev/null | FILTER", ["send"]),
    (SEND + " 2> /dev/null > saved; FILTER saved", ["FILTER saved:1"]),
    (SEND + " 2> /dev/null > saved; FILTER < saved", ["FILTER standard input:1"]),
    (SEND + " 2> /dev/null > saved; cat saved | FILTER", []),  # a pipe, so it has been reported
    (SEND + " 2> /dev/null > saved; FILTER -w /dev/null saved | FILTER", ["FILTER saved:1"]),
    (SEND + " | tee saved | FILTER; FILTER saved", ["send", "FILTER saved:1"]),
]


@pytest.mark.parametrize(("script", "reported_by"), READ)
@pytest.mark.parametrize("command", sample(FILTERS, ["extract-content"]))
def test_a_saved_failure_is_reported_again(command: str, script: str, reported_by: list[str], tmp_path: Path) -> None:
    result = sh(script.replace("FILTER", quoted(command)), cwd=tmp_path)
    assert result.returncode == 69
    messages = result.stderr.decode().splitlines()
    assert all(REFUSED in message for message in messages)
    begins = [f"{name.replace('FILTER', command).replace(' ', ': ', 1)}: " for name in reported_by]
    assert [message[: len(begin)] for message, begin in zip(messages, begins)] == begins
    assert len(messages) == len(reported_by)
