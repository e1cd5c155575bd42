"""Completion in real shells: command lines are typed on a terminal, completed with <TAB>, and run."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from ostream.__main__ import COMMANDS
from ostream.installer.completion import SHELLS
from ostream.recording.http_server import RequestHandler
from tests.process import BIN, ROOT, call, environment, sh
from tests.server import serve

MODELS = b'{"models":[{"name":"qwen3:0.6b"},{"name":"qwen3:8b"},{"name":"llama3.2:latest"},{"name":"me/own:x-1"}]}'

# Options for a start without the user's configuration, and the command that enables completion.
START = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(ostream --completion bash)"'),
    "zsh": (["-f", "-i"], 'eval "$(ostream --completion zsh)"'),
    "fish": (["--no-config", "-i"], "ostream --completion fish | source"),
}


class Typed:
    """A shell on a terminal of its own."""

    def __init__(self, shell: str, home: Path, path: str, before: str = "", **changes: str) -> None:
        program = shutil.which(shell)
        if not program:
            pytest.skip(f"no {shell} here")
        options, begin = START[shell]
        env = environment(HOME=str(home), TERM="dumb", PS1="> ", LC_ALL="C.UTF-8", INPUTRC="/dev/null", **changes)
        env["PATH"] = f"{path}:{env['PATH']}"
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.chdir(home)
            os.execve(program, [shell, *options], env)
        self.shown = b""
        self.started = self.run(f"{before}{begin}")

    def run(self, line: str) -> str:
        """Type a line, and return what is shown until it has been run."""
        self.shown = b""
        os.write(self.fd, f"{line}; echo do''ne\n".encode())
        while b"done" not in self.shown:
            assert select.select([self.fd], [], [], 60)[0], self.shown
            self.shown += os.read(self.fd, 1 << 16)
        return self.shown.decode()

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@contextlib.contextmanager
def typed(shell: str, home: Path, path: str = str(BIN), before: str = "", **changes: str) -> Iterator[Typed]:
    terminal = Typed(shell, home, path, before, **changes)
    try:
        yield terminal
    finally:
        terminal.close()


@pytest.fixture(name="host")
def _host() -> Iterator[str]:
    def respond(exchange: RequestHandler) -> None:
        exchange.send_body(200, "application/json", MODELS)

    with serve(respond) as server:
        yield server.url


@pytest.fixture(name="patient", scope="module")
def _patient(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with commands that wait longer for the models: a busy machine may need more than a second."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "ostream").write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from ostream.installer import completion\ncompletion.MODELS_TIMEOUT_S = 60.0\n"
        "from ostream.__main__ import run\nrun()\n"
    )
    (folder / "ostream").chmod(0o755)
    for name in COMMANDS:
        (folder / name).symlink_to("ostream")
    return str(folder)


every_shell = pytest.mark.parametrize("shell", SHELLS)

# What is typed, with <TAB>, and what is shown when it has been run.
LINES = {
    "a command": ("ostream extract-c<TAB> --version", "extract-content (ostream) "),
    "an option": ("ostream collect --vers<TAB>", "collect (ostream) "),
    "a model": ("ostream send --dry-run -m ll<TAB> hi", '"model":"llama3.2:latest"'),
    "a model with a colon": ("ostream send --dry-run -m qwen3:0<TAB> hi", '"model":"qwen3:0.6b"'),
    "a model with a slash": ("ostream send --dry-run -m me/<TAB> hi", '"model":"me/own:x-1"'),
    "a model after =": ("ostream send --dry-run --model=qwen3:0<TAB> hi", '"model":"qwen3:0.6b"'),
    "a value": ("ostream send --dry-run -m m --think=me<TAB> hi", '"think":"medium"'),
    "a bare name": ("send --dry-run -m qwen3:0<TAB> hi", '"model":"qwen3:0.6b"'),
    "a file": ("ostream extract-content answ<TAB>", "text of the answer"),
    "a file with blanks": ("ostream extract-content with<TAB>", "blanks in its name"),
    "a file of an option": ("ostream send --dry-run -m m --messages mess<TAB>", '"content":"a message"'),
    "a file after =": ("ostream send --dry-run -m m --messages=mess<TAB>", '"content":"a message"'),
    "a file after @": ("ostream send --dry-run -m m -s @sys<TAB> hi", '"content":"a system"'),
    "the command of a wrapper": ("ostream replay answer -- ec<TAB> 'or' else", "or else"),
    "a command of ostream in a wrapper": (
        "ostream replay answer -- send -m m --dry-run --no-sh<TAB> hi",
        '"shift":false',
    ),
    "a file after <": ("ostream extract-content < answ<TAB>", "text of the answer"),
    "a command after a pipe": ("cat answer | ostream extract-c<TAB>", "text of the answer"),
    "a file in the same word": ("ostream collect -wmess<TAB> answer && cat messages", "text of the answer"),
}


@every_shell
def test_completed_lines_run(shell: str, host: str, patient: str, full: bool, tmp_path: Path) -> None:
    chunk = '{"message":{"content":"%s"},"done":true}\n'
    (tmp_path / "answer").write_text(chunk % "text of the answer")
    (tmp_path / "with blanks").write_text(chunk % "blanks in its name")
    (tmp_path / "messages").write_text('{"role":"user","content":"a message"}\n')
    (tmp_path / "system").write_text("a system")
    with typed(shell, tmp_path, patient, OLLAMA_HOST=host) as terminal:
        for name in [*LINES][:: 1 if full else 5]:
            line, expected = LINES[name]
            assert expected in terminal.run(line.replace("<TAB>", "\t")), name


COMPINIT = "autoload -U compinit; compinit -D -u; "


@pytest.mark.parametrize(("before", "after"), [(COMPINIT, ""), ("", COMPINIT)])
def test_zsh_may_load_compinit_before_or_after(before: str, after: str, tmp_path: Path) -> None:
    with typed("zsh", tmp_path, before=before) as terminal:
        assert "compdef" not in terminal.started.replace(START["zsh"][1], "")
        terminal.run(f"{after}true")
        assert "collect (ostream) " in terminal.run("ostream collect --vers\t")
        assert "send (ostream) " in terminal.run("send --vers\t")


@every_shell
def test_another_program_of_the_same_name_is_neither_completed_nor_run(shell: str, host: str, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ostream").symlink_to(BIN / "ostream")
    (folder / "batch").write_text('#!/bin/sh\necho RUN >> $HOME/run; echo batch got "$@"\n')
    (folder / "batch").chmod(0o755)
    with typed(shell, tmp_path, str(folder), OLLAMA_HOST=host) as terminal:
        assert "batch got --keep-o" in terminal.run("batch --keep-o\t")
    assert (tmp_path / "run").read_text() == "RUN\n"


@every_shell
def test_the_syntax_is_valid_and_the_commands_are_filled_in(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    result = sh(f"ostream --completion {shell} | {shell} -n")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    text = call("ostream", "--completion", shell).stdout.decode()
    assert f"name in {' '.join(COMMANDS)}" in text and "COMMANDS" not in text


def test_bash_needs_no_bash_completion_and_accepts_set_u(tmp_path: Path) -> None:
    if not shutil.which("bash"):
        pytest.skip("no bash here")
    script = (
        'set -u; eval "$(ostream --completion bash)"; COMP_LINE="ostream stats --js" COMP_POINT=18 COMP_CWORD=2;'
        'COMP_WORDS=(ostream stats --js); _ostream ostream --js stats; echo "${COMPREPLY[@]}"'
    )
    result = subprocess.run(["bash", "-c", script], env=environment(), cwd=tmp_path, capture_output=True, check=True)
    assert result.stdout == b"--json\n"
