"""The page on the library: its blocks run, its signatures and names are those of the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import ostream
from ostream.__main__ import COMMANDS
from tests.process import ROOT, sh

PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:<!-- replay: ([a-z ]+) -->\n)?```python\n(.*?)```", PAGE, re.DOTALL)
assert len(BLOCKS) == PAGE.count("\n```") / 2, "a block of another language is not run"


@pytest.mark.parametrize(("recordings", "block"), BLOCKS)
def test_a_block_runs(recordings: str, block: str, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(block, encoding="utf-8")
    names = [str(ROOT / "examples" / "recordings" / f"{name}.ndjson") for name in recordings.split()]
    serve = f"replay -q --match path --repeat {' '.join(names)} -- " if names else ""
    done = sh(f"exec {serve}python3 block.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout or not names


@pytest.mark.parametrize("name", ostream.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    reference = PAGE.partition("\n## Asking\n")[2]
    assert re.search(rf"`{name}[`(]", reference)


def test_nothing_in_the_reference_is_missing_from_the_code() -> None:
    listed = re.findall(r"^[|-] `([A-Za-z_]+)", PAGE.partition("\n## Errors\n")[2], re.MULTILINE)
    assert len(listed) >= 12
    assert set(listed) <= set(ostream.__all__)
    bases = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert {name: base.__name__ for name in dict(bases) for base in getattr(ostream, name).__bases__[1:]} == dict(bases)


@pytest.mark.parametrize("name", ["chat", "generate", "Client"])
def test_the_signature_shown_is_that_of_the_code(name: str) -> None:
    signature = inspect.signature(getattr(ostream, name))
    bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    plain = signature.replace(parameters=bare, return_annotation=signature.empty)
    assert f"\n    {name}{plain}\n" in PAGE


def test_the_commands_it_names_are_there() -> None:
    assert set(re.findall(r"`(stats|send|collect) --", PAGE)) <= set(COMMANDS)
