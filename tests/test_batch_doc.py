"""The recipes of docs/batch.md are run: in the end each of a thousand requests is answered once."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.commands.test_batch import reply
from tests.process import ROOT, sh
from tests.server import serve

PAGE = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
COUNT = 1000


@pytest.fixture(autouse=True)
def _requests(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"id": f"r{number}", "prompt": str(number)}) + "\n" for number in range(COUNT))
    (tmp_path / "requests.ndjson").write_text(lines)


def assert_all_answered(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "answers.ndjson").read_bytes().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(f"r{number}" for number in range(COUNT))
    assert all(line["id"] == "r" + line["response"] for line in lines)


@pytest.mark.parametrize("block", [block for block in BLOCKS if "batch " in block])
def test_a_recipe_answers_each_request_once(block: str, tmp_path: Path) -> None:
    if "parallel" in block and not shutil.which("parallel"):
        pytest.skip("needs GNU parallel")
    with serve(reply) as server:
        done = sh(f"set -e\n{block}", cwd=tmp_path, env={"OLLAMA_HOST": server.url}, timeout=300)
        assert (done.returncode, done.stderr) == (0, b"")
        assert_all_answered(tmp_path)
        assert len(server.requests) == COUNT  # type: ignore[attr-defined]


def test_the_answers_can_be_filtered(tmp_path: Path) -> None:
    first, second = BLOCKS[:2]
    with serve(reply) as server:
        done = sh(f"set -e\n{first}{second}", cwd=tmp_path, env={"OLLAMA_HOST": server.url}, timeout=300)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"responses:                1000\ncomplete:                 1000\n")
    texts = [json.loads(line) for line in (tmp_path / "texts.ndjson").read_bytes().splitlines()]
    assert {line["id"]: line["content"] for line in texts} == {f"r{number}": str(number) for number in range(COUNT)}


def test_what_parallel_left_undone_it_goes_on_with(tmp_path: Path) -> None:
    """A worker that failed is started again, and sends only what has no answer."""
    if not shutil.which("parallel"):
        pytest.skip("needs GNU parallel")
    (recipe,) = [block for block in BLOCKS if "--resume-failed" in block]
    with serve(reply) as server:
        broken = recipe.replace("-m qwen3", "-m qwen3 --host 127.0.0.1:1 --retry 0 --max-failures 1")
        sh(broken, cwd=tmp_path, env={"OLLAMA_HOST": server.url}, timeout=300)
        assert len(server.requests) == 0  # type: ignore[attr-defined]
        assert sh(recipe, cwd=tmp_path, env={"OLLAMA_HOST": server.url}, timeout=300).returncode == 0
        assert_all_answered(tmp_path)
        assert len(server.requests) == COUNT  # type: ignore[attr-defined]
