"""The recipes of docs/batch.md are run: in the end each of a thousand requests is answered once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterator

import pytest

from tests.commands.test_batch import reply
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


@pytest.mark.parametrize("block", [block for block in BLOCKS if "batch " in block])
def test_a_recipe_answers_each_request_once(block: str, tmp_path: Path) -> None:
    if "parallel" in block and not shutil.which("parallel"):
        pytest.skip("needs GNU parallel")
    with serve(reply) as server:
        done = sh(f"set -e\n{block}", cwd=tmp_path, env={"OLLAMA_HOST": server.url}, timeout=300)
        assert (done.returncode, done.stderr) == (0, b"")
        assert_all_answered(tmp_path)
        assert len(server.requests) == COUNT  # type: ignore[attr-defined]


def test_requests_are_made_as_shown(tmp_path: Path) -> None:
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    done = sh("\n".join(commands), cwd=tmp_path)
    shown = "".join(line for line in block.splitlines(True) if not line.startswith("$ "))
    assert (done.returncode, done.stdout.decode()) == (0, shown)


def test_the_answers_can_be_filtered(tmp_path: Path) -> None:
    first, second = BLOCKS[:2]
    with serve(reply) as server:
        done = sh(f"set -e\n{first}{second}", cwd=tmp_path, env={"OLLAMA_HOST": server.url}, timeout=300)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"responses:                1000\ncomplete:                 1000\n")
    texts = [json.loads(line) for line in (tmp_path / "texts.ndjson").read_bytes().splitlines()]
    assert {line["id"]: line["content"] for line in texts} == {f"r{number}": str(number) for number in range(COUNT)}


def test_a_changed_prompt_is_asked_again_as_shown(tmp_path: Path) -> None:
    (command,) = re.findall(r"`(jq -c 'select\(.id != 2\)'[^`]*)`", PAGE)
    batch = "batch -m qwen3 --lines -o answers.ndjson --resume prompts"
    script = f"printf '%s\\n' a b c > prompts; {batch}; {command}; printf '%s\\n' a b changed > prompts; {batch}"
    with serve(reply) as server:
        done = sh(f"set -e\n{script}", cwd=tmp_path, env={"OLLAMA_HOST": server.url})
        assert (done.returncode, done.stderr) == (0, b"")
        assert [json.loads(each.body)["messages"][0]["content"] for each in server.requests][-1] == "changed"  # type: ignore[attr-defined]
        assert len(server.requests) == 4  # type: ignore[attr-defined]


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


@contextlib.contextmanager
def nginx(folder: Path, *ports: int) -> Iterator[str]:
    """The page's nginx, in front of servers on these ports; gives its address."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        pytest.skip("needs nginx")
    (config,) = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
    for number, upstream in enumerate(ports, 1):
        config = config.replace(f"host{number}:11434", f"127.0.0.1:{upstream}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    # Where it is not root it may write nowhere else.
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    config = config.replace("127.0.0.1:8080", address).replace("http {", f"http {{\n{paths}")
    (folder / "nginx.conf").write_text(f"pid {folder}/nginx.pid;\ndaemon off;\n{config}")
    command = [program, "-e", "stderr", "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert process.poll() is None, "nginx did not start"
                time.sleep(0.05)
            yield address
        finally:
            process.terminate()


def test_behind_a_load_balancer_a_server_may_die(tmp_path: Path) -> None:
    class Dying(Answers):
        """Answers fifty requests; whatever is asked then, it hangs up."""

        def __call__(self, connection: socket.socket) -> None:
            if len(self.requests) < 50:
                super().__call__(connection)
            else:
                self.hung_up += 1

        hung_up = 0

    dying = Dying(http_answer(200, b'{"response":"from the one that dies","done":true}', "Connection: close"))
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
