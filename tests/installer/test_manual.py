"""The manual pages: complete, correct roff, and equal to the help and the README."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ostream.__main__ import COMMANDS
from ostream.errors import STATUSES
from ostream.installer.main_options import OPTIONS
from ostream.version import __version__
from tests.process import ROOT, call, environment

every_command = pytest.mark.parametrize("command", COMMANDS)


def make(folder: Path, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, root / "scripts" / "manual.py", folder]
    return subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module", name="manual")
def _manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    result = make(folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    return folder


def mandoc(*arguments: str | Path) -> str:
    if not shutil.which("mandoc"):
        pytest.skip("no mandoc here")
    result = subprocess.run(["mandoc", *arguments], capture_output=True, text=True, check=False, timeout=60)
    return result.stdout + result.stderr


def shown(page: Path) -> str:
    """The text of a page, on one line."""
    return " ".join(mandoc("-Tutf8", "-Owidth=500", page).replace("\b_", "").split())


def bare(text: str) -> str:
    """Remove overstrikes, and join the lines."""
    return " ".join(re.sub(".\b", "", text).split())


def test_mandoc_has_no_complaints(manual: Path) -> None:
    complaints = mandoc("-Tlint", "-W", "style", *sorted(manual.rglob("*.*"))).splitlines()
    # An unreleased version has no date; examples may be long.
    accepted = ("missing date", "input text line longer than 80 bytes")
    assert [line for line in complaints if not any(text in line for text in accepted)] == []


@every_command
def test_a_page_has_the_text_of_the_help(command: str, manual: Path) -> None:
    page = bare(shown(manual / "man1" / f"ostream-{command}.1"))
    text = call(command, "--help").stdout.decode()
    # The texts are the same, the lines are broken in other places; -x X, --xx X is -x, --xx X there.
    body, _, examples = text.partition("\nexamples:\n")
    for line in examples.splitlines():
        assert " ".join(line.split()) in page
    missing = [
        word
        for word in body.split()[2:]
        if word.strip(",") not in page and word not in ("positional", "optional", "arguments:")
    ]
    assert [word for word in missing if not word.endswith(":")] == []
    assert page.startswith(f"OSTREAM-{command.upper()}(1)")
    assert page.endswith(f"OSTREAM-{command.upper()}(1)")
    assert f"ostream {__version__}" in page


def test_the_overview_names_every_command_and_option(manual: Path) -> None:
    page = bare(shown(manual / "man1" / "ostream.1"))
    for name, (kind, what) in COMMANDS.items():
        assert f"{name} {what} ({kind})" in page
        assert f"ostream-{name}(1)" in page
    for option in OPTIONS:
        assert f"ostream {option}" in page


def test_the_line_format_and_the_statuses_have_a_page(manual: Path) -> None:
    page = bare(shown(manual / "man7" / "ostream.7"))
    assert '{"error":"model \'x\' not found","status_code":404,"exit_status":1}' in page
    for status in STATUSES:
        assert f" {status.code} {status.meaning}" in page
    assert "`" not in page and "**" not in page and "](" not in page


def test_special_characters_of_roff_are_escaped(manual: Path) -> None:
    page = bare(shown(manual / "man1" / "ostream-send.1"))
    assert "git diff | send -m qwen3 'Write a commit message:' - | extract-content" in page
    assert "× 23?" in bare(shown(manual / "man1" / "ostream-render.1"))
    for path in manual.rglob("*.*"):
        assert path.read_bytes().isascii()


def test_the_date_is_that_of_the_release(tmp_path: Path) -> None:
    for name in ("scripts", "ostream"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "protocol.md", tmp_path / "docs")
    (tmp_path / "CHANGELOG.md").write_text(f"## Unreleased\n\n## {__version__} - 2026-02-03\n")
    assert make(tmp_path / "man", tmp_path).returncode == 0
    assert ' "2026-02-03" ' in (tmp_path / "man" / "man1" / "ostream.1").read_text()
    (tmp_path / "docs" / "protocol.md").write_text("# ostream\n")
    result = make(tmp_path / "man", tmp_path)
    assert (result.returncode, result.stderr) == (1, "manual.py: docs/protocol.md: no section 'Lines'\n")
