"""send with files of messages: -c, --messages and --context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.process import call, run, sh
from tests.server import body_of, send_lines, serve

USER = {"role": "user", "content": "why?"}
ANSWER = {"role": "assistant", "content": "because"}
SYSTEM = {"role": "system", "content": "short"}
STREAM = (
    b'{"message":{"role":"assistant","content":"bec"},"done":false}\n',
    b'{"message":{"role":"assistant","content":"ause"},"done":true}\n',
)


def lines(*messages: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(message, separators=(",", ":")).encode() + b"\n" for message in messages)


def requests_of(server: Any) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.requests]


TURNS = [
    # content of the file, arguments, messages sent, messages in the file afterwards
    (None, ["why?"], [USER], [USER, ANSWER]),
    (b"", ["why?"], [USER], [USER, ANSWER]),
    (lines(USER, ANSWER), ["why?"], [USER, ANSWER, USER], [USER, ANSWER, USER, ANSWER]),
    (None, ["-s", "short", "why?"], [SYSTEM, USER], [SYSTEM, USER, ANSWER]),
    (lines(SYSTEM, USER), ["-s", "short", "why?"], [SYSTEM, USER, USER], [SYSTEM, USER, USER, ANSWER]),
    (lines(SYSTEM, USER), ["why?"], [SYSTEM, USER, USER], [SYSTEM, USER, USER, ANSWER]),
    (lines(USER), ["--no-stream", "why?"], [USER, USER], [USER, USER, ANSWER]),
]


@pytest.mark.parametrize(("content", "arguments", "sent", "stored"), TURNS)
def test_a_conversation_is_sent_and_continued(
    tmp_path: Path, content: bytes | None, arguments: list[str], sent: list[Any], stored: list[Any]
) -> None:
    chat = tmp_path / "chat"
    if content is not None:
        chat.write_bytes(content)
    with serve(send_lines(*STREAM)) as server:
        result = call("send", "-m", "m", "--host", server.url, "-c", chat, *arguments)
        assert requests_of(server)[0]["messages"] == sent
    assert (result.returncode, result.stdout, result.stderr) == (0, b"".join(STREAM), b"")
    assert chat.read_bytes() == lines(*stored)


REFUSED = [
    # content of the file, arguments, the message
    (lines(SYSTEM), ["-s", "long", "x"], "begins with another system message; leave out --system"),
    (lines(USER), ["-s", "short", "x"], "begins with another system message; leave out --system"),
    (b"[]", ["x"], "a JSON array can't be appended to; convert it to lines: python3 -c"),
    (b"nonsense\n", ["x"], "chat:1: not JSON"),
    (b"", ["-g", "x"], "--conversation: only /api/chat takes it; leave out -g"),
    (b"", ["--messages", "other", "x"], "--conversation, --messages: can't be combined"),
    (b"", ["--load"], "can't be combined with a prompt"),
    (b"", [""], "the prompt is empty"),
]


@pytest.mark.parametrize(("content", "arguments", "message"), REFUSED)
def test_a_conversation_that_can_not_be_continued_is_refused_before_sending(
    tmp_path: Path, content: bytes, arguments: list[str], message: str
) -> None:
    chat = tmp_path / "chat"
    chat.write_bytes(content)
    with serve(send_lines(*STREAM)) as server:
        result = call("send", "-m", "m", "--host", server.url, "-c", chat, *arguments)
        assert requests_of(server) == []
    assert result.returncode == 2
    assert message in result.stderr.decode()
    assert chat.read_bytes() == content


CUT = [
    # response of the server, exit status
    (send_lines(STREAM[0]), 3),
    (send_lines(STREAM[0], b'{"error":"boom"}\n'), 1),
    (send_lines(STREAM[0], b'{"done":true,"done_reason":"length"}\n'), 4),
    (send_lines(b'{"error":"no"}', status=404), 1),
    (send_lines(), 3),
]


@pytest.mark.parametrize("option", ["-c", "--context"])
@pytest.mark.parametrize(("respond", "status"), CUT)
def test_an_incomplete_answer_changes_no_file(tmp_path: Path, option: str, respond: Any, status: int) -> None:
    with serve(respond) as server:
        endpoint = ["-g"] if option == "--context" else []
        result = call(
            "send", "-m", "m", "--host", server.url, "--fail-on-length", *endpoint, option, tmp_path / "f", "x"
        )
    assert result.returncode == status
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ('"content":" \\n"', "the answer is empty"),
        ('"content":"","thinking":"hm"', "the answer contains thinking but no text"),
    ],
)
def test_an_empty_answer_is_not_appended_and_noted(tmp_path: Path, message: str, what: str) -> None:
    (tmp_path / "f").write_bytes(lines(USER, ANSWER))
    with serve(send_lines(b'{"message":{%b},"done":true}\n' % message.encode())) as server:
        result = call("send", "-m", "m", "--host", server.url, "-c", tmp_path / "f", "x")
    assert (result.returncode, result.stderr.decode()) == (0, f"send: {tmp_path}/f: not changed; {what}\n")
    assert (tmp_path / "f").read_bytes() == lines(USER, ANSWER)


def test_a_conversation_that_is_also_standard_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chat").write_bytes(lines(USER, ANSWER))
    result = sh("python3 -m ostream send -m m --host 127.0.0.1:1 -c chat hi >> chat", cwd=tmp_path)
    message = b"send: chat: is also standard output; redirect elsewhere; messages are appended to it anyway\n"
    assert (result.returncode, result.stderr) == (1, message)
    assert (tmp_path / "chat").read_bytes() == lines(USER, ANSWER)


def test_a_conversation_that_can_not_be_written_is_a_failure_after_the_answer(tmp_path: Path) -> None:
    """The folder is removed while the server answers."""
    folder = tmp_path / "folder"
    folder.mkdir()

    def respond(exchange: Any) -> None:
        folder.rename(tmp_path / "gone")
        send_lines(*STREAM)(exchange)

    with serve(respond) as server:
        result = call("send", "-m", "m", "--host", server.url, "-c", folder / "chat", "why?")
    assert result.returncode == 1
    assert result.stdout.startswith(b"".join(STREAM))
    assert json.loads(result.stdout.splitlines()[2])["exit_status"] == 1
    assert b"chat: No such file or directory; the answer is complete" in result.stderr


MESSAGES = [
    # content of the file, arguments, messages sent
    (lines(SYSTEM, USER), [], [SYSTEM, USER]),
    (lines(SYSTEM, USER), ["why?"], [SYSTEM, USER, USER]),
    (json.dumps([USER]).encode(), ["-s", "short"], [SYSTEM, USER]),
    (lines(SYSTEM, USER), ["-s", "long"], [{**SYSTEM, "content": "long"}, USER]),
]


@pytest.mark.parametrize("from_stdin", [False, True])
@pytest.mark.parametrize(("content", "arguments", "sent"), MESSAGES)
def test_messages_are_sent_before_the_prompt(
    tmp_path: Path, from_stdin: bool, content: bytes, arguments: list[str], sent: list[Any]
) -> None:
    (tmp_path / "f").write_bytes(content)
    with serve(send_lines(*STREAM)) as server:
        send = ["send", "-m", "m", "--host", server.url, "--messages", "-" if from_stdin else tmp_path / "f"]
        result = call(*send, *arguments, stdin=content if from_stdin else b"")
        assert (result.returncode, result.stderr) == (0, b"")
        assert requests_of(server)[0]["messages"] == sent
    assert (tmp_path / "f").read_bytes() == content


def test_messages_are_read_from_a_pipe() -> None:
    with serve(send_lines(*STREAM)) as server:
        script = "{ send -m m --messages /dev/fd/3 hi 3<&0 < /dev/null; }"
        assert sh(script, stdin=lines(SYSTEM), env={"OLLAMA_HOST": server.url}).returncode == 0
        assert requests_of(server)[0]["messages"] == [SYSTEM, {"role": "user", "content": "hi"}]


NO_MESSAGES = [
    (b"", [], "contains no messages, and no prompt was given"),
    (b"x\n", [], "1: not JSON"),
    (lines(USER), ["-g", "x"], "--messages: only /api/chat takes it"),
    (lines(USER), ["--load"], "can't be combined with a prompt"),
    (lines(USER) + b'{"ro', ["x"], "2: not JSON"),
    (lines(USER), ["-"], "standard input can only be used once"),
]


@pytest.mark.parametrize(("content", "arguments", "message"), NO_MESSAGES)
def test_invalid_messages_are_refused(content: bytes, arguments: list[str], message: str) -> None:
    result = call("send", "-m", "m", "--messages", "-", *arguments, stdin=content)
    assert result.returncode == 2
    assert message in result.stderr.decode()


def test_messages_replace_those_of_a_body(tmp_path: Path) -> None:
    (tmp_path / "body").write_text(json.dumps({"model": "m", "messages": [SYSTEM], "mine": 1}))
    (tmp_path / "chat").write_bytes(lines(USER))
    with serve(send_lines(*STREAM)) as server:
        for option in ("--messages", "-c"):
            result = call("send", "--host", server.url, "--body", tmp_path / "body", option, tmp_path / "chat")
            assert result.stderr.decode() == (
                f"send: --body {tmp_path}/body: its messages are replaced by those of {tmp_path}/chat\n"
            )
        first, second = requests_of(server)
    assert (first["messages"], first["mine"]) == ([USER], 1)
    assert (second["messages"], second["mine"]) == ([USER], 1)
    assert (tmp_path / "chat").read_bytes() == lines(USER, ANSWER)


def test_the_context_of_an_answer_is_sent_with_the_next_request(tmp_path: Path) -> None:
    """As in the two recorded turns: the second request has the context of the first answer."""
    recorded = json.loads(
        (Path(__file__).parent.parent / "streams" / "generate-stream-second-turn.req")
        .read_bytes()
        .partition(b"\r\n\r\n")[2]
    )
    answers = [body_of("generate-stream"), body_of("generate-stream-second-turn")]

    def respond(exchange: Any) -> None:
        send_lines(*answers[len(server.requests) - 1].splitlines(True))(exchange)  # type: ignore[attr-defined]

    with serve(respond) as server:
        for prompt in ("Why is the sky blue?", recorded["prompt"]):
            result = call("send", "--host", server.url, "-m", "plain", "-g", "--context", tmp_path / "f", prompt)
            assert (result.returncode, result.stderr) == (0, b"")
        first, second = requests_of(server)
    assert "context" not in first
    assert second == {**recorded, "stream": True}
    last = json.loads(answers[1].splitlines()[-1])
    assert json.loads((tmp_path / "f").read_bytes()) == {"model": "plain", "context": last["context"]}


@pytest.mark.parametrize("context", ["", ',"context":"junk"', ',"context":[true]', ',"context":null', ',"context":[]'])
def test_an_answer_without_a_valid_context_changes_none_and_is_noted(tmp_path: Path, context: str) -> None:
    (tmp_path / "f").write_bytes(b"[1]")
    (tmp_path / "f.01234567.new").write_bytes(b"of a killed process")
    with serve(send_lines(b'{"response":"a","done":true%b}\n' % context.encode())) as server:
        result = call("send", "--host", server.url, "-m", "m", "-g", "--context", tmp_path / "f", "x")
        assert requests_of(server)[0]["context"] == [1]
    assert result.returncode == 0
    assert b"f: not changed; the answer has no context" in result.stderr
    assert (tmp_path / "f").read_bytes() == b"[1]"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


NO_CONTEXT = [
    (["x"], "--context: only /api/generate takes it; add -g"),
    (["-g", "--load"], "can't be combined with a prompt"),
    (["-g", "x"], "the context was made by model other, not m"),
]


@pytest.mark.parametrize(("arguments", "message"), NO_CONTEXT)
def test_a_context_of_another_model_or_endpoint_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "f").write_bytes(b'{"model":"other","context":[1]}')
    result = call("send", "-m", "m", "--host", "127.0.0.1:1", "--context", tmp_path / "f", *arguments)
    assert result.returncode == 2
    assert message in result.stderr.decode()


def test_a_dry_run_prints_the_conversation_and_changes_no_file(tmp_path: Path) -> None:
    (tmp_path / "chat").write_bytes(lines(USER, ANSWER)[:-1])
    result = run("send", "-m", "m", "--dry-run", "-c", tmp_path / "chat", "and?")
    assert [m["content"] for m in json.loads(result.stdout)["request"]["body"]["messages"]] == [
        "why?",
        "because",
        "and?",
    ]
    assert (tmp_path / "chat").read_bytes() == lines(USER, ANSWER)[:-1]
