"""run-tools, and send --run-tools: on recordings of tool calls, real tools and a real terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.process import TOOLS, call, environment, run, sh
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
    left = list(answers)
    return lambda exchange: send_lines(*left.pop(0).splitlines(True))(exchange)


def test_two_calls_are_run_in_their_order_and_the_answer_comes_first() -> None:
    result = call("run-tools", stdin=CALLS)
    assert result.returncode == 0
    answer, *tools = objects(result.stdout)
    assert (answer["role"], answer["content"]) == ("assistant", "Let me check that.\n")
    assert [made["id"] for made in answer["tool_calls"]] == ["call_0htp69wl", "call_iltlm83q"]
    assert tools == [TIME, RAIN]
    assert result.stderr == b"run-tools: get_time: no clock here\n"


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
def test_only_whole_answers_count_and_a_loop_can_end(stream: bytes, status: int, roles: list[str]) -> None:
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


USAGE = [
    (["run-tools"], "no tools given; name their directory with -t DIR"),
    (["run-tools", "-t", "/none"], "/none: No such file or directory; -t needs a directory of tools"),
    (["run-tools", "-t", str(TOOLS), "--time", "0"], "--time: must be a positive number of seconds, not '0'"),
    (["run-tools", "-t", str(TOOLS), "--bytes", "x"], "--bytes: must be a whole number, 0 or more, not 'x'"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_usage(arguments: list[str], message: str) -> None:
    result = call("ostream", *arguments)
    assert result.returncode == 2
    assert message in result.stderr.decode()


def test_limits_can_be_set(tmp_path: Path) -> None:
    stream = b'{"message":{"tool_calls":[{"function":{"name":"get_weather","arguments":{}}}]},"done":true}\n'
    assert objects(call("run-tools", "--bytes", "3", stdin=stream).stdout)[1]["content"].startswith(
        "error: more than 3"
    )
    assert objects(call("run-tools", "--time", "100", stdin=stream).stdout)[1]["content"] == "rain"


def test_the_loop_by_hand_and_the_loop_in_one_process_ask_the_same(tmp_path: Path) -> None:
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


FOLLOWED = ["chat-tools-stream", "chat-tools-text", "chat-tools-think"]


@pytest.mark.parametrize("name", FOLLOWED)
def test_each_recorded_call_is_answered_and_followed(name: str) -> None:
    answers = [body_of(name), body_of("chat-tools-followup")]
    with serve(in_turn(*answers)) as server:
        result = call("send", "-m", "m", "--host", server.url, "-t", TOOLS, "--run-tools", "weather?")
        second = json.loads(server.requests[1].body)  # type: ignore[attr-defined]
    messages = call("run-tools", stdin=answers[0]).stdout
    assert result.returncode == 0
    assert result.stdout == answers[0] + messages + answers[1]
    assert second["messages"] == [{"role": "user", "content": "weather?"}, *objects(messages)]


def asks_for(name: str, **arguments: Any) -> bytes:
    made = [{"function": {"name": name, "arguments": arguments}}]
    return json.dumps({"message": {"content": "", "tool_calls": made}, "done": True}).encode() + b"\n"


def counting(server: Any) -> int:
    return len(server.requests)


ENDLESS: list[tuple[Callable[[int], bytes], list[str], int, str]] = [
    # what the model asks in each turn, further options, the requests it takes, the message
    (lambda turn: asks_for("get_weather"), [], 3, "the model calls get_weather for the third time with the same"),
    (lambda turn: asks_for("get_weather", n=turn // 2 % 2), [], 5, "for the third time with the same arguments"),
    (
        lambda turn: asks_for("get_weather", n=turn),
        [],
        8,
        "no answer after 8 turns, only tool calls; raise --max-turns",
    ),
    (lambda turn: asks_for("get_weather", n=turn), ["--max-turns", "2"], 2, "no answer after 2 turns"),
    (lambda turn: asks_for("unknown", n=turn), ["--max-turns", "1"], 1, "no answer after 1 turns"),
    (lambda turn: b"", ["--max-turns", "0"], 0, "no answer after 0 turns"),
]


@pytest.mark.parametrize(("ask", "options", "requests", "message"), ENDLESS)
def test_a_model_that_never_answers_is_stopped(
    tmp_path: Path, ask: Callable[[int], bytes], options: list[str], requests: int, message: str
) -> None:
    with serve(lambda exchange: send_lines(ask(counting(server)))(exchange)) as server:
        send = ["send", "-m", "m", "--host", server.url, "-t", str(TOOLS), "--run-tools", "-c", str(tmp_path / "chat")]
        result = call(*send, *options, "weather?")
        assert counting(server) == requests
    assert result.returncode == 1
    assert message in result.stderr.decode()
    lines = objects(result.stdout)
    assert "error" in lines[-1]
    assert sum(line.get("role") == "tool" for line in lines) == max(requests - 1, 0)
    assert not (tmp_path / "chat").exists()


def test_a_failure_in_a_later_turn_is_the_failure() -> None:
    def respond(exchange: Any) -> None:
        send_lines(asks_for("get_weather") if counting(server) == 1 else b'{"message":{"content":"a"},"done":false}\n')(
            exchange
        )

    with serve(respond) as server:
        send = f"send -m m -t {TOOLS} --run-tools hi"
        result = sh(f"{send} | extract-content", env={"OLLAMA_HOST": server.url})
    assert (result.returncode, result.stdout) == (3, b"a\n")
    assert result.stderr.count(b"\n") == 1


OFFERED = [
    # what is offered, its status and the tools that are sent or the words of the message
    ([str(TOOLS)], ["get_time", "get_weather"]),
    (["array"], ["a"]),
    (["object"], "must be a JSON array of tools, or a folder"),
    (["numbers"], "must be a JSON array of tools, or a folder"),
    (["none"], "none: No such file"),
    (["."], "no tools there"),
    (["array", "-g"], "--tools: is for /api/chat; leave out -g"),
    (["array", "--run-tools"], "--run-tools: needs a folder of tools; name it with -t"),
    (["none", "--run-tools"], "none: no such folder of tools"),
]


@pytest.mark.parametrize(("arguments", "expected"), OFFERED)
def test_tools_are_offered(tmp_path: Path, arguments: list[str], expected: list[str] | str) -> None:
    (tmp_path / "array").write_text('[{"type":"function","function":{"name":"a"}}]')
    (tmp_path / "object").write_text("{}")
    (tmp_path / "numbers").write_text("[1]")
    with serve(send_lines(*NONE.splitlines(True))) as server:
        result = run("send", "-m", "m", "--host", server.url, "-t", *arguments, "hi", cwd=tmp_path)
        bodies = [json.loads(request.body) for request in server.requests]  # type: ignore[attr-defined]
    if isinstance(expected, str):
        assert (result.returncode, bodies) == (2, [])
        assert expected in result.stderr.decode()
    else:
        assert [tool["function"]["name"] for tool in bodies[0]["tools"]] == expected


def test_offered_tools_are_not_run(tmp_path: Path) -> None:
    with serve(send_lines(*CALLS.splitlines(True))) as server:
        result = call("send", "-m", "m", "--host", server.url, "-t", TOOLS, "hi")
        assert counting(server) == 1
    assert result.stdout == CALLS


def test_a_stamped_run_is_a_recording_of_every_turn(tmp_path: Path) -> None:
    answers = [body_of("chat-tools-stream"), body_of("chat-tools-followup")]
    with serve(in_turn(*answers)) as server:
        send = ["send", "-m", "tools", "-t", str(TOOLS), "--run-tools"]
        recorded = call(*send, "--stamp", "--host", server.url, "weather?").stdout
    (tmp_path / "recording").write_bytes(recorded)
    script = f"send -t {TOOLS} --run-tools 'weather?' | extract-content"
    replayed = run("replay", tmp_path / "recording", "--", "sh", "-c", script)
    assert replayed.stdout.decode() == "It will rain tomorrow ☂\n"
    assert call("extract-content", stdin=recorded).stdout == replayed.stdout


def test_render_shows_an_answer_once(tmp_path: Path) -> None:
    answers = [body_of("chat-tools-text"), body_of("chat-tools-followup")]
    with serve(in_turn(*answers)) as server:
        stream = call("send", "-m", "m", "-t", TOOLS, "--run-tools", "--host", server.url, "weather?").stdout
    shown = call("render", stdin=stream).stdout.decode()
    assert shown.count("Let me check that.") == 1
    assert shown.count("get_time {") == 1
    assert shown.index("Let me") < shown.index("tool get_time: exit 3") < shown.index("It will rain")


def approve(typed: bytes, calls: bytes = CALLS, *, terminal: bool = True) -> tuple[int, bytes, str]:
    """run-tools --approve with a terminal of its own to ask on; status, stdout, what the terminal shows."""
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
    with subprocess.Popen(argv, env=environment(), pass_fds=[slave], **pipes) as process:  # type: ignore[call-overload]
        os.write(screen, typed)
        stdout, stderr = process.communicate(calls, timeout=60)
    os.close(slave)
    shown = os.read(screen, 1 << 16).decode() if terminal else stderr.decode()
    os.close(screen)
    return process.returncode, stdout, shown


APPROVALS = [
    # what is typed, the answers to the two calls
    (b"y\nyes\n", ["exit 3: no clock here", "rain"]),
    (b"n\nY\n", ["error: the user declined this call", "rain"]),
    (b"\nwhat?\n", ["error: the user declined this call", "error: the user declined this call"]),
    (b"y\n\x04", ["exit 3: no clock here", "error: the user declined this call"]),
]


@pytest.mark.parametrize(("typed", "answers"), APPROVALS)
def test_a_person_is_asked_before_each_call(typed: bytes, answers: list[str]) -> None:
    status, stdout, shown = approve(typed)
    assert status == 0
    assert [message["content"] for message in objects(stdout)[1:]] == answers
    assert 'get_time {"tz": "UTC"}' in shown and "run it? [y/N]" in shown


def test_the_question_is_one_whatever_the_name_is() -> None:
    calls = (
        b'{"message":{"tool_calls":[{"function":{"name":"a {}\\nrun it? [y/N] y\\nb","arguments":{}}}]},"done":true}'
    )
    shown = approve(b"y\n", calls)[2]
    assert "a {}\\nrun it? [y/N] y\\nb {}\r\nrun it? [y/N]" in shown


def test_without_a_terminal_nobody_can_be_asked() -> None:
    status, stdout, shown = approve(b"", terminal=False)
    assert (status, stdout) == (2, b"")
    assert "--approve: no terminal to ask on: " in shown
