"""What batch sends and writes: dry runs, formats, streams, standard output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ostream.recording.http_server import RequestHandler
from tests.commands.test_batch import asked, lines_of, reply
from tests.process import call, sh
from tests.server import body_of, http_answer, send_raw, serve


@pytest.mark.parametrize(("options", "tries"), [([], 4), (["--option", "temperature=0"], 2), (["--retry", "0"], 1)])
def test_answer_without_its_format_is_sent_again(options: list[str], tries: int) -> None:
    with serve(reply) as server:
        done = call("batch", "-m", "m", "-f", "json", *options, "--host", server.url, stdin=asked("no JSON"))
        assert len(server.requests) == tries  # type: ignore[attr-defined]
    (line,) = lines_of(done.stdout)
    assert (done.returncode, json.loads(line["partial"])["message"]["content"]) == (1, "no JSON")


def test_stream_is_folded_and_an_interrupted_one_is_kept() -> None:
    first, *_, last = body_of("chat-stream").splitlines(True)

    def respond(exchange: RequestHandler) -> None:
        assert json.loads(exchange.body)["stream"] is True
        exchange.head(200, "application/x-ndjson")
        for line in [last.replace(b'":', b'":\n')] if b"indented" in exchange.body else [first, last]:
            exchange.chunk(line)
            if b"cut" in exchange.body:
                exchange.reset()
                return
        exchange.end()

    with serve(respond) as server:
        options = ["-k", "--stream", "--patience", "0", "-m", "m", "--host", server.url]
        done = call("batch", *options, stdin=asked("hi", "cut", "indented"))
    complete, interrupted, indented = lines_of(done.stdout)
    text = json.loads(first)["message"]["content"]
    assert (complete["message"]["content"], complete["done"]) == (text, True)
    assert indented["exit_status"] == 1
    assert (interrupted["exit_status"], json.loads(interrupted["partial"])["message"]["content"]) == (3, text)


def test_gateway_timeout_without_stream_names_the_option() -> None:
    with serve(send_raw(http_answer(504))) as server:
        done = call("batch", "-m", "m", "--retry", "0", "--host", server.url, stdin=asked("hi"))
    assert b"; with --stream, a proxy's read timeout applies to each part of the answer\n" in done.stderr


def test_keys_of_a_server_are_replaced_and_traced() -> None:
    with serve(send_raw(http_answer(200, b'{"id":"x","custom_id":"y","response":"a","done":true}'))) as server:
        done = call("batch", "-v", "-m", "m", "--host", server.url, stdin=asked({"prompt": "hi"}))
    assert lines_of(done.stdout)[0]["id"] == 0
    assert b"batch: id 0: custom_id, id of the server's answer replaced\n" in done.stderr


def test_option_that_overrides_rows_is_noted_once() -> None:
    with serve(reply) as server:
        rows = asked({"model": "a", "prompt": "hi"}, {"model": "b", "prompt": "ho"})
        done = call("batch", "-m", "m", "--host", server.url, stdin=rows)
    assert done.stderr == b"batch: -m replaces the model given in the rows (first: standard input:1)\n"


def test_tools_and_recordings_are_sent(tmp_path: Path) -> None:
    (tmp_path / "tools").write_text('[{"type":"function","function":{"name":"f"}}]')
    (tmp_path / "bad").write_text("[1]")
    recording = asked({"request": {"path": "/api/chat", "body": {"messages": []}}}, {"done": True})
    options = ["-m", "m", "--tools", str(tmp_path / "tools"), "--dry-run"]
    done = call("batch", *options, stdin=recording)
    assert lines_of(done.stdout)[0]["request"]["body"]["tools"][0]["function"]["name"] == "f"
    assert b"batch: skipped lines that are not requests: 1\n" in done.stderr
    done = call("batch", "-m", "m", "--tools", str(tmp_path / "bad"))
    assert done.stderr.decode() == f"batch: --tools {tmp_path}/bad: must be a JSON array of tool schemas\n"


def test_dry_run_prints_requests_and_changes_nothing(tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    with serve(reply) as server:
        env = {"OLLAMA_HOST": server.url}
        options = ["-m", "m", "-o", str(answers), "--resume"]
        assert call("batch", *options, stdin=asked("one", "two"), env=env).returncode == 0
        before = answers.read_bytes()
        done = call("batch", *options, "--dry-run", stdin=asked("one", "new", "three", {"x": 1}), env=env)
        assert len(server.requests) == 2  # type: ignore[attr-defined]
    assert answers.read_bytes() == before
    (line,) = lines_of(done.stdout)
    assert (line["id"], line["request"]["body"]["messages"][0]["content"]) == (2, "three")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1] == (
        "batch: requests to send: 1 (failed before: 0); already answered: 1; unusable rows: 1"
    )
    again = call("batch", "--dry-run", stdin=done.stdout, env=env)
    assert lines_of(again.stdout) == [line]
    assert call("batch", "--dry-run", stdin=b"\n", env=env).returncode == 3


def test_with_o_stdout_may_be_closed(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a\n")
    with serve(reply) as server:
        result = sh(
            "batch -q -m m --lines -o answers rows >&-; batch -q -m m --lines --dry-run -o new rows >&- || echo $?;"
            "batch -o new --no-such >&- || echo $?",
            env={"OLLAMA_HOST": server.url},
            cwd=tmp_path,
        )
    assert (tmp_path / "answers").read_bytes().count(b"\n") == 1
    assert result.stdout == b"1\n2\n"
    assert result.stderr.decode().startswith("batch: standard output: closed\nbatch: ")
    assert result.stderr.count(b"\n") == 2
