"""The Spark example, run by Spark in local mode. Only `make spark` runs it: Spark is a large download."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.commands.test_batch import reply
from tests.process import ROOT, environment
from tests.server import serve

COUNT = 1000


def test_job_answers_each_request_once(tmp_path: Path) -> None:
    lines = [json.dumps({"id": f"r{number}", "prompt": str(number)}) + "\n" for number in range(COUNT)]
    (tmp_path / "requests.ndjson").write_text("".join(lines))
    job = [sys.executable, ROOT / "examples" / "spark.py", "requests.ndjson", "answers"]
    with serve(reply) as server:
        # Without SPARK_LOCAL_IP, Spark looks up the name of the machine.
        env = environment(
            OLLAMA_HOST=server.url, OLLAMA_MODEL="m", SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable
        )
        subprocess.run(job, cwd=tmp_path, env=env, timeout=300, check=True)
        assert len(server.requests) == COUNT  # type: ignore[attr-defined]
    parts = sorted((tmp_path / "answers").glob("part-*"))
    assert len(parts) == 4
    answers = [json.loads(line) for part in parts for line in part.read_text(encoding="utf-8").splitlines()]
    assert sorted(answer["id"] for answer in answers) == sorted(f"r{number}" for number in range(COUNT))
    assert all(answer["id"] == "r" + answer["response"] for answer in answers)
