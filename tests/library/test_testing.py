"""ostream.testing: recordings served to code under test, with the environment set, and mismatches raised on leaving."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ostream import IncompleteStream, ResponseError, chat
from ostream.testing import ReplayError, free_port, record_once, replay
from tests.process import ROOT
from tests.server import body_of, reserved_port, send_lines, serve

CHAT = body_of("chat-stream")


def hi(content: str = "hi", **body: Any) -> Any:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **body}


def recorded(body: Any, response: bytes = CHAT) -> bytes:
    return json.dumps({"request": {"path": "/api/chat", "body": body}}).encode() + b"\n" + response


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "r.ndjson"
    path.write_bytes(recorded(hi()))
    return path


def ask(content: str = "hi") -> str:
    return str(chat("m", hi(content)["messages"]).message.content)


@pytest.mark.parametrize("before", [{}, {"OLLAMA_HOST": "elsewhere", "OLLAMA_MODEL": "x", "no_proxy": "a"}])
def test_the_environment_is_set_and_restored(
    before: dict[str, str], recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OLLAMA_HOST", "OLLAMA_MODEL", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    saved = dict(os.environ)
    with replay(recording) as server:
        assert (os.environ["OLLAMA_HOST"], os.environ["OLLAMA_MODEL"]) == (server.url, "m")
        assert os.environ["no_proxy"] == ("a,127.0.0.1" if before else "127.0.0.1")
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert repr(server) == f"<ReplayServer {server.url}>"
        assert ask().startswith("The sky")
        del os.environ["OLLAMA_MODEL"]
    assert repr(server.requests) == "[<Request POST /api/chat>]"
    assert [(each.method, each.path, each.body) for each in server.requests] == [
        ("POST", "/api/chat", hi(stream=False))
    ]
    assert dict(os.environ) == saved


def test_a_mismatch_is_raised_although_the_code_ignored_it(recording: Path) -> None:
    suppress = contextlib.suppress(ResponseError)
    with pytest.raises(ReplayError, match='recorded "hi", requested "no"') as caught, replay(recording), suppress:
        ask("no")
    assert caught.value.__cause__ is None
    with pytest.raises(ReplayError) as caught, replay(recording):
        ask("no")
    assert isinstance(caught.value.__cause__, ResponseError)


def test_an_exception_of_the_code_under_test_is_passed_on(recording: Path) -> None:
    before = os.environ.get("OLLAMA_HOST")
    with pytest.raises(ZeroDivisionError), replay(recording):
        assert 1 / 0
    assert os.environ.get("OLLAMA_HOST") == before


def test_strict_raises_for_an_unused_recording(recording: Path) -> None:
    with replay(recording, recording):
        ask()
    unused = f"^{recording}:1: this recording was not used$"
    with pytest.raises(ReplayError, match=unused), replay(recording, recording, strict=True):
        ask()


def test_options(recording: Path) -> None:
    with replay(recording, match="path", repeat=True):
        assert ask() == ask("no")
    with replay(recording, faults=["eof:3@1", "status:503@2"]):
        for failure in (IncompleteStream, ResponseError):
            with pytest.raises(failure):
                ask()
        assert ask()
    with reserved_port() as port:
        assert 0 < free_port() != port
        for _ in range(2):
            with replay(recording, port=port) as server:
                assert server.port == port
                assert ask()


@pytest.mark.parametrize("options", [{"match": "x"}, {"faults": ["x"]}, {"faults": "eof"}, {"speed": -1}, {"port": -1}])
def test_wrong_options_raise_value_error(options: Any, recording: Path) -> None:
    with pytest.raises(ValueError, match="must be"), replay(recording, **options):
        pass


def test_record_once_asks_the_server_only_the_first_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.ndjson"
    with serve(send_lines(*CHAT.splitlines(keepends=True))) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        for _ in range(2):
            with record_once(path):
                assert ask().startswith("The sky")
        with record_once(path, host=server.url, refresh=True):
            assert ask("again")
        assert len(server.requests) == 2  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError), record_once(path, refresh=True):
        assert 1 / 0
    with replay(path, strict=True):
        assert ask("again")


def test_record_once_raises_when_something_was_not_recorded(tmp_path: Path) -> None:
    with serve(lambda exchange: exchange.send_body(500, "application/json", b"{}")) as server:
        not_added = pytest.raises(ReplayError, match="HTTP status 500; not added to")
        with not_added, record_once(tmp_path / "r", server.url), contextlib.suppress(ResponseError):
            ask()


@pytest.mark.full
def test_eight_processes_and_threads_get_their_own_answers(tmp_path: Path) -> None:
    path = tmp_path / "r.ndjson"
    count = 512
    with path.open("wb") as out:
        for number in range(count):
            line = {"message": {"role": "assistant", "content": f"answer {number}"}, "done": True}
            out.write(recorded(hi(f"question {number}"), json.dumps(line).encode() + b"\n"))
    program = """
import sys
from concurrent.futures import ThreadPoolExecutor
from ostream import chat
def ask(number):
    answer = chat("m", [{"role": "user", "content": f"question {number}"}], stream=number % 2 == 0)
    text = "".join(each.message.content for each in (answer if number % 2 == 0 else [answer]))
    assert text == f"answer {number}", (number, text)
first = int(sys.argv[1])
with ThreadPoolExecutor(8) as pool:
    list(pool.map(ask, range(first, first + 64)))
"""
    with replay(path, strict=True) as server:
        processes = [
            subprocess.Popen([sys.executable, "-c", program, str(first)], env={**os.environ, "PYTHONPATH": str(ROOT)})
            for first in range(0, count, 64)
        ]
        assert [process.wait(120) for process in processes] == [0] * 8
    assert len(server.requests) == count
