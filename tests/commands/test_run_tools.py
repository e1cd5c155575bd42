"""run-tools and send --run-tools, with recorded tool calls, real tools and a real terminal."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from ostream.commands.run_tools import _asker
from ostream.errors import InputError
from tests.process import TOOLS, Process, call, environment, run, sh
from tests.server import body_of, send_lines, serve

CALLS = body_of("chat-tools-text")
NONE = body_of("chat-stream")
TIME = {"role": "tool", "content": "exit 3: no clock here", "tool_name": "get_time", "tool_call_id": "call_0htp69wl"}
RAIN = {"role": "tool", "content": "rain", "tool_name": "get_weather", "tool_call_id": "call_iltlm83q"}
CUT = CALLS.splitlines(True)[:-1]


def objects(lines: bytes) -> list[Any]:
    return [json.loads(line) for line in lines.splitlines()]


def in_turn(*answers: bytes) -> Callable[[Any], None]:
    """Answer each request with the next of these streams."""
    remaining = list(answers)
    return lambda exchange: send_lines(*remaining.pop(0).splitlines(True))(exchange)


def test_the_answer_is_printed_first_and_then_each_result_in_order() -> None:
    result = call("run-tools", stdin=CALLS)
    assert result.returncode == 0
    answer, *tools = objects(result.stdout)
    assert (answer["role"], answer["content"]) == ("assistant", "Let me check that.\n")
    assert [made["id"] for made in answer["tool_calls"]] == ["call_0htp69wl", "call_iltlm83q"]
    assert tools == [TIME, RAIN]
    assert result.stderr == b"run-tools: get_time: no clock here\n"


def test_messages_for_an_answer_of_batch_have_its_id() -> None:
    chunk = {"message": {"tool_calls": [{"function": {"name": "get_weather"}}]}, "done": True, "id": "r1"}
    result = call("run-tools", stdin=json.dumps(chunk).encode() + b"\n" + NONE)
    assert [message.get("id") for message in objects(result.stdout)] == ["r1", "r1", None]


STATUSES = [
    # what comes in, the status with --status, the roles that go out
    (CALLS, 0, ["assistant", "tool", "tool"]),
    (NONE, 10, ["assistant"]),
    (NONE + CALLS, 0, ["assistant", "assistant", "tool", "tool"]),
    (b"".join(CUT), 3, []),
    (b"".join(CUT) + b'{"error":"boom"}\n' + NONE, 1, ["assistant"]),
    (b"", 3, []),
    (b'{"message":{"tool_calls":[{"function":{"name":"x"}}]},"done":true}\n', 0, ["assistant", "tool"]),
]


@pytest.mark.parametrize(("stream", "status", "roles"), STATUSES)
def test_only_complete_answers_are_used_and_status_10_ends_a_loop(stream: bytes, status: int, roles: list[str]) -> None:
    result = call("run-tools", "--status", stdin=stream)
    assert result.returncode == status
    assert [message["role"] for message in objects(result.stdout)] == roles
    assert call("run-tools", stdin=stream).returncode == (0 if status == 10 else status)


def test_a_dry_run_prints_the_calls_and_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "get_time").write_text("#!/bin/sh\ntouch ran\n")
    (tmp_path / "get_time").chmod(0o755)
    (tmp_path / "get_time.json").write_text("{}")
    result = run("run-tools", "-t", tmp_path, "--dry-run", stdin=CALLS, cwd=tmp_path)
    assert [made["function"]["name"] for made in objects(result.stdout)] == ["get_time", "get_weather"]
    assert not (tmp_path / "ran").exists()
    assert call("run-tools", "--dry-run", "--status", stdin=NONE).returncode == 10


def test_limits_are_options(tmp_path: Path) -> None:
    stream = b'{"message":{"tool_calls":[{"function":{"name":"get_weather","arguments":{}}}]},"done":true}\n'
    assert objects(call("run-tools", "--bytes", "3", stdin=stream).stdout)[1]["content"].startswith(
        "error: the tool wrote more than 3"
    )
    assert objects(call("run-tools", "--time", "100", stdin=stream).stdout)[1]["content"] == "rain"


def test_the_loop_in_sh_and_the_loop_in_one_process_send_the_same(tmp_path: Path) -> None:
    """A stream with two calls, then one with a call, then one with thinking and a call, then the answer."""
    answers = [body_of(f"chat-tools-{name}") for name in ("text", "stream", "think", "followup")]
    sent: list[list[Any]] = []
    for script in (
        """printf '%s\\n' '{"role":"user","content":"weather?"}' > chat
        status=0
        while [ $status = 0 ]; do
            send -m tools --messages chat -t TOOLS | run-tools -t TOOLS --status >> chat
            status=$?
        done
        [ $status = 10 ] && tail -n 1 chat""",
        "send -m tools -t TOOLS --run-tools 'weather?' | extract-content",
        "send -m tools -t TOOLS --run-tools -c kept 'weather?' | render > /dev/null; tail -1 kept",
    ):
        with serve(in_turn(*answers)) as server:
            done = sh(script.replace("TOOLS", str(TOOLS)), cwd=tmp_path, env={"OLLAMA_HOST": server.url})
            assert b"It will rain tomorrow" in done.stdout, done.stderr
            sent.append([json.loads(request.body) for request in server.requests])  # type: ignore[attr-defined]
    by_hand, at_once, kept = sent
    assert by_hand == at_once == kept
    assert [len(body["messages"]) for body in at_once] == [1, 4, 6, 8]
    assert at_once[2]["messages"][1:4:2] == [objects(call("run-tools", stdin=answers[0]).stdout)[0], RAIN]
    held = objects((tmp_path / "kept").read_bytes())
    assert held[:-1] == at_once[-1]["messages"]
    assert held[-1] == {"role": "assistant", "content": "It will rain tomorrow ☂"}


def asks_for(name: str, **arguments: Any) -> bytes:
    made = [{"function": {"name": name, "arguments": arguments}}]
    return json.dumps({"message": {"content": "", "tool_calls": made}, "done": True}).encode() + b"\n"


def counting(server: Any) -> int:
    return len(server.requests)


ENDLESS: list[tuple[Callable[[int], bytes], list[str], int, str]] = [
    # what the model calls in each turn, further options, the requests that are sent, the message
    (lambda turn: asks_for("get_weather"), [], 3, "the model called get_weather 3 times with the same arguments"),
    (lambda turn: asks_for("get_weather", n=turn // 2 % 2), [], 5, "3 times with the same arguments; the tool's res"),
    (lambda turn: asks_for("rm", a=1), [], 3, "'rm' 3 times, but there is no such tool; available: get_time, get_weat"),
    (
        lambda turn: asks_for("get_weather", n=turn),
        [],
        8,
        "no answer after 8 turn(s), only tool calls; raise --max-turns",
    ),
    (lambda turn: asks_for("get_weather", n=turn), ["--max-turns", "2"], 2, "no answer after 2 turn(s)"),
    (lambda turn: asks_for("unknown", n=turn), ["--max-turns", "1"], 1, "no answer after 1 turn(s)"),
]


@pytest.mark.parametrize(("ask", "options", "requests", "message"), ENDLESS)
def test_a_model_that_never_answers_is_stopped_and_its_rounds_are_kept(
    tmp_path: Path, ask: Callable[[int], bytes], options: list[str], requests: int, message: str
) -> None:
    chat = tmp_path / "chat"
    with serve(lambda exchange: send_lines(ask(counting(server)))(exchange)) as server:
        send = ["send", "-m", "m", "--host", server.url, "-t", str(TOOLS), "--run-tools", "-c", str(chat)]
        result = call(*send, *options, "weather?")
        assert counting(server) == requests
    assert result.returncode == 1
    assert message in result.stderr.decode()
    *lines, error = objects(result.stdout)
    assert "error" in error
    rounds = [line for line in lines if "role" in line]
    assert [line["role"] for line in rounds] == ["assistant", "tool"] * (requests - 1)
    kept = objects(chat.read_bytes()) if chat.exists() else []
    assert kept == ([{"role": "user", "content": "weather?"}, *rounds] if rounds else [])


def test_a_failure_in_a_later_turn_is_reported_once_and_tools_are_not_run_again(tmp_path: Path) -> None:
    def respond(exchange: Any) -> None:
        answer = [asks_for("get_weather"), b'{"message":{"content":"a"},"done":false}\n', NONE][counting(server) - 1]
        send_lines(*answer.splitlines(True))(exchange)

    with serve(respond) as server:
        send = f"send -m m -t {TOOLS} --run-tools -c chat"
        env = {"OLLAMA_HOST": server.url}
        result = sh(f"{send} hi | extract-content", env=env, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (3, b"a\n")
        assert result.stderr.count(b"\n") == 1
        assert sh(f"{send} again | extract-content", env=env, cwd=tmp_path).returncode == 0
        sent = json.loads(server.requests[2].body)["messages"]  # type: ignore[attr-defined]
    roles = [message["role"] for message in sent]
    assert roles == ["user", "assistant", "tool", "user"]
    assert objects((tmp_path / "chat").read_bytes())[:4] == sent


OFFERED = [
    # what is offered, its status and the tools that are sent or the words of the message
    ([str(TOOLS)], ["get_time", "get_weather"]),
    (["array"], ["a"]),
    (["object"], "must be a JSON array of tools, or a directory"),
    (["numbers"], "must be a JSON array of tools, or a directory"),
    (["mcp"], ["read"]),
    (["none"], "none: No such file"),
    (["."], "contains no tools"),
    (["array", "-g"], "--tools: only /api/chat takes it; leave out -g"),
    (["array", "--run-tools"], "--run-tools: needs a directory of tools; give it with -t DIR"),
    (["none", "--run-tools"], "none: no such directory of tools"),
]


@pytest.mark.parametrize(("arguments", "expected"), OFFERED)
def test_tools_are_offered(tmp_path: Path, arguments: list[str], expected: list[str] | str) -> None:
    (tmp_path / "array").write_text('[{"type":"function","function":{"name":"a"}}]')
    (tmp_path / "mcp").write_text('[{"name":"read","inputSchema":{"type":"object"}}]')
    (tmp_path / "object").write_text("{}")
    (tmp_path / "numbers").write_text("[1]")
    with serve(send_lines(*NONE.splitlines(True))) as server:
        result = run("send", "-m", "m", "--host", server.url, "-t", *arguments, "hi", cwd=tmp_path)
        bodies = [json.loads(request.body) for request in server.requests]  # type: ignore[attr-defined]
    if isinstance(expected, str):
        assert (result.returncode, bodies) == (2, [])
        assert expected in result.stderr.decode()
    else:
        functions = [tool["function"] for tool in bodies[0]["tools"]]
        assert [function["name"] for function in functions] == expected
        assert "inputSchema" not in functions[0]


def test_offered_tools_are_not_run(tmp_path: Path) -> None:
    with serve(send_lines(*CALLS.splitlines(True))) as server:
        result = call("send", "-m", "m", "--host", server.url, "-t", TOOLS, "hi")
        assert counting(server) == 1
    assert result.stdout == CALLS


def test_a_stamped_run_is_a_recording_of_every_turn(tmp_path: Path) -> None:
    answers = [CALLS, body_of("chat-tools-followup")]
    with serve(in_turn(*answers)) as server:
        send = ["send", "-m", "tools", "-t", str(TOOLS), "--run-tools"]
        recorded = call(*send, "--stamp", "--host", server.url, "weather?").stdout
    (tmp_path / "recording").write_bytes(recorded)
    script = f"send -t {TOOLS} --run-tools 'weather?' | extract-content"
    replayed = run("replay", tmp_path / "recording", "--", "sh", "-c", script)
    assert replayed.stdout.decode() == "Let me check that.\nIt will rain tomorrow ☂\n"
    assert call("extract-content", stdin=recorded).stdout == replayed.stdout


def approve(typed: list[bytes], calls: bytes = CALLS, *, terminal: bool = True) -> tuple[int, bytes, str]:
    """Run run-tools --approve with a controlling terminal, and type each of `typed` after a question is shown.

    "too early" is typed before the first question. Returns the status, stdout, and what the terminal shows.
    """
    script = (
        "import os, sys\n"
        "os.setsid()\n"
        "if sys.argv[1] != 'none':\n"
        "    import fcntl, termios; fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)\n"
        "from ostream.__main__ import main\n"
        f"sys.exit(main(['run-tools', '-t', {str(TOOLS)!r}, '--approve']))"
    )
    screen, slave = os.openpty()
    argv = [sys.executable, "-c", script, str(slave) if terminal else "none"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    shown = b""
    with Process(argv, env=environment(), pass_fds=[slave], **pipes) as process:
        os.write(screen, b"y\ny\n")  # before the question: must not answer it
        with contextlib.suppress(BrokenPipeError), process.stdin:  # without a terminal, it may have ended
            process.stdin.write(calls)
        process.stdin = None
        for questions, keys in enumerate(typed, 1):
            while shown.count(b"run it? [y/N]") < questions:
                assert select.select([screen], [], [], 30)[0], shown
                shown += os.read(screen, 1 << 16)
            os.write(screen, keys)
        stdout, stderr = process.communicate(timeout=60)
    os.close(slave)
    os.close(screen)
    return process.returncode, stdout, shown.decode() if terminal else stderr.decode()


DECLINED = "error: the user declined this call"
APPROVALS = [
    # what is typed, the results of the two calls
    ([b"y\n", b"yes\n"], ["exit 3: no clock here", "rain"]),
    ([b"n\n", b"Y\n"], [DECLINED, "rain"]),
    ([b"\n", b"what?\n"], [DECLINED, DECLINED]),
    ([b"y\ny\n", b"\x04"], ["exit 3: no clock here", DECLINED]),
]


@pytest.mark.parametrize(("typed", "results"), APPROVALS)
def test_each_call_needs_an_answer_typed_after_its_question(typed: list[bytes], results: list[str]) -> None:
    status, stdout, shown = approve(typed)
    assert status == 0
    assert [message["content"] for message in objects(stdout)[1:]] == results
    assert 'get_time {"tz": "UTC"}' in shown and "run it? [y/N]" in shown


def test_hidden_characters_in_a_call_are_shown() -> None:
    arguments = json.dumps({"a": "\u202eab\U000e0041\u200b\u2028\x1b[2J é"})
    calls = '{"message":{"tool_calls":[{"function":{"name":"a {}\\nrun it? [y/N] y\\nb","arguments":%s}}]},"done":true}'
    shown = approve([b"y\n"], (calls % arguments).encode())[2]
    assert r'a {}\nrun it? [y/N] y\nb {"a": "\u202eab\udb40\udc41\u200b\u2028\u001b[2J é"}' in shown


def test_approval_without_a_terminal_is_refused() -> None:
    status, stdout, shown = approve([], terminal=False)
    assert (status, stdout) == (2, b"")
    assert "--approve: no terminal to ask on: " in shown


def test_a_terminal_that_was_closed_before_a_question_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, slave = os.openpty()
    os.close(screen)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda name, flags: slave)
        ask = _asker()
    with pytest.raises(InputError, match=r"\A--approve: /dev/tty: Input/output error\Z"):
        ask({"function": {"name": "rain", "arguments": {}}})
    os.close(slave)
