"""A directory of tools: what it offers, which files it refuses, and what a call is answered."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable

import pytest

from ostream.errors import RequestError
from ostream.tools.directory import ToolDirectory
from ostream.tools.names import unknown_tool
from tests.process import TOOLS

PARAMETERS = {"type": "object", "properties": {}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with one tool, `echo`, that prints its arguments."""
    made = tmp_path / "tools"
    made.mkdir(mode=0o755)
    add(made, "echo", "#!/bin/sh\ncat\n")
    return made


def add(folder: Path, name: str, script: str = "#!/bin/sh\necho ran\n") -> None:
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)
    (folder / f"{name}.json").write_text(json.dumps({"description": "d", "parameters": PARAMETERS}))
    (folder / f"{name}.json").chmod(0o644)


class Tools(ToolDirectory):
    """A tool directory that collects its notes."""

    def __init__(self, folder: Path, time_s: float = 30) -> None:
        self.notes: list[str] = []
        super().__init__(str(folder), self.notes.append, time_s)

    def result(self, name: Any, arguments: Any) -> str:
        content: str = self.answer({"function": {"name": name, "arguments": arguments}})["content"]
        return content


def test_declarations_are_offered_in_the_form_that_the_server_reads() -> None:
    time, weather = Tools(TOOLS).schemas
    assert time == json.loads((TOOLS / "get_time.json").read_text())
    bare = json.loads((TOOLS / "get_weather.json").read_text())
    assert weather == {"type": "function", "function": {"name": "get_weather", **bare}}


def test_the_input_schema_of_an_mcp_declaration_becomes_the_parameters(folder: Path) -> None:
    declared = {"name": "echo", "description": "d", "inputSchema": PARAMETERS, "outputSchema": {}}
    function = {"name": "echo", "description": "d", "parameters": PARAMETERS}
    for written in (declared, {"type": "function", "function": declared}):
        (folder / "echo.json").write_text(json.dumps(written))
        assert Tools(folder).schemas == [{"type": "function", "function": function}]


def test_a_hidden_file_is_not_a_declaration(folder: Path) -> None:
    for name in (".json", "._echo.json"):
        (folder / name).write_bytes(b"\0")
    assert Tools(folder).names == ["echo"]


def outside(folder: Path) -> Path:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    add(elsewhere, "echo")
    return elsewhere / "echo"


