"""make install: a program that runs from where it was put, and nothing else; make uninstall leaves nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ostream.__main__ import COMMANDS
from ostream.version import __version__
from tests.process import ROOT, call, environment
from tests.server import body_of

STREAM = body_of("chat-stream")


def make(target: str, folder: Path, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    argv = ["make", target, f"DESTDIR={folder}/stage", "PREFIX=/opt/a b", f"PYTHON={sys.executable}"]
    return subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, check=check, timeout=120)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


@pytest.fixture(scope="module", name="stage")
def _stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("make"):
        pytest.skip("no make here")
    folder = tmp_path_factory.mktemp("install")
    make("install", folder)
    return folder


@pytest.fixture(name="tree")
def _tree(stage: Path, tmp_path: Path) -> Path:
    """What was staged, as it comes to stand on the machine that it is for."""
    shutil.copytree(stage / "stage" / "opt" / "a b", tmp_path / "tree", symlinks=True)
    return tmp_path / "tree"


def test_only_ostream_is_put_on_path(tree: Path) -> None:
    assert os.listdir(tree / "bin") == ["ostream"]


def test_it_runs_with_bytecode_of_its_own_and_without_the_checkout(tree: Path) -> None:
    argv = [tree / "bin" / "ostream", "stats"]
    result = subprocess.run(argv, env=environment(), input=STREAM, capture_output=True, check=True)
    assert result.stdout == call("stats", stdin=STREAM).stdout
    installed = {name for name in files(tree / "lib/ostream") if "__pycache__" not in name}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "ostream").rglob("*.py")}
    assert installed == {"bin/ostream", *sources}
    assert (tree / "lib/ostream/ostream/__pycache__" / f"errors.{sys.implementation.cache_tag}.pyc").exists()


def test_the_bytecode_names_the_place_where_it_will_be(tree: Path) -> None:
    for path in (tree / "lib/ostream").rglob("*.pyc"):
        assert b"/opt/a b/lib/ostream/" in path.read_bytes()
        assert b"stage/opt" not in path.read_bytes()


def test_the_manual_and_the_completions_go_where_they_are_looked_for(tree: Path) -> None:
    shells = {
        "bash-completion/completions/ostream",
        "zsh/site-functions/_ostream",
        "fish/vendor_completions.d/ostream.fish",
    }
    pages = {"man/man1/ostream.1", "man/man7/ostream.7", *(f"man/man1/ostream-{name}.1" for name in COMMANDS)}
    assert files(tree / "share") == shells | pages
    assert "_ostream" in (tree / "share" / "bash-completion/completions/ostream").read_text()


def test_its_links_work(tree: Path) -> None:
    subprocess.run([tree / "bin" / "ostream", "--install", tree / "bin"], env=environment(), check=True)
    result = subprocess.run([tree / "bin" / "send", "--version"], env=environment(), capture_output=True, check=True)
    assert result.stdout.decode() == f"send (ostream) {__version__}\n"


def test_what_is_uninstalled_is_gone_and_the_rest_is_not(tmp_path: Path, stage: Path) -> None:
    assert stage
    other = tmp_path / "stage" / "opt" / "a b" / "bin" / "other"
    other.parent.mkdir(parents=True)
    other.touch()
    for target in ("install", "install", "uninstall", "uninstall"):
        make(target, tmp_path)
    assert files(tmp_path) == {"stage/opt/a b/bin/other"}


def test_an_ostream_of_somebody_else_stays(tmp_path: Path, stage: Path) -> None:
    assert stage
    other = tmp_path / "stage" / "opt" / "a b" / "bin" / "ostream"
    other.parent.mkdir(parents=True)
    other.write_text("precious")
    make("uninstall", tmp_path)
    assert make("install", tmp_path, check=False).returncode
    assert other.read_text() == "precious"
