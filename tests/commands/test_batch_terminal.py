"""batch on a terminal: progress, messages between answers, typed requests."""

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
from tests.commands.test_batch import asked, lines_of, reply
from tests.commands.test_batch_run import Gate
from tests.process import Terminal, start
from tests.server import serve


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
