"""`ostream --complete`: the candidates, a time limit, and no text of a server that a shell would interpret."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from ostream.__main__ import COMMANDS
from ostream.installer import completion
from ostream.installer.main_options import OPTIONS
from ostream.recording.http_server import RequestHandler
from tests.process import call, start
from tests.server import Answers, black_hole, http_answer, serve, tcp

FILES = "\tfiles\t"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may need more than a second for the models."""
    monkeypatch.setattr(completion, "MODELS_TIMEOUT_S", 60.0)


def complete(*words: str, **env: str) -> list[str]:
    result = call("ostream", "--complete", *words, env=env)
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout.decode().splitlines()


def offered(*words: str, **env: str) -> list[str]:
    """The candidates without their descriptions."""
    return [line if line.startswith("\t") else line.partition("\t")[0] for line in complete(*words, **env)]


CASES = [
    ([""], list(COMMANDS)),
    (["extract-t"], ["extract-thinking"]),
    (["--"], list(OPTIONS)),
    (["--comp"], ["--completion"]),
    (["--completion", ""], ["bash", "zsh", "fish"]),
    (["--completion", "z"], ["zsh"]),
    (["--completion", "zsh", ""], []),
    (["--install", ""], [FILES]),
    (["help", "extract-t"], ["extract-thinking"]),
    (["help", "--"], []),
    (["--version", ""], []),
    (["frobnicate", ""], []),
    (["send", ""], []),
    (["send", "--mess"], ["--messages"]),
    (["send", "--think="], [f"--think={level}" for level in ("true", "false", "low", "medium", "high", "max")]),
    (["send", "--think=m"], ["--think=medium", "--think=max"]),
    (["send", "--think", ""], []),
    (["send", "--load="], []),
    (["send", "--nope", "-"], []),
    (["send", "-Z"], []),
    (["send", "-qg"], []),
    (["send", "--", "--mess"], []),
    (["send", "-f", ""], ["json"]),
    (["send", "-f", "@a"], [f"{FILES}@"]),
    (["send", "-fj"], ["-fjson"]),
    (["send", "-f@"], [f"{FILES}-f@"]),
    (["send", "--format=@"], [f"{FILES}--format=@"]),
    (["send", "-s", "@"], [f"{FILES}@"]),
    (["send", "-c", "a"], [FILES]),
    (["send", "-qc", "a"], [FILES]),
    (["send", "-ca"], [f"{FILES}-c"]),
    (["send", "-t", ""], [FILES]),
    (["send", "-o", "temp"], []),
    (["batch", ""], [FILES]),
    (["collect", "-w", ""], [FILES]),
    (["collect", "a", "-w", "b", ""], [FILES]),
    (["stats", "--field", "eval_c"], ["eval_count"]),
    (["replay", "--fault=st"], ["--fault=stall:", "--fault=status:"]),
    (["replay", "r", "--", ""], [*COMMANDS, "\tcommands"]),
    (["replay", "r", "--", "stat"], ["stats", "\tcommands"]),
    (["replay", "r", "--", "send", "--no-st"], ["--no-stream"]),
    (["replay", "r", "--", "bin/send", "--no-st"], ["--no-stream"]),
    (["record", "r", "--", "ostream", "send", "--no-st"], ["--no-stream"]),
    (["record", "r", "--", "ostream", "se"], ["send"]),
    (["record", "r", "--", "replay", "s", "--", "collect", "--js"], []),
    (["record", "r", "--", "sh", ""], [FILES]),
]


@pytest.mark.parametrize(("words", "expected"), CASES, ids=[" ".join(words) for words, _ in CASES])
def test_candidates(words: list[str], expected: list[str]) -> None:
    assert offered(*words) == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_the_help_is_a_candidate_with_its_description(command: str) -> None:
    text = "".join(call(command, "--help").stdout.decode().split())
    lines = dict(line.split("\t") for line in complete(command, "-"))
    assert {"-h", "--help", "-q", "--verbose"} <= set(lines)
    assert all(name in text and meaning and "".join(meaning.split()) in text for name, meaning in lines.items())


def tags(*names: object) -> bytes:
    return json.dumps({"models": [{"name": name} for name in names]}).encode()


ANSWERS = [
    (tags("qwen3:0.6b", "me/x:latest", "hf.co/a/b:Q4_K_M"), ["qwen3:0.6b", "me/x:latest", "hf.co/a/b:Q4_K_M"]),
    (
        tags("$(reboot)", "`x`", "a b", "a;b", "a\nb", "-rf", "a'b", 'a"b', "~root", "a*", "é", "x" * 999, "", "ok"),
        ["ok"],
    ),
    (tags(None, 1, ["a"], {"a": 1}, "ok"), ["ok"]),
    (b'{"models":[null,1,"a",{},{"name":"ok"}]}', ["ok"]),
    (b'{"models":{"name":"a"}}', []),
    (b"{", []),
    (b"\xff", []),
    (b"", []),
    (b"[" * 100_000, []),
    (b" " * (5 << 20) + tags("too-late"), []),
]


@pytest.mark.parametrize(("body", "expected"), ANSWERS)
def test_only_harmless_model_names_are_candidates(body: bytes, expected: list[str]) -> None:
    with tcp(Answers(http_answer(200, body))) as port:
        assert offered("send", "-m", "", OLLAMA_HOST=f"127.0.0.1:{port}") == expected


def test_the_request_uses_the_options_and_the_environment_as_send_does() -> None:
    answers = Answers(http_answer(200, tags("a:1", "b:2")))
    with tcp(answers) as port:
        host = f"http://127.0.0.1:{port}/base"
        assert offered("send", "--host", host, "--model=b", OLLAMA_API_KEY="key") == ["--model=b:2"]
        assert offered("batch", "-q", f"--host={host}", "-m", "") == ["a:1", "b:2"]
        assert offered("send", f"--host={host}", "-ma") == ["-ma:1"]
        assert offered("send", f"--host={host}", "--insecure", "-ma") == ["-ma:1"]
    first, headers, _ = answers.requests[0]
    assert first == "GET /base/api/tags HTTP/1.1"
    assert headers["authorization"] == "Bearer key"
    assert "authorization" not in answers.requests[1][1]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:1", "no-such-host.invalid", "ftp://x", "http://me:secret@x", "https://127.0.0.1:1", "a b"]
)
def test_without_a_server_there_are_no_candidates_and_no_messages(host: str) -> None:
    assert offered("send", "-m", "", OLLAMA_HOST=host) == []
    assert offered("send", "--host", host, "-m", "") == []


def test_the_key_is_not_sent_in_the_clear() -> None:
    assert offered("send", "-m", "", OLLAMA_HOST="http://192.0.2.1:1", OLLAMA_API_KEY="bad\nkey") == []


def test_a_silent_server_delays_completion_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "MODELS_TIMEOUT_S", 0.5)

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/json")
        exchange.chunk(b'{"models":[')
        time.sleep(60)

    with black_hole() as port, serve(respond) as server:
        for host in (f"127.0.0.1:{port}", server.url):
            begin = time.monotonic()
            assert offered("send", "-m", "", OLLAMA_HOST=host) == []
            assert completion.MODELS_TIMEOUT_S <= time.monotonic() - begin + 0.01 < 30


def test_completion_ends_when_the_shell_does() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with black_hole() as port:
        env = {"OLLAMA_HOST": f"127.0.0.1:{port}"}
        process = start("--complete", "send", "-m", "", stdout=writer, env=env)
        os.close(writer)
        assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == -signal.SIGPIPE
