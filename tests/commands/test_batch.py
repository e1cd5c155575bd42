"""batch: what is sent and what is written, without a file of answers."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from ostream.batch import inputs, sender
from ostream.protocol.canonical import canonical_body
from ostream.recording.http_server import RequestHandler
from tests.process import call, feed, run, sh, start
from tests.server import http_answer, send_raw, serve

JSON = "application/json; charset=utf-8"


def reply(exchange: RequestHandler) -> None:
    """Answer with the prompt itself; the prompts "failN" and "cut" ask for HTTP status N and for an early end."""
    if exchange.path == "/api/version":  # batch asks whether the server is there again
        exchange.send_body(200, JSON, b'{"version":"0.12.0"}')
        return
    body = json.loads(exchange.body)
    prompt = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
    if prompt.startswith("fail"):
        exchange.send_body(int(prompt[4:] or 404), JSON, b'{"error":"no such thing"}')
        return
    metrics = '"done_reason":"stop","eval_count":10,"eval_duration":2000000'
    if exchange.path.startswith("/v1"):
        answer = json.dumps({"id": "theirs", "choices": [{"text": prompt}], "usage": {"completion_tokens": 2}})
    elif exchange.path == "/api/chat":
        message = json.dumps({"role": "assistant", "content": prompt})
        answer = f'{{"model":"m","message":{message},"done":{json.dumps(prompt != "cut")},{metrics}}}'
    else:
        answer = f'{{"model":"m","response":{json.dumps(prompt)},"done":true,{metrics}}}'
    exchange.send_body(200, JSON, answer.encode())


def lines_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def asked(*requests: Any) -> bytes:
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


def test_answer_has_the_id_and_hash_of_its_request() -> None:
    stdin = asked("one", {"id": "b", "prompt": "two"}, {"messages": [{"role": "user", "content": "three"}]})
    with serve(reply) as server:
        done = call("batch", "-m", "m", "--host", server.url, stdin=stdin + b'\n"four"')
        bodies = {json.loads(exchange.body)["model"]: exchange.body for exchange in server.requests}  # type: ignore[attr-defined]
        forms = [canonical_body(json.loads(exchange.body)) for exchange in server.requests]  # type: ignore[attr-defined]
        hashes = {hashlib.sha256(form).hexdigest() for form in forms}
        assert all(json.loads(exchange.body)["stream"] is False for exchange in server.requests)  # type: ignore[attr-defined]
    assert (done.returncode, done.stderr) == (0, b"")
    answers = {line["id"]: line for line in lines_of(done.stdout)}
    texts = {id: line["message"]["content"] if "message" in line else line["response"] for id, line in answers.items()}
    # A blank line is counted, so that an id is the number of a line.
    assert texts == {0: "one", "b": "two", 2: "three", 4: "four"}
    assert {line["body_sha256"] for line in answers.values()} == hashes
    assert list(bodies) == ["m"]
    assert b',"eval_duration":2000000,"id":' in done.stdout


def test_request_options_are_those_of_send(tmp_path: Path) -> None:
    (tmp_path / "system").write_text("S\n")
    options = ["-s", f"@{tmp_path}/system", "--option", "seed=1", "-f", '{"type":"object"}', "--think=low"]
    options += ["--keep-alive", "0"]
    with serve(reply) as server:
        env = {"OLLAMA_HOST": server.url, "OLLAMA_MODEL": "e"}
        assert call("batch", *options, stdin=b'"{}"\n', env=env).returncode == 0
        assert call("batch", "-g", "--lines", "--header", "X-Mine: 1", stdin=b"hi\n", env=env).returncode == 0
        first, second = server.requests  # type: ignore[attr-defined]
    assert json.loads(first.body) == {
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "{}"}],
        "model": "e",
        "stream": False,
        "think": "low",
        "format": {"type": "object"},
        "options": {"seed": 1},
        "keep_alive": 0,
    }
    assert (second.path, second.headers["X-Mine"]) == ("/api/generate", "1")
    assert json.loads(second.body) == {"prompt": "hi", "model": "e", "stream": False}


def test_failure_is_an_error_line_and_the_other_requests_continue() -> None:
    stdin = asked("one", {"id": "x", "prompt": "fail"}, "cut") + b"what?\n" + asked("two")
    with serve(reply) as server:
        done = call("batch", "-k", "-m", "m", "--host", server.url, stdin=stdin)
    one, refused, cut, bad, two = lines_of(done.stdout)
    assert (done.returncode, one["id"], two["id"]) == (2, 0, 4)
    assert (refused["error"], refused["status_code"], refused["exit_status"], refused["id"]) == (
        *("no such thing", 404, 1),
        "x",
    )
    assert (cut["exit_status"], cut["id"]) == (3, 2)
    assert json.loads(cut["partial"])["message"]["content"] == "cut"
    assert (bad["error"], bad["exit_status"], bad["id"]) == (
        "standard input:4: not JSON: Expecting value at column 1",
        2,
        3,
    )
    first, *others = done.stderr.decode().splitlines()
    assert first.startswith('batch: id "x": no such thing (status code: 404); ')
    assert others == [
        'batch: id 2: the answer has no "done": true',
        "batch: standard input:4: not JSON: Expecting value at column 1; with --lines, each line is a prompt",
    ]


@pytest.mark.parametrize(
    ("prompts", "status"),
    [
        (["hi"], 0),
        (["hi", "fail404"], 1),
        (["hi", "cut"], 3),
        (["hi", "fail503"], 75),
        (["fail503", "cut"], 3),
        (["cut", "fail500"], 1),
    ],
)
def test_status_is_the_most_severe_and_filters_exit_with_it(prompts: list[str], status: int) -> None:
    with serve(reply) as server:
        done = sh(
            "batch -q -m m --retry 0 --patience 0 | stats", stdin=asked(*prompts), env={"OLLAMA_HOST": server.url}
        )
        alone = call("batch", "-m", "m", "--retry", "0", "--patience", "0", "--host", server.url, stdin=asked(*prompts))
    assert (done.returncode, alone.returncode) == (status, status)
    # The stage that finds a failure prints it; the filter after it does not.
    assert done.stderr.count(b"\n") == len([prompt for prompt in prompts if prompt != "hi"])


def test_openai_records_are_answered_with_records() -> None:
    def record(id: str, url: str, **body: Any) -> dict[str, Any]:
        return {"custom_id": id, "method": "POST", "url": url, "body": {"model": "m", **body}}

    stdin = asked(
        record("a", "/v1/chat/completions", messages=[{"content": "A"}]),
        record("b", "/api/generate", prompt="B"),
        record("c", "/v1/completions", prompt="fail500"),
        record("d", "http://evil.test/", prompt="D"),
    )
    with serve(reply) as server:
        done = call("batch", "-k", "--host", server.url, stdin=stdin)
        assert sorted(exchange.path for exchange in server.requests) == [  # type: ignore[attr-defined]
            *("/api/generate", "/v1/chat/completions", "/v1/completions")
        ]
    a, b, c, d = lines_of(done.stdout)
    assert done.returncode == 2
    assert [line["custom_id"] for line in (a, b, c, d)] == ["a", "b", "c", "d"]
    assert a["response"]["body"] == {"id": "theirs", "choices": [{"text": "A"}], "usage": {"completion_tokens": 2}}
    assert a["response"]["status_code"] == 200
    assert b["response"]["body"]["response"] == "B"
    assert c["response"]["status_code"] == 500
    assert (a["error"], c["error"]["code"], d["error"]["code"]) == (None, "500", "2")


def test_openai_failure_keeps_the_error_object_with_the_key_masked() -> None:
    error = {"message": "bad key", "type": "invalid", "code": 7, "param": "key-0123456789", "key-0123456789": [1]}
    stdin = asked({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}})
    with serve(send_raw(http_answer(400, json.dumps({"error": error}).encode()))) as server:
        done = call("batch", "--host", server.url, stdin=stdin, env={"OLLAMA_API_KEY": "key-0123456789"})
    body = lines_of(done.stdout)[0]["response"]["body"]
    assert body == {"error": {"message": "bad key", "type": "invalid", "code": 7, "param": "***"}}


@pytest.mark.parametrize("jobs", [1, 4, 32])
def test_jobs_is_the_number_of_requests_at_a_time(jobs: int) -> None:
    """The server answers once so many requests have arrived, and never has more of them."""
    together = threading.Barrier(jobs)
    running: list[int] = []

    def respond(exchange: RequestHandler) -> None:
        running.append(1)
        assert len(running) <= jobs
        together.wait(30)
        running.pop()
        together.wait(30)
        reply(exchange)

    with serve(respond) as server:
        done = run("batch", "-m", "m", "-j", str(jobs), "--host", server.url, stdin=asked(*["hi"] * jobs * 3))
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 3 * jobs)


@pytest.mark.parametrize("in_order", [False, True])
def test_answers_are_written_when_complete_or_with_k_in_order(in_order: bool) -> None:
    """The first request is answered after all others."""
    others = threading.Semaphore(0)

    def respond(exchange: RequestHandler) -> None:
        if b'"0"' in exchange.body:
            for _ in range(7):
                assert others.acquire(timeout=30)
        reply(exchange)
        others.release()

    with serve(respond) as server:
        stdin = asked(*map(str, range(8)))
        done = call("batch", "-m", "m", "-j2", *["-k"] * in_order, "--host", server.url, stdin=stdin)
    order = [line["id"] for line in lines_of(done.stdout)]
    # When the last of the others was sent, the answers before it had been written.
    assert order == list(range(8)) if in_order else order.index(0) >= 6


def test_answer_is_written_at_once_and_input_is_read_when_needed() -> None:
    with serve(reply) as server, start("batch", "-m", "m", "--host", server.url) as process:
        for word in ("one", "two"):
            feed(process, asked(word))
            assert json.loads(process.stdout.readline())["message"]["content"] == word
        process.stdin.close()
        assert process.wait(30) == 0


def test_positions_continue_over_several_inputs(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\ntwo")
    (tmp_path / "b").write_bytes(b"three\n")
    with serve(reply) as server:
        arguments = ["-k", "-m", "m", "--lines", "--host", server.url]
        done = call("batch", *arguments, tmp_path / "a", tmp_path / "none", "-", tmp_path / "b", stdin=b"x\n")
    *_, missing = sorted(lines_of(done.stdout), key=lambda line: "error" in line)
    texts = [line["message"]["content"] for line in lines_of(done.stdout) if "error" not in line]
    assert texts == ["one", "two", "x", "three"]
    assert [line["id"] for line in lines_of(done.stdout) if "error" not in line] == [0, 1, 2, 3]
    assert missing == {"error": f"{tmp_path}/none: No such file or directory", "exit_status": 2}
    assert (done.returncode, done.stderr.decode()) == (2, f"batch: {tmp_path}/none: No such file or directory\n")


@pytest.mark.parametrize(
    ("stdin", "options", "advice"),
    [
        (b"", [], "write one JSON object with a prompt per line"),
        (b"\n\n", ["--dry-run"], "write one JSON object with a prompt per line"),
        (b"text\n", ["--csv", "--prompt", "{text}"], "add rows below the header row"),
    ],
)
def test_input_without_a_request_is_a_failure(stdin: bytes, options: list[str], advice: str) -> None:
    done = call("batch", "-m", "m", *options, stdin=stdin)
    assert done.returncode == 3
    assert f"; {advice}" in done.stderr.decode()
    assert lines_of(done.stdout) == [{"error": "standard input: contains no requests", "exit_status": 3}]


def test_line_beyond_the_limit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    split = inputs.split_lines
    monkeypatch.setattr(inputs, "split_lines", lambda blocks: split(blocks, 100))
    with serve(reply) as server:
        done = call("batch", "-k", "-m", "m", "--host", server.url, stdin=asked("hi", "x" * 200, "ho"))
    assert [line.get("id") for line in lines_of(done.stdout)] == [0, None]
    assert (done.returncode, done.stderr) == (2, b"batch: standard input: a line of more than 100 bytes\n")


def test_answer_beyond_the_limit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "LINE_LIMIT", 1000)
    with serve(reply) as server:
        done = call("batch", "-km", "m", "--host", server.url, stdin=asked("x" * 1000, "hi"))
    assert [line.get("error") for line in lines_of(done.stdout)] == ["the answer is longer than 1,000 bytes", None]
    assert done.returncode == 1


def test_lines_of_json_with_lines_are_noted_once() -> None:
    with serve(reply) as server:
        done = call("batch", "-m", "m", "--lines", "--host", server.url, stdin=asked({"prompt": "a"}, {"prompt": "b"}))
    note = "standard input:1: this line is JSON and is sent as text; to send it as a request, leave out --lines"
    assert (done.returncode, done.stderr.decode()) == (0, f"batch: {note}\n")
