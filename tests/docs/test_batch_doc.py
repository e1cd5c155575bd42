"""The recipes of docs/batch.md answer each of a thousand requests once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from ostream.recording.request_handler import RequestHandler
from tests.commands.test_batch import JSON, reply
from tests.process import ROOT, sh
from tests.server import Answers, http_answer, serve, tcp

PAGE = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
COUNT = 1000
pytestmark = pytest.mark.full


@pytest.fixture(autouse=True)
def _requests(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"id": f"r{number}", "prompt": str(number)}) + "\n" for number in range(COUNT))
    (tmp_path / "requests.ndjson").write_text(lines)


def assert_all_answered(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "answers.ndjson").read_bytes().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(f"r{number}" for number in range(COUNT))
    assert all(line["id"] == "r" + line["response"] for line in lines)


RECIPES = [block for block in BLOCKS if re.search(r"batch .*requests\.ndjson|shard", block, re.DOTALL)]


@pytest.mark.parametrize("block", [block for block in RECIPES if "dry-run" not in block and "for model" not in block])
def test_recipe_answers_each_request_once(block: str, tmp_path: Path) -> None:
    if "parallel" in block and not shutil.which("parallel"):
        pytest.skip("needs GNU parallel")
    with serve(reply) as server:
        script = re.sub(r"http://gpu\d:11434", server.url, block)
        done = sh(f"set -e\n{script}\nwait", cwd=tmp_path, env={"OLLAMA_HOST": server.url}, timeout=300)
        assert done.returncode == 0, done.stderr
        assert_all_answered(tmp_path)
        assert len(server.requests) == COUNT  # type: ignore[attr-defined]


def test_jq_makes_the_requests_that_are_shown(tmp_path: Path) -> None:
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    done = sh("\n".join(commands), cwd=tmp_path)
    shown = "".join(line for line in block.splitlines(True) if not line.startswith("$ "))
    assert (done.returncode, done.stdout.decode()) == (0, shown)


def recipe(text: str) -> str:
    (block,) = [block for block in BLOCKS if text in block]
    return block


def test_a_table_gets_a_column_of_labels(tmp_path: Path) -> None:
    def respond(exchange: RequestHandler) -> None:
        answer = {"message": {"content": '{"label":"praise"}'}, "done": True}
        exchange.send_body(200, JSON, json.dumps(answer).encode())

    (tmp_path / "reviews.csv").write_text('nr,text\n1,"Good,\nreally"\n2,Fine\n')
    with serve(respond) as server:
        done = sh(recipe("--csv"), cwd=tmp_path, env={"OLLAMA_HOST": server.url})
    assert done.returncode == 0, done.stderr
    table = 'nr,text,label,error\n1,"Good,\nreally",praise,\n2,Fine,praise,\n'
    assert (tmp_path / "labelled.csv").read_text() == table
    two_models = re.search(r"`(extract-content --join reviews.csv[^`]*)`", PAGE)
    assert two_models
    command = two_models[1].replace("FIRST", "answers.ndjson").replace("SECOND", "answers.ndjson").replace("\n", " ")
    assert sh(command, cwd=tmp_path).stdout.decode() == table.replace(",label", ",label,label").replace(
        "praise", "praise,praise"
    )


def test_records_get_their_answers(tmp_path: Path) -> None:
    rows = [{"id": 7, "text": "Fine"}, {"id": "x", "text": "Bad"}]
    (tmp_path / "reviews.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with serve(reply) as server:
        assert sh(recipe("reviews.jsonl"), cwd=tmp_path, env={"OLLAMA_HOST": server.url}).returncode == 0
    lines = (tmp_path / "answered.jsonl").read_text().splitlines()
    answer = "Is this review praise or a complaint? "
    assert [json.loads(line) for line in lines] == [{**row, "answer": f"{answer}{row['text']}"} for row in rows]


def test_failures_are_listed(tmp_path: Path) -> None:
    (tmp_path / "requests.ndjson").write_text('{"id":"a","prompt":"hi"}\n{"id":"b","prompt":"fail400"}\n')
    with serve(reply) as server:
        sh(BLOCKS[0], cwd=tmp_path, env={"OLLAMA_HOST": server.url})
    assert sh(recipe("select(.error)"), cwd=tmp_path).stdout == b"b\tno such thing\n"


def test_two_models_are_compared_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "requests.ndjson").write_text('{"id":"a","prompt":"hi"}\n{"id":"b","prompt":"ho"}\n')
    with serve(reply) as server:
        done = sh(recipe("for model"), cwd=tmp_path, env={"OLLAMA_HOST": server.url})
    assert done.stdout.startswith(b"a\thi\thi\nb\tho\tho\nresponses: "), done.stderr


def test_dry_run_shows_the_first_request(tmp_path: Path) -> None:
    done = sh(recipe("--dry-run"), cwd=tmp_path)
    assert json.loads(done.stdout)["request"]["body"] == {"prompt": "0", "model": "qwen3", "stream": False}


def test_parallel_continues_a_shard_on_the_next_server(tmp_path: Path) -> None:
    if not shutil.which("parallel"):
        pytest.skip("needs GNU parallel")
    with serve(reply) as server:
        script = recipe("parallel").replace("http://gpu1:11434", "127.0.0.1:1").replace("http://gpu2:11434", server.url)
        for _ in range(2):  # the second time, every request is answered
            assert sh(f"set -e\n{script}", cwd=tmp_path, timeout=300).returncode == 0
            assert_all_answered(tmp_path)
            assert len(server.requests) == COUNT  # type: ignore[attr-defined]


@contextlib.contextmanager
def nginx(folder: Path, *ports: int) -> Iterator[str]:
    """Run the page's nginx with servers on these ports; yields its address."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        pytest.skip("needs nginx")
    (config,) = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
    for number, upstream in enumerate(ports, 1):
        config = config.replace(f"host{number}:11434", f"127.0.0.1:{upstream}")
    # Without root it may write nowhere else.
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        config = config.replace("127.0.0.1:8080", address).replace("http {", f"http {{\n{paths}")
        (folder / "nginx.conf").write_text(f"pid {folder}/nginx.pid;\ndaemon off;\n{config}")
        command = [program, "-e", "stderr", "-c", str(folder / "nginx.conf")]
        # nginx takes over the listening sockets in $NGINX, so that no other process can take the port before it starts.
        env = {**os.environ, "NGINX": f"{listening.fileno()};"}
        fds = [listening.fileno()]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=env, pass_fds=fds) as process:
            try:
                yield address
            finally:
                process.terminate()


