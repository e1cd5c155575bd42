"""Every recorded answer of a real server, through send and a filter, over a real socket."""

import pytest

from tests.process import run
from tests.server import body_of, raw_of, send_raw, serve

CASES = [
    # name, exit status of send, is the answer passed byte for byte
    ("chat-stream", 0, True),
    ("generate-stream", 0, True),
    ("chat-repeat-limit", 3, True),
    ("server-kill-midstream", 3, True),
    ("kill-chat", 1, False),
    ("chat-unknown-model", 1, False),
]


@pytest.mark.parametrize(("name", "status", "whole"), CASES)
def test_send_passes_the_answer_on_and_the_filter_exits_with_the_true_status(
    name: str, status: int, whole: bool
) -> None:
    with serve(send_raw(raw_of(name))) as server:
        sent = run("send", "-m", "m", "hello", env={"OLLAMA_HOST": server.url})
    assert sent.returncode == status, sent.stderr
    if whole:
        assert sent.stdout.startswith(body_of(name))
    filtered = run("extract-content", stdin=sent.stdout)
    assert filtered.returncode == status
    assert (filtered.stderr == b"") or b"no text but tool calls" in filtered.stderr
