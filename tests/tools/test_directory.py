"""The folder of tools: which of them may be run at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable

import pytest

from ostream.errors import RequestError
from ostream.tools.directory import ToolDirectory
from tests.process import TOOLS

PARAMETERS = {"type": "object", "properties": {}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one tool, `echo`, that says what it was given."""
    made = tmp_path / "tools"
    made.mkdir(mode=0o755)
    add(made, "echo", "#!/bin/sh\ncat\n")
    return made


def add(folder: Path, name: str, script: str = "#!/bin/sh\necho ran\n") -> None:
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)
    (folder / f"{name}.json").write_text(json.dumps({"description": "d", "parameters": PARAMETERS}))
    (folder / f"{name}.json").chmod(0o644)


class Box(ToolDirectory):
    """A toolbox; `notes` is what it said."""

    def __init__(self, folder: Path, time_s: float = 30) -> None:
        self.notes: list[str] = []
        super().__init__(str(folder), self.notes.append, time_s)

    def result(self, name: Any, arguments: Any) -> str:
        content: str = self.answer({"function": {"name": name, "arguments": arguments}})["content"]
        return content


def test_the_tools_of_a_folder_are_offered_as_the_server_wants_them() -> None:
    time, weather = Box(TOOLS).schemas
    assert time == json.loads((TOOLS / "get_time.json").read_text())
    bare = json.loads((TOOLS / "get_weather.json").read_text())
    assert weather == {"type": "function", "function": {"name": "get_weather", **bare}}


def outside(folder: Path) -> Path:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    add(elsewhere, "echo")
    return elsewhere / "echo"


def nested(folder: Path) -> Path:
    (folder / "sub").mkdir()
    add(folder / "sub", "echo")
    return folder / "sub" / "echo"


