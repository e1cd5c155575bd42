"""The page on the library: its programs run, and its signatures, names and tables are those of the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import ostream
from ostream.__main__ import COMMANDS
from ostream.testing import replay
from tests.process import ROOT, sh

PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:<!-- replay: ([a-z ]+) -->\n)?```python\n(.*?)```", PAGE, re.DOTALL)
assert len(BLOCKS) == PAGE.count("\n```") / 2, "a block of another language is not run"


@pytest.mark.parametrize(("recordings", "block"), BLOCKS)
def test_a_block_runs(recordings: str, block: str, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(block, encoding="utf-8")
    names = [ROOT / "examples" / "recordings" / f"{name}.ndjson" for name in recordings.split()]
    with replay(*names, match="path", repeat=True) as server:
        done = sh("exec python3 block.py", cwd=tmp_path, env={"OLLAMA_HOST": server.url})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout or not names


@pytest.mark.parametrize("name", ostream.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"`{name}[`(]", PAGE.partition("\n## Requests\n")[2])


def test_the_errors_have_the_bases_in_the_table() -> None:
    bases = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \|", PAGE.partition("\n## Errors\n")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert {name: base.__name__ for name in dict(bases) for base in getattr(ostream, name).__bases__[1:]} == dict(bases)
    listed = re.findall(r"^- `([A-Za-z_]+)", PAGE.partition("\n## With another transport\n")[2], re.MULTILINE)
    assert set(listed) <= set(ostream.__all__)


@pytest.mark.parametrize("name", ["chat", "generate", "Client"])
def test_the_signature_shown_is_that_of_the_code(name: str) -> None:
    signature = inspect.signature(getattr(ostream, name))
    bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    plain = signature.replace(parameters=bare, return_annotation=signature.empty)
    assert f"\n    {name}{plain}\n" in PAGE
    documented = inspect.getdoc(getattr(ostream, name)) or ""
    for parameter in signature.parameters:
        assert parameter in documented or name == "generate", "help() describes each argument"


def test_the_commands_it_names_are_there() -> None:
    assert set(re.findall(r"`(stats|send|collect) --", PAGE)) <= set(COMMANDS)


def names_of(module: Any, path: str) -> set[str]:
    """The arguments, methods or fields of a name in the table, in this library or in the SDK."""
    value = module
    for name in path.strip("()").split("."):
        value = getattr(value, name)
    if path.endswith("()"):
        return {"chat", "generate", "close"} & set(dir(value))
    if path in ("chat", "generate", "Client"):
        return set(inspect.signature(value).parameters) - {"kwargs"}
    if path == "ResponseError":
        return {name for name in vars(value("x")) if not name.startswith("_")} | {"advice", "partial"} & set(dir(value))
    if hasattr(value, "model_fields"):
        return set(value.model_fields)
    return {name for name in dir(value) if isinstance(getattr(value, name), property)}


ROWS = re.findall(r"^\| `([\w.()]+)` \| (`.*?) \|(.*?)\|.*\|$", PAGE.partition("| in both |")[2], re.MULTILINE)


@pytest.mark.parametrize(("path", "both", "here"), ROWS)
def test_the_table_of_the_sdk_has_every_argument_and_field(
    path: str, both: str, here: str, request: pytest.FixtureRequest
) -> None:
    shared, own = set(re.findall(r"`(\w+)`", both)), set(re.findall(r"`(\w+)`", here))
    assert names_of(ostream, path) == shared | own
    if request.getfixturevalue("tools"):
        sdk = pytest.importorskip("ollama", reason="needs tests/requirements-check.txt")
        passed_on = {"timeout", "headers", "verify"} if path == "Client" else set()  # arguments of httpx
        assert names_of(sdk, path) | passed_on == shared


def test_the_table_has_all_rows() -> None:
    assert len(ROWS) == 13


DUMPS = "model_dump model_dump_json model_validate model_validate_json"
METRICS = "add add_all as_dict gaps lacks span"
ERROR = "advice error error_line exit_status partial retryable"
# The public names of an object that are not fields of its row in the table above.
PUBLIC: list[tuple[Any, str, str]] = [
    (ostream.Client(), "", "chat close generate"),
    (ostream.chat("m", stream=True), "", "close final message metrics response text_stream"),
    (ostream.ChatResponse(), "ChatResponse", DUMPS),
    (ostream.GenerateResponse(), "GenerateResponse", DUMPS),
    (ostream.Message(), "Message", f"{DUMPS} ToolCall"),
    (ostream.Tool(), "Tool", f"{DUMPS} Function"),
    (ostream.Image(value=b""), "Image", DUMPS),
    (ostream.Accumulator(), "", "add add_all chunks content done message response thinking tool_calls"),
    (ostream.Metrics(), "", METRICS),
    (ostream.ResponseError(), "ResponseError", ERROR),
    *((getattr(ostream, name)(), "", ERROR) for name in ("OstreamError", "RequestError", "ConnectError")),
    (ostream.IncompleteStream(), "", ERROR),
    (ostream.StreamTimeout(), "", f"{ERROR} timeout"),
    (ostream.NotNDJSON(), "", f"{ERROR} line lineno"),
]


@pytest.mark.parametrize(("value", "row", "names"), PUBLIC, ids=[type(value).__name__ for value, *_ in PUBLIC])
def test_an_object_has_no_other_public_names(value: Any, row: str, names: str) -> None:
    fields = {name for path, *lists in ROWS if path == row for name in re.findall(r"`(\w+)`", " ".join(lists))}
    inherited = {name for base in type(value).__mro__ if base.__module__ == "builtins" for name in dir(base)}
    public = {name for name in dir(value) if name[0] != "_"} - inherited
    assert public == fields | {*names.split()}
    assert all(re.search(rf"\b{name}\b", PAGE) for name in public)
