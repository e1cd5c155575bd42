"""Behaviour shared by all commands: one test each, over the list of commands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ostream.__main__ import COMMANDS, close_stdout
from ostream.version import __version__
from tests.process import BIN, FILTERS, ROOT, SOURCES, WRAPPERS, call, environment, quoted, run, sh, start, words
from tests.server import body_of, send_raw, serve
from tests.tiers import sample, some_commands

STREAM = body_of("chat-stream")
every_command = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording.ndjson"
    path.write_bytes(STREAM)
    return path


def arguments_of(command: str, recording: Path) -> list[str]:
    """Arguments that make a command write something."""
    of = {
        "send": ["-m", "m", "hi"],
        "batch": ["-qkm", "m", "--lines", str(recording)],
        "replay": ["-q", str(recording)],
        "record": ["-q", "-a", str(recording)],
    }
    return of.get(command, words(command)[1:])


def test_launchers_modules_and_dispatch_table_agree() -> None:
    modules = {path.stem.replace("_", "-") for path in (ROOT / "ostream" / "commands").glob("*.py")}
    assert modules == {"--init--", *COMMANDS}
    assert {path.name for path in BIN.iterdir()} == {"ostream", *COMMANDS}


@every_command
def test_help_gives_kind_memory_and_two_examples(command: str) -> None:
    result = call(command, "--help")
    assert (result.returncode, result.stderr) == (0, b"")
    text = result.stdout.decode()
    assert text.startswith(f"usage: {command} ")
    kind = COMMANDS[command][0]
    assert f"A {kind}: " in text or f"A {kind} (" in text
    assert "Memory:" in text
    if kind != "wrapper":
        assert ("streaming" in text) != ("buffering" in text)
    *_, first, second, after = text.split("\n")
    assert first.startswith("  ") and second.startswith("  ") and not after
    assert text.split("\n")[-4] == "examples:"
    assert max(map(len, text.split("\n"))) <= 80
    assert call(command, "-h").stdout == result.stdout


@every_command
def test_version(command: str) -> None:
    result = call(command, "--version")
    assert (result.returncode, result.stdout.decode()) == (0, f"{command} (ostream) {__version__}\n")


@every_command
def test_an_unknown_option_is_an_error(command: str) -> None:
    for arguments, named in ((["--quie"], "--quie"), (["word", "-qZ"], "-Z")):
        result = call(command, *arguments)
        assert result.returncode == 2
        assert result.stderr.startswith(f"{command}: {named}: ".encode())
        assert f"see '{command} --help'".encode() in result.stderr
        assert result.stderr.count(b"\n") == 1
        assert result.stdout.count(b"\n") == (1 if COMMANDS[command][0] == "source" else 0)


WAYS = {
    "ostream COMMAND": 'ostream "$COMMAND" --help',
    "bin/COMMAND": '"$BIN/$COMMAND" --help',
    "COMMAND": '"$COMMAND" --help',
    "python3 -m ostream COMMAND": 'python3 -m ostream "$COMMAND" --help',
    "a link to bin/COMMAND": 'mkdir "a b" && ln -s "$BIN/$COMMAND" "a b/$COMMAND" && "a b/$COMMAND" --help',
    "a link to bin/ostream": 'ln -s "$BIN/ostream" "$COMMAND" && ./"$COMMAND" --help',
    "from inside bin": 'cd "$BIN" && ./"$COMMAND" --help',
    "sh bin/COMMAND": 'sh "$BIN/$COMMAND" --help',
}


@pytest.mark.parametrize("command", sample(COMMANDS, ["extract-content"]))
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_call_a_command(command: str, way: str, tmp_path: Path) -> None:
    result = sh(WAYS[way], env={"COMMAND": command, "BIN": str(BIN)}, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    program = way.replace("COMMAND", command) if way.endswith("ostream COMMAND") else command
    assert result.stdout.decode().startswith(f"usage: {program} ")
    assert result.stdout.count(b"\n") == call(command, "--help").stdout.count(b"\n")


@some_commands
def test_the_launcher_imports_nothing_from_the_working_directory(command: str, tmp_path: Path) -> None:
    for module in ("json", "os", "signal", "argparse", "ostream"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('hostile')")
    env = environment(PYTHONPATH=str(tmp_path))
    result = subprocess.run(
        [BIN / command, "--bogus"], cwd=tmp_path, env=env, capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    assert (result.returncode, b"--bogus" in result.stderr) == (2, True)


# With python -m: coverage cannot trace a launcher.
PYTHON = "python3 -m ostream"


@some_commands
def test_a_closed_stdout_is_an_error_before_a_request_is_sent(command: str, recording: Path) -> None:
    with serve(send_raw(b"")) as server:
        command_line = " ".join([PYTHON, command, *arguments_of(command, recording)])
        result = sh(f"{command_line} >&-; echo $? >&2", env={"OLLAMA_HOST": server.url}, stdin=STREAM)
        assert server.requests == []  # type: ignore[attr-defined]
    assert result.stderr.decode() == f"{command}: standard output: closed\n1\n"


def test_closing_stdout_may_fail() -> None:
    saved = os.dup(1)
    try:
        close_stdout()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(1)
        close_stdout()
    finally:
        os.dup2(saved, 1)
        os.close(saved)


@some_commands
def test_all_descriptors_may_be_closed(command: str, recording: Path) -> None:
    """A socket must not take the number of a closed standard descriptor."""
    command_line = " ".join([PYTHON, command, *arguments_of(command, recording)])
    result = sh(f"{command_line} <&- >&- 2>&-", env={"OLLAMA_HOST": "127.0.0.1:1"})
    assert (result.returncode, result.stdout, result.stderr) == (1, b"", b"")


@pytest.mark.parametrize("command", sample([*FILTERS, *SOURCES], ["stats", "send"]))
def test_a_closed_stdin_is_an_input_error(command: str) -> None:
    result = sh(f"{PYTHON} {quoted(command)} {'-m m' if command in SOURCES else ''} <&-")
    assert result.returncode == 2
    assert result.stderr.decode() == f"{command}: standard input: Bad file descriptor\n"


@some_commands
def test_a_closed_stderr_only_suppresses_messages(command: str, recording: Path) -> None:
    with serve(send_raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n" + STREAM)) as server:
        command_line = " ".join([PYTHON, command, *arguments_of(command, recording)])
        if command in WRAPPERS:
            command_line += " -- send -m m hi"
        env = {"OLLAMA_HOST": server.url}
        closed = sh(f"{command_line} 2>&-", stdin=STREAM, env=env)
    assert (closed.returncode, closed.stderr) == (0, b"")
    assert (closed.stdout == b"") == (command == "extract-thinking")


@pytest.mark.linux  # /dev/full
@some_commands
@pytest.mark.parametrize("helped", [False, True])
def test_a_full_disk_is_an_error(command: str, helped: bool, recording: Path) -> None:
    stream = body_of("chat-think-true")
    arguments = ["--help"] if helped else arguments_of(command, recording)
    with serve(send_raw(b"HTTP/1.1 200 OK\r\n\r\n" + stream)) as server, open("/dev/full", "wb") as full:
        process = start(command, *arguments, stdout=full, env={"OLLAMA_HOST": server.url})
        _, stderr = process.communicate(b"" if command == "send" else stream, timeout=60)
    assert (process.returncode, stderr.decode()) == (1, f"{command}: standard output: No space left on device\n")


@pytest.mark.linux
def test_a_failure_on_a_full_disk_reports_both() -> None:
    with open("/dev/full", "wb") as full:
        process = start("send", "--bogus", stdout=full)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert [line.split(b":")[1] for line in stderr.splitlines()] == [b" --bogus", b" standard output"]


@every_command
def test_quiet_and_verbose_are_options_of_every_command(command: str, recording: Path) -> None:
    arguments = (
        ["no-such-directory/file.ndjson"] if command != "send" else ["-m", "m", "--host", "http://127.0.0.1:1", "hi"]
    )
    loud, quiet, verbose = (call(command, *options, *arguments) for options in ([], ["-q"], ["-v"]))
    assert loud.returncode == quiet.returncode == verbose.returncode != 0
    assert loud.stderr == quiet.stderr != b""
    assert loud.stderr in verbose.stderr


def test_main_takes_the_command_from_the_process() -> None:
    assert run("stats", stdin=STREAM).stdout == call("stats", stdin=STREAM).stdout
