"""The official SDK through `record`, and then on its recording."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ostream.recording.http_server import RequestHandler
from tests.commands.test_record import exchanges_of, record_and_replay
from tests.process import call
from tests.server import raw_of, send_raw

pytest.importorskip("ollama", reason="needs the official SDK: tests/requirements-check.txt")
pytestmark = pytest.mark.tools

SDK = """
import ollama
for chunk in ollama.chat("m", [{"role": "user", "content": "hi"}], stream=True):
    print(chunk.model_dump_json())
print(ollama.generate("m", "hi").model_dump_json())
print(ollama.list().model_dump_json())
try:
    ollama.show("nope")
except ollama.ResponseError as error:
    print(error)
"""


def respond_by_path(exchange: RequestHandler) -> None:
    names = {"/api/chat": "chat-stream", "/api/generate": "generate-nostream", "/api/tags": "tags"}
    send_raw(raw_of(names.get(exchange.path, "chat-unknown-model")))(exchange)


def test_the_official_sdk_gets_the_same_on_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text(SDK)
    recording, status, stdout = record_and_replay(respond_by_path, f"{sys.executable} script.py")
    assert (status, stdout.count(b"\n")) == (0, 23)
    requests = [(lines[0]["request"].get("method"), lines[0]["request"]["path"]) for lines in exchanges_of(recording)]
    assert requests == [(None, "/api/chat"), (None, "/api/generate"), ("GET", "/api/tags"), (None, "/api/show")]
    # The filters read the two responses and skip the other exchanges.
    collected = call("collect", stdin=recording)
    assert (collected.returncode, collected.stdout.count(b"\n")) == (0, 2)