def test_server_after_a_load_balancer_may_die(tmp_path: Path) -> None:
    class Dying(Answers):
        """Answers fifty requests, then closes each connection."""

        def __call__(self, connection: socket.socket) -> None:
            if len(self.requests) < 50:
                super().__call__(connection)
            else:
                self.hung_up += 1

        hung_up = 0

    dying = Dying(http_answer(200, b'{"response":"from the first server","done":true}', "Connection: close"))
    (tmp_path / "requests.ndjson").write_text(
        "".join(json.dumps({"id": f"r{number}", "prompt": str(number)}) + "\n" for number in range(300))
    )
    with tcp(dying) as port, serve(reply) as second, serve(reply) as third:
        with nginx(tmp_path, port, second.server_port, third.server_port) as address:
            command = "batch -q -m qwen3 -j 8 -o answers.ndjson --resume requests.ndjson"
            done = sh(command, cwd=tmp_path, env={"OLLAMA_HOST": address}, timeout=300)
        assert (done.returncode, done.stderr) == (0, b"")
        assert len(dying.requests) >= 50
        assert dying.hung_up
        assert second.requests and third.requests  # type: ignore[attr-defined]
    lines = [json.loads(line) for line in (tmp_path / "answers.ndjson").read_bytes().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(f"r{number}" for number in range(300))
