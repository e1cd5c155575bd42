"""What batch writes: dry runs, formats, streams, standard output, and on a terminal progress and messages."""

from __future__ import annotations

import json
import os
import pty
import re
import termios
from pathlib import Path

import pytest

from ostream.batch.inputs import InputFormat
from ostream.batch.row_count import count_rows
from ostream.recording.http_server import RequestHandler
from tests.commands.test_batch import asked, lines_of, reply
from tests.commands.test_batch_run import Gate
from tests.process import Terminal, call, sh, start
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


def test_terminal_shows_progress(tmp_path: Path) -> None:
    (tmp_path / "requests").write_bytes(asked("one", "two", "fail"))
    gate = Gate()
    with serve(gate) as server:
        arguments = ["-km", "m", "--host", server.url, str(tmp_path / "requests")]
        with open(tmp_path / "answers", "wb") as answers:
            terminal = Terminal("batch", *arguments, on="stderr", columns=60, stdout=answers)
        terminal.show(b"\r0/3, 3 running")
        gate.go.set()
        shown = terminal.communicate()[0]
    assert len(lines_of((tmp_path / "answers").read_bytes())) == 3
    # The line is erased before a message, and carriage returns are the only control characters.
    assert "\rbatch: id 2: no such thing (status code: 404)" in shown
    assert (
        shown.rpartition("\n")[0].rpartition("\n")[2].lstrip("\r ").startswith("batch: complete: 2; failures: 1 (1x no")
    )
    assert "\x1b" not in shown


def test_terminal_shared_with_the_next_stage_is_not_rewritten() -> None:
    with serve(reply) as server:
        shown, stdout, _ = Terminal("batch", "-m", "m", "--host", server.url, on="stderr").communicate(asked("one"))
    assert len(lines_of(stdout.encode())) == 1
    assert re.fullmatch(r"batch: complete: 1; failures: none; .*\n", shown)


def test_answer_on_the_terminal_has_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "requests").write_bytes(asked("one", "two"))
    gate = Gate()
    with serve(gate) as server:
        arguments = ["-km", "m", "--host", server.url, str(tmp_path / "requests")]
        terminal = Terminal("batch", *arguments, on="stdout stderr")
        begin = terminal.show(b"0/2, 2 running").decode()
        gate.go.set()
        shown = begin + terminal.communicate()[0]
    assert [json.loads(line.rpartition("\r")[2])["id"] for line in shown.split("\n")[:2]] == [0, 1]


@pytest.mark.parametrize(("options", "env"), [([], {"TERM": "dumb"}), ([], {"NO_COLOR": "1"}), (["-q"], {})])
def test_progress_is_off_with_dumb_terminals_and_quiet(options: list[str], env: dict[str, str]) -> None:
    with serve(reply) as server:
        terminal = Terminal("batch", "-m", "m", *options, "--host", server.url, on="stderr", env=env)
        assert terminal.communicate(asked("hi"))[0] == ""


def test_requests_can_be_typed() -> None:
    with serve(reply) as server:
        terminal = Terminal("batch", "-m", "m", "--host", server.url, on="stdin")
        attributes = termios.tcgetattr(terminal.slave)
        attributes[3] |= termios.ICANON  # so that Ctrl-D is the end
        termios.tcsetattr(terminal.slave, termios.TCSANOW, attributes)
        os.write(terminal.screen, asked("hi") + b"\4")
        with terminal.process:
            assert json.loads(terminal.process.stdout.read())["message"]["content"] == "hi"
            hint = b"batch: reading requests from the terminal; end them with Ctrl-D\n"
            assert terminal.process.stderr.read() == hint
            assert terminal.process.wait(30) == 0
    for fd in (terminal.screen, terminal.slave):
        os.close(fd)


def test_total_is_known_for_regular_files(tmp_path: Path) -> None:
    for data, lines in ((b"1\n2\n", 2), (b"1\n2", 2), (b"", 0), (b"\n", 1)):
        (tmp_path / "a").write_bytes(data)
        assert count_rows([str(tmp_path / "a")] * 2, InputFormat()) == 2 * lines
    assert count_rows([str(tmp_path / "none")], InputFormat()) is None
    os.mkfifo(tmp_path / "fifo")
    assert count_rows([str(tmp_path / "fifo")], InputFormat()) is None  # it would wait for a writer, and then leave him
    screen, terminal = pty.openpty()
    assert count_rows([os.ttyname(terminal)], InputFormat()) is None
    os.close(screen)
    os.close(terminal)


def test_requests_before_the_position_of_standard_input_are_not_sent(tmp_path: Path) -> None:
    with serve(reply) as server, open(tmp_path / "b", "wb+") as stdin:
        stdin.write(asked("one", "two"))
        stdin.seek(len(asked("one")))
        process = start("batch", "-m", "m", "--progress", "--host", server.url, stdin=stdin)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert len(lines_of(stdout)) == 1
