"""The examples are run, on recordings of a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ostream.loopback import Exchange
from tests.process import ROOT, sh
from tests.server import STREAMS, serve

EXAMPLES = ROOT / "examples"
CSV = 'name,text\nada,"it, crashes"\nbob,how?\nada,"great\nthing"\n'


def test_classify_labels_each_row(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(CSV)

    def respond(exchange: Exchange) -> None:
        body = json.loads(exchange.body)
        system, user = body["messages"]
        assert "a bug" in system["content"]
        label = "bug" if "crash" in user["content"] else "question" if "how" in user["content"] else "praise"
        assert label in body["format"]["properties"]["label"]["enum"]
        content = json.dumps({"label": label})
        exchange.whole(200, "application/json", json.dumps({"message": {"content": content}, "done": True}).encode())

    script = f"sh {EXAMPLES}/classify.sh tickets.csv text"
    with serve(respond) as server:
        env = {"OLLAMA_HOST": server.url, "OLLAMA_MODEL": "m"}
        first, again = (sh(script, cwd=tmp_path, env=env) for _ in range(2))
        assert len(server.requests) == 3  # type: ignore[attr-defined]
    for done in (first, again):
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.decode() == (
            'name,text,label\nada,"it, crashes",bug\nbob,how?,question\nada,"great\nthing",praise\n'
        )


def test_classify_runs_on_a_recording(tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_text(CSV)
    script = f"replay {STREAMS}/chat-format-json.ndjson -- sh {EXAMPLES}/classify.sh tickets.csv text"
    done = sh(script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == CSV.replace("text\n", "text,label\n", 1).replace('crashes"', 'crashes",').replace(
        "how?", "how?,"
    ).replace('thing"', 'thing",')


def test_compare_shows_the_rates_of_each_model(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    recordings = f"{EXAMPLES}/recordings/sky.ndjson " * 4
    script = f"replay {recordings} -- sh {EXAMPLES}/compare.sh prompts.txt a b/c"
    done = sh(script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode()
    assert [line for line in shown.splitlines() if line in ("a", "b/c")] == ["a", "b/c"]
    assert shown.count("171.97 tokens/s") == 4


@pytest.mark.parametrize("example", ["ci.sh"])
def test_a_job_passes(example: str, tmp_path: Path) -> None:
    done = sh(f"sh {EXAMPLES}/{example}", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"all tests passed\n", b"")


def test_a_job_fails_when_a_cut_answer_passes(tmp_path: Path) -> None:
    broken = (EXAMPLES / "ci.sh").read_text().replace("extract-content", "extract-content || true")
    broken = broken.replace('here=$(cd "$(dirname "$0")/.." && pwd)', f"here={ROOT}")
    (tmp_path / "ci.sh").write_text(broken)
    done = sh("sh ci.sh", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == b"a cut answer passed for a whole one\n"