def become(file: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Put something else in the place of a file."""

    def change(folder: Path) -> None:
        (folder / file).unlink()
        make(folder / file)

    return change


REFUSED: list[tuple[str, Callable[[Path], object], str]] = [
    # what is done to the directory, and a part of the message
    ("link out", become("echo", lambda path: path.symlink_to(outside(path.parent))), "echo is a symlink out of the"),
    ("loop of links", become("echo", lambda path: path.symlink_to(path)), "echo: "),
    ("no executable", become("echo", lambda path: None), "echo.json: declares a tool that does not exist; name "),
    ("FIFO", become("echo", os.mkfifo), "echo: not a regular file"),
    ("not executable", lambda folder: (folder / "echo").chmod(0o644), "echo: not executable; run chmod +x "),
    ("writable tool", lambda folder: (folder / "echo").chmod(0o757), "echo is writable by every user; run chmod o-w "),
    ("writable file", lambda folder: (folder / "echo.json").chmod(0o646), "echo.json is writable by every user"),
    ("writable directory", lambda folder: folder.chmod(0o777), "tools is writable by every user; run chmod o-w"),
    ("declaration is a directory", become("echo.json", Path.mkdir), "echo.json: not a regular file"),
]
UNDECLARED: list[tuple[str, Callable[[Path], object], str]] = [
    ("no JSON", lambda folder: (folder / "echo.json").write_text("{"), "echo.json: not JSON"),
    (
        "no object",
        lambda folder: (folder / "echo.json").write_text("[]"),
        "echo.json: not a tool declaration; write a JSON",
    ),
    (
        "another name",
        lambda folder: (folder / "echo.json").write_text('{"name":"rm"}'),
        "declares the name 'rm'; name the file",
    ),
    ("blank in the name", lambda folder: add(folder, "a b"), "a b.json: invalid tool name; use letters, digits"),
]


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in REFUSED + UNDECLARED])
def test_a_directory_with_a_bad_tool_is_refused(folder: Path, change: Callable[[Path], object], message: str) -> None:
    change(folder)
    with pytest.raises(RequestError) as caught:
        Tools(folder)
    assert message in f"{caught.value}; {caught.value.advice}"


@pytest.mark.parametrize("change", [case[1] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_tool_is_checked_again_before_each_run(folder: Path, change: Callable[[Path], object]) -> None:
    tools = Tools(folder)
    change(folder)
    assert tools.result("echo", {}) == "error: the tool can't be run"
    assert len(tools.notes) == 1 and tools.notes[0].startswith("echo: ")


@pytest.mark.parametrize("path", ["none", "tools/echo", "a\0b"])
def test_what_is_not_a_directory_is_a_usage_error(folder: Path, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        Tools(folder.parent / path)
    assert caught.value.advice == "-t needs a directory of tools"


def test_a_directory_without_declarations_is_refused(folder: Path) -> None:
    (folder / "echo.json").unlink()
    with pytest.raises(RequestError, match="contains no tools"):
        Tools(folder)


def test_links_to_the_directory_and_within_it_are_followed(folder: Path) -> None:
    (folder / "again").symlink_to("echo")
    (folder / "again.json").symlink_to("echo.json")
    (folder.parent / "link").symlink_to(folder)
    assert Tools(folder.parent / "link").result("again", {"a": 1}) == '{"a":1}\n'


NAMES = [
    *("undeclared", "", "..", ".", "/bin/sh", "../tools/echo", "./echo", "-echo", "--help", "echo "),
    *("echo\n", "echo\0", "ECHO", "echo.json", "e" * 10_000, "\ud800", None, 5, ["echo"], {}),
]


@pytest.mark.parametrize("name", NAMES, ids=[repr(name)[:20] for name in NAMES])
def test_only_a_declared_name_is_executed(folder: Path, name: Any) -> None:
    (folder / "undeclared").write_text(f"#!/bin/sh\ntouch {folder}/ran\n")
    (folder / "undeclared").chmod(0o755)
    assert Tools(folder).result(name, {}).startswith("error: there is no tool ")
    assert not (folder / "ran").exists()


NEAR = ["functions.echo", "tool:echo", "Echo", "echo<|channel|>analysis", "echo()", "ecko", "e-c-h-o"]


@pytest.mark.parametrize("name", NEAR)
def test_the_model_learns_the_name_it_probably_meant(folder: Path, name: str) -> None:
    add(folder, "other")
    message = f"error: there is no tool {name!r}; did you mean echo? available: echo, other"
    assert Tools(folder).result(name, {}) == message


def test_the_list_of_available_tools_is_limited() -> None:
    message = unknown_tool("x" * 1000, [f"t{n}" for n in range(100)])
    assert message.startswith(f"error: there is no tool {'x' * 100!r}; available: t0, ") and message.endswith(
        ", t49, ..."
    )


ARGUMENTS = [
    {},
    {"--help": "-rf /", "a": "\0"},
    {"a": "☂ é \x1b[2J\ud800"},
    {"a": "x" * 10_000_000},
    {"a": [1, None, {"b": 10**400}]},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=[repr(arguments)[:20] for arguments in ARGUMENTS])
def test_arguments_are_passed_as_json_on_standard_input(folder: Path, arguments: dict[str, Any]) -> None:
    add(folder, "keep", f"#!/bin/sh\necho $#; cat > {folder}/given\n")
    assert Tools(folder).result("keep", arguments) == "0\n"
    assert json.loads((folder / "given").read_bytes()) == arguments


def test_arguments_that_are_not_usable_are_an_error_for_the_model(folder: Path) -> None:
    for arguments in ("text", 5, ["a"]):
        assert Tools(folder).result("echo", arguments) == "error: the arguments must be an object"
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert Tools(folder).result("echo", deep) == "error: the arguments are not usable: nested too deeply"


def test_stderr_of_a_tool_becomes_notes_line_by_line(folder: Path) -> None:
    add(folder, "talk", "#!/bin/sh\nprintf 'one\\ntwo' >&2; echo fine\n")
    tools = Tools(folder)
    assert tools.result("talk", {}) == "fine\n"
    assert tools.notes == ["talk: one", "talk: two"]


def test_a_tool_runs_in_the_working_directory_by_its_own_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(folder, "where", "#!/bin/sh\npwd -P; echo $0\n")
    monkeypatch.chdir(folder.parent)
    assert Tools(Path("tools")).result("where", {}) == f"{folder.parent.resolve()}\n{folder.resolve()}/where\n"
