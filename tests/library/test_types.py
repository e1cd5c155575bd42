"""Types: programs are clean under strict checkers, which find mistakes, and nothing is loaded for them at run time."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, get_type_hints

import pytest

import ostream
from ostream import Options, types
from ostream.protocol.option_names import OPTION_NAMES
from tests.process import ROOT

PROGRAMS = [*sorted((ROOT / "tests" / "typed").glob("*.py")), ROOT / "examples" / "from_asyncio.py"]
MISTAKES = """
from ostream import Chunk, Client, Stream, chat, generate

one: Stream = chat("m", stream=False)
two: Chunk = generate("m", "p", stream=True)
chat("m", temperature=1)
generate("m", "p", context="text")
Client(timeout="5")
chat("m", [{"role": "user"}]).message.content.upper()
chat("m").mesage
generate("m").message
chat("m", stream=True).metrics.evalrate
for chunk in chat("m", stream=True):
    chunk.message.contents
"""


def mypy(directory: Path, *paths: Path) -> list[int]:
    """The lines with errors, in a directory that has no configuration."""
    if not importlib.util.find_spec("mypy"):
        pytest.skip("needs mypy: tests/requirements-check.txt")
    options = ["--strict", "--config-file=", "--no-error-summary", f"--cache-dir={directory / 'cache'}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *map(str, paths)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ""},  # mypy does not run on the system of `make xnu`
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    print(done.stdout)
    return [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line]


def pyright(directory: Path, *paths: Path) -> list[int]:
    if not importlib.util.find_spec("basedpyright"):
        pytest.skip("needs basedpyright: tests/requirements-check.txt")
    config = {
        "include": list(map(str, paths)),
        "typeCheckingMode": "strict",
        "extraPaths": [str(ROOT)],
        "pythonVersion": "3.10",
    }
    (directory / "pyrightconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "-p", str(directory)],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    print(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(paths)
    return [finding["range"]["start"]["line"] + 1 for finding in report["generalDiagnostics"]]


Check = Callable[..., "list[int]"]
CHECKERS = pytest.mark.parametrize("check", [mypy, pyright])


@pytest.mark.tools
@CHECKERS
def test_a_correct_program_is_clean(check: Check, tmp_path: Path) -> None:
    assert len(PROGRAMS) >= 3
    assert check(tmp_path, *PROGRAMS) == []


@pytest.mark.tools
@CHECKERS
def test_mistakes_are_found(check: Check, tmp_path: Path) -> None:
    program = tmp_path / "mistakes.py"
    program.write_text(MISTAKES)
    assert sorted(set(check(tmp_path, program))) == [4, 5, 6, 7, 8, 9, 10, 11, 12, 14]


@pytest.mark.tools
@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("ostream.", "generate"),
        ("ostream.Client().", "chat"),
        ('ostream.chat("m").', "message"),
        ('ostream.chat("m").message.tool_calls[0].function.', "arguments"),
        ('ostream.generate("m", "p").', "completed"),
        ('ostream.chat("m", stream=True).', "text_stream"),
        ('ostream.chat("m", stream=True).metrics.', "eval_rate"),
        ('ostream.Client().chat("m", stream=True).final().message.', "thinking"),
        ('for chunk in ostream.chat("m", stream=True):\n    chunk.message.', "content"),
        ('for chunk in ostream.generate("m", "p", stream=True):\n    chunk.', "response"),
        ('for text in ostream.chat("m", stream=True).text_stream:\n    text.', "upper"),
    ],
)
def test_an_editor_completes_names(program: str, name: str) -> None:
    jedi = pytest.importorskip("jedi", reason="needs jedi: tests/requirements-check.txt")
    script = jedi.Script(f"import ostream\n{program}", project=jedi.Project(ROOT))
    assert name in [completion.name for completion in script.complete()]


@pytest.mark.tools
@pytest.mark.parametrize("name", ["chat", "generate"])
def test_an_editor_shows_arguments_and_their_description(name: str) -> None:
    jedi = pytest.importorskip("jedi", reason="needs jedi: tests/requirements-check.txt")
    script = jedi.Script(f"import ostream\nostream.{name}(", project=jedi.Project(ROOT))
    function = getattr(ostream, name)
    first, *_ = signatures = script.get_signatures()  # one of each overload
    assert {parameter.name for parameter in first.params} == set(inspect.signature(function).parameters)
    assert {(each.name, each.docstring(raw=True)) for each in signatures} == {(name, inspect.getdoc(function))}


@pytest.mark.parametrize("module", ["ostream", "ostream.client", "ostream.stream", "ostream.protocol.chunk"])
def test_types_are_not_loaded_at_run_time(module: str) -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert module in loaded
    assert not {"typing", "typing_extensions", "ostream.types"} & set(loaded)


def test_the_types_can_be_read_at_run_time() -> None:
    assert {"role", "content", "images", "tool_calls"} <= set(get_type_hints(types.MessageDict))
    assert "tools" in types.ChatFields.__annotations__
    assert "context" in types.GenerateFields.__annotations__


@pytest.mark.parametrize("name", ["ChatResponse", "GenerateResponse", "Chunk", "Message", "Stream"])
def test_the_classes_are_valid_annotations(name: str) -> None:
    def function(value: object) -> None: ...

    function.__annotations__["value"] = name
    meant = getattr(ostream, name)
    assert get_type_hints(function, {name: meant})["value"] is meant
    assert isinstance(meant, type)


def test_the_options_are_those_of_the_typed_dict() -> None:
    assert tuple(get_type_hints(types.OptionsDict)) == OPTION_NAMES
    assert set(OPTION_NAMES) < set(Options.__annotations__) == set(Options()._dumped)
