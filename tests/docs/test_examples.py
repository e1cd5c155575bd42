"""The examples run under plain sh, on recordings, with the documented result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.process import ROOT, environment, expect, feed, run, sh
from tests.server import body_of, send_lines, serve

EXAMPLES = ROOT / "examples"
RECORDINGS = EXAMPLES / "recordings"
TOOLS = EXAMPLES / "tools"


def test_every_script_is_plain_sh() -> None:
    for script in EXAMPLES.glob("*.sh"):
        assert script.read_text().startswith("#!/bin/sh\n")
        assert len(script.read_text().splitlines()) <= 50
        assert sh(f"sh -n {script}").returncode == 0


def test_a_chat_killed_in_the_middle_of_an_answer_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Three turns; the second is killed with all its processes, then sent again."""
    whole = body_of("chat-stream").splitlines(True)
    text = "".join(json.loads(line)["message"]["content"] for line in whole)
    first = json.loads(whole[0])["message"]["content"].encode()

    def respond(exchange: Any) -> None:
        if len(server.requests) == 2:  # type: ignore[attr-defined]
            exchange.head(200, "application/x-ndjson")
            exchange.chunk(whole[0])
            exchange.rfile.read(1)  # until the client is gone
        else:
            send_lines(*whole)(exchange)

    with serve(respond) as server:
        env = environment(OLLAMA_HOST=server.url, OLLAMA_MODEL="m")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        chat = ["sh", str(EXAMPLES / "chat.sh")]
        with subprocess.Popen(chat, cwd=tmp_path, env=env, start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
            feed(process, b"one\n")
            expect(process.stdout, b"> " + text.encode() + b"\n> ")
            feed(process, b"two\n")
            expect(process.stdout, first)
            os.killpg(process.pid, signal.SIGKILL)
        again = subprocess.run(chat, cwd=tmp_path, env=env, input=b"two\n- three\n", capture_output=True, check=True)
        asked = [[m["content"] for m in json.loads(request.body)["messages"]] for request in server.requests]  # type: ignore[attr-defined]
    assert again.stdout.count(text.encode()) == 3, "earlier turns are shown first"
    assert asked[1:] == [["one", text, "two"], ["one", text, "two"], ["one", text, "two", text, "- three"]]
    held = [json.loads(line)["content"] for line in (tmp_path / "chat.ndjson").read_bytes().splitlines()]
    assert held == ["one", text, "two", text, "- three", text]


AGENTS = [
    f"sh {EXAMPLES}/agent.sh What is 17 × 23?",
    f"send --run-tools -t {TOOLS} What is 17 × 23? | render",
]


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_uses_its_tools(tmp_path: Path, agent: str) -> None:
    (tmp_path / "notes").write_text("12345")
    replay = ["replay", "-q", "--match=path", RECORDINGS / "agent.ndjson"]
    done = run(*replay, "--", "sh", "-c", agent.replace("?", r"\?"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode()
    assert "tool calculate: 391" in shown
    assert shown.endswith("17 × 23 = 391 exactly\n")


CALCULATIONS = [
    ("17 * 23", "391"),
    ("(1 + 2) / 2 - -1", "2.5"),
    ("7 // 2 % 2 ** 2", "3"),
    (" +1 ", "1"),
]


@pytest.mark.parametrize(("expression", "result"), CALCULATIONS)
def test_the_calculator_calculates(expression: str, result: str) -> None:
    done = use("calculate", {"expression": expression}, ROOT)
    assert (done.returncode, done.stdout.decode()) == (0, f"{result}\n")


NO_CALCULATIONS = [
    *("__import__('os')", "a", "1/0", "9**9**9", "2**1000", "'a'*9", "(" * 500, "-" * 500 + "1", "1" * 2000),
    *("", "1;2", "1 if 1 else 2", "~1"),
]


@pytest.mark.parametrize("expression", NO_CALCULATIONS)
def test_the_calculator_rejects_other_expressions(expression: str) -> None:
    done = use("calculate", {"expression": expression}, ROOT)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"calculate: ") and b"Traceback" not in done.stderr


FOLDERS = [
    # arguments, and the list that is printed or a part of the error message
    ({}, "inside/\nnotes 5\nout 5\n"),
    ({"folder": "."}, "inside/\nnotes 5\nout 5\n"),
    ({"folder": "inside"}, ""),
    ({"folder": "inside/.."}, "inside/\nnotes 5\nout 5\n"),
    ({"folder": ".."}, "outside the current directory"),
    ({"folder": "/etc"}, "outside the current directory"),
    ({"folder": "out"}, "outside the current directory"),
    ({"folder": "none"}, "No such file"),
    ({"folder": "a\0b"}, "null"),
    ([], "no attribute"),
]


@pytest.mark.parametrize(("arguments", "expected"), FOLDERS)
def test_the_lister_is_confined(tmp_path: Path, arguments: Any, expected: str) -> None:
    (tmp_path / "notes").write_text("12345")
    (tmp_path / "inside").mkdir()
    (tmp_path / "out").symlink_to("/etc/")
    done = use("list_files", arguments, tmp_path)
    if expected.endswith("\n") or not expected:
        assert (done.returncode, done.stdout.decode()) == (0, expected)
    else:
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(b"list_files: ") and expected.encode() in done.stderr


def use(tool: str, arguments: Any, folder: Path) -> subprocess.CompletedProcess[bytes]:
    stdin = json.dumps(arguments).encode()
    return subprocess.run([TOOLS / tool], input=stdin, cwd=folder, env=environment(), capture_output=True, check=False)


def test_the_commit_message_describes_the_staged_changes(tmp_path: Path) -> None:
    script = "git init -q .; $SCRIPT; echo $?; echo hello > f; git add f; $SCRIPT"
    env = {"SCRIPT": f"sh {EXAMPLES}/commit-message.sh", "OLLAMA_MODEL": "m"}
    with serve(send_lines(*body_of("chat-stream").splitlines(True))) as server:
        done = sh(script, cwd=tmp_path, env={**env, "OLLAMA_HOST": server.url})
        (request,) = server.requests  # type: ignore[attr-defined]
    assert done.returncode == 0
    assert done.stdout.startswith(b"1\n") and b"blue" in done.stdout
    assert done.stderr == b"commit-message: nothing is staged; git add first\n"
    assert "+hello" in json.loads(request.body)["messages"][0]["content"]


@pytest.mark.parametrize("example", ["ci.sh"])
def test_a_job_passes(example: str, tmp_path: Path) -> None:
    done = sh(f"sh {EXAMPLES}/{example}", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"all tests passed\n", b"")


def test_the_job_fails_when_a_truncated_answer_passes(tmp_path: Path) -> None:
    broken = (EXAMPLES / "ci.sh").read_text().replace("extract-content", "extract-content || true")
    broken = broken.replace('here=$(cd "$(dirname "$0")/.." && pwd)', f"here={ROOT}")
    (tmp_path / "ci.sh").write_text(broken)
    done = sh("sh ci.sh", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == b"a truncated answer passed as complete\n"


@pytest.mark.parametrize(
    ("budget", "recordings", "answer"),
    [
        ("1000", ["thinking"], "17 times 23 makes 391!\n"),
        ("10", ["thinking", "capital-nostream"], "The capital of France is Paris.\n"),
    ],
)
def test_an_exceeded_thinking_budget_sends_a_second_request(budget: str, recordings: list[str], answer: str) -> None:
    files = " ".join(f"{RECORDINGS}/{name}.ndjson" for name in recordings)
    script = (
        f"replay -q --match path {files} -- python3 {EXAMPLES}/thinking_budget.py thinker {budget} 'What is 17 × 23?'"
    )
    result = sh(script)
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, answer, b"")
