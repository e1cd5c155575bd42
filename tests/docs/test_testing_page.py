"""The page on testing is followed from top to bottom: files are written, commands run, and their output compared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import ROOT, sh
from tests.server import send_lines, serve

pytestmark = pytest.mark.tools
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(encoding="utf-8"), re.DOTALL)
_, *LINES = (ROOT / "examples" / "recordings" / "capital.ndjson").read_bytes().splitlines(keepends=True)
COMPLETION = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"smollm2:135m","choices":[{"index":0,"finish_reason":'
    b'"stop","message":{"role":"assistant","content":"The capital of France is Paris."}}]}'
)


def respond(exchange: RequestHandler) -> None:
    if exchange.path.startswith("/v1/"):
        exchange.send_body(200, "application/json", COMPLETION)
    else:
        send_lines(*LINES)(exchange)


def test_the_page_can_be_followed(tmp_path: Path) -> None:
    env = {"OLLAMA_MODEL": "smollm2:135m", "PYTHONDONTWRITEBYTECODE": "1"}
    with serve(respond) as server:
        env["OLLAMA_HOST"] = server.url
        for language, block in BLOCKS:
            if language == "console":
                for turn in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                    command, _, output = turn.partition("\n")
                    done = sh(f"exec 2>&1\n{command}", cwd=tmp_path, env=env)
                    assert (done.stdout.decode(), done.returncode) == (output, 0), command
                continue
            first, _, text = block.partition("\n")
            path = tmp_path / first[2:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            for command in re.findall(r"- run: (.*)", text):
                assert sh(command, cwd=tmp_path, env=env).returncode == 0, command
        assert len(server.requests) == 2, "each program was recorded once"  # type: ignore[attr-defined]