def become(file: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Put something else in the place of a file."""

    def change(folder: Path) -> None:
        (folder / file).unlink()
        make(folder / file)

    return change


BAD: list[tuple[str, Callable[[Path], object], str]] = [
    # what is done to the folder, and the words that say what is wrong
    ("a link out of it", become("echo", lambda path: path.symlink_to(outside(path.parent))), "leads out of the folder"),
    ("a link below it", become("echo", lambda path: path.symlink_to(nested(path.parent))), "leads out of the folder"),
    ("a link to a program", become("echo", lambda path: path.symlink_to("/bin/sh")), "leads out of the folder"),
    ("a dangling link", become("echo", lambda path: path.symlink_to("none")), "none: No such file"),
    ("a loop of links", become("echo", lambda path: path.symlink_to(path)), "echo: "),
    ("nothing", become("echo", lambda path: None), "echo: No such file"),
    ("a folder", become("echo", Path.mkdir), "echo: not a regular file"),
    ("a FIFO", become("echo", os.mkfifo), "echo: not a regular file"),
    ("not executable", lambda folder: (folder / "echo").chmod(0o644), "echo: not executable"),
    ("a tool for anybody", lambda folder: (folder / "echo").chmod(0o757), "echo: anybody may write to it"),
    ("a declaration for anybody", lambda folder: (folder / "echo.json").chmod(0o646), "echo.json: anybody may write"),
    ("a folder for anybody", lambda folder: folder.chmod(0o777), "tools: anybody may write to it; chmod o-w"),
    ("a folder as /tmp", lambda folder: folder.chmod(0o1777), "tools: anybody may write to it"),
    (
        "a declared link out",
        become("echo.json", lambda path: path.symlink_to(f"{outside(path.parent)}.json")),
        "leads out",
    ),
    ("a declared folder", become("echo.json", Path.mkdir), "echo.json: not a regular file"),
    ("no JSON", lambda folder: (folder / "echo.json").write_text("{"), "echo.json: not JSON"),
    ("no object", lambda folder: (folder / "echo.json").write_text("[]"), "echo.json: not a tool"),
    ("no function", lambda folder: (folder / "echo.json").write_text('{"function":5}'), "echo.json: not a tool"),
    ("another name", lambda folder: (folder / "echo.json").write_text('{"name":"rm"}'), "names its tool 'rm'"),
    ("a strange name", lambda folder: add(folder, "a b"), r"a b.json: not a name for a tool"),
    ("a hidden name", lambda folder: (folder / ".json").write_text("{}"), r"/\.json: not a name for a tool"),
    ("a name with a dot", lambda folder: add(folder, "a.b"), r"a\.b\.json: not a name for a tool"),
]


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_tool_that_somebody_else_could_have_put_there_is_refused(
    folder: Path, change: Callable[[Path], object], words: str
) -> None:
    change(folder)
    with pytest.raises(RequestError) as caught:
        Box(folder)
    error = caught.value
    assert words.replace("\\", "") in f"{error}; {error.advice}"


# What a declaration says has been read by then, and is not read again.
LATER = [case for case in BAD if "name" not in case[0] and case[0] not in ("no JSON", "no object", "no function")]


@pytest.mark.parametrize("change", [case[1] for case in LATER], ids=[case[0] for case in LATER])
def test_it_is_refused_too_when_that_happens_between_the_offer_and_the_call(
    folder: Path, change: Callable[[Path], object]
) -> None:
    box = Box(folder)
    change(folder)
    assert box.result("echo", {}) == "error: the tool can't be run"
    assert len(box.notes) == 1 and box.notes[0].startswith("echo: ")


@pytest.mark.parametrize("path", ["none", "tools/echo", "a\0b"])
def test_what_is_no_folder_is_a_usage_error(folder: Path, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        Box(folder.parent / path)
    assert caught.value.advice == "-t names a folder of tools"


def test_a_folder_without_declarations_has_no_tools(folder: Path) -> None:
    (folder / "echo.json").unlink()
    with pytest.raises(RequestError, match="no tools there"):
        Box(folder)


def test_a_link_inside_the_folder_is_a_tool(folder: Path) -> None:
    (folder / "again").symlink_to("echo")
    (folder / "again.json").symlink_to("echo.json")
    assert Box(folder).result("again", {"a": 1}) == '{"a":1}\n'


def test_a_folder_behind_a_link_is_the_folder(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    assert Box(folder.parent / "link").result("echo", {}) == "{}\n"


NAMES = [
    *("undeclared", "", "..", ".", "/bin/sh", "../tools/echo", "sub/echo", "./echo", "-echo", "--help", "echo "),
    *("echo\n", "echo\0", "ECHO", "echo.json", "e" * 10_000, "\ud800", None, 5, ["echo"], {}),
]


@pytest.mark.parametrize("name", NAMES, ids=[repr(name)[:20] for name in NAMES])
def test_only_a_declared_name_is_run(folder: Path, name: Any) -> None:
    nested(folder)
    (folder / "undeclared").write_text("#!/bin/sh\ntouch ran\n")
    (folder / "undeclared").chmod(0o755)
    assert Box(folder).result(name, {}) == "error: there is no such tool"


def test_a_name_with_a_leading_dash_is_a_name_like_any_other(folder: Path) -> None:
    add(folder, "-rf", "#!/bin/sh\necho $#\n")
    assert Box(folder).result("-rf", {}) == "0\n"


ARGUMENTS = [
    {},
    {"a": "\0"},
    {"a": "☂ é \x1b[2J"},
    {"a": "x" * 10_000_000},
    {"a": "\ud800"},
    {"a": [1, None, True, 1.5, {"b": {}}]},
    {"--help": "-rf /"},
    {"a": 10**400},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=[repr(arguments)[:20] for arguments in ARGUMENTS])
def test_arguments_come_as_json_on_standard_input(folder: Path, arguments: dict[str, Any]) -> None:
    add(folder, "keep", f"#!/bin/sh\necho $#; cat > {folder}/given\n")
    assert Box(folder).result("keep", arguments) == "0\n"
    assert json.loads((folder / "given").read_bytes()) == arguments


@pytest.mark.parametrize("arguments", [None, "text", 5, ["a"], ""])
def test_arguments_are_an_object(folder: Path, arguments: Any) -> None:
    assert Box(folder).result("echo", arguments) == "error: the arguments must be an object"


def test_arguments_nested_without_end_are_an_answer_too(folder: Path) -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert Box(folder).result("echo", deep) == "error: the arguments are not usable: nested too deeply"


def test_what_a_tool_says_on_stderr_is_for_a_person_line_by_line(folder: Path) -> None:
    add(folder, "talk", "#!/bin/sh\nprintf 'one\\ntwo' >&2; echo fine\n")
    box = Box(folder)
    assert box.result("talk", {}) == "fine\n"
    assert box.notes == ["talk: one", "talk: two"]


def test_a_tool_runs_where_we_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(folder, "where", "#!/bin/sh\npwd -P\n")
    monkeypatch.chdir(folder.parent)
    assert Box(Path("tools")).result("where", {}) == f"{os.path.realpath(folder.parent)}\n"


def test_the_id_of_a_call_comes_back(folder: Path) -> None:
    call = {"id": "call_1", "function": {"name": "echo", "arguments": {}}}
    assert Box(folder).answer(call) == {
        "role": "tool",
        "content": "{}\n",
        "tool_name": "echo",
        "tool_call_id": "call_1",
    }


def test_time_is_over_when_it_is_over(folder: Path) -> None:
    add(folder, "slow", "#!/bin/sh\nsleep 1000\n")
    assert Box(folder, 0.2).result("slow", {}) == "error: no end within 0.2 s"
