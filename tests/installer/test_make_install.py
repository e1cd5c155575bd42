"""make install: the installed program runs without the checkout; make uninstall removes exactly what was installed."""

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
from tests.tiers import sample

STREAM = body_of("chat-stream")


PREFIX = "/opt/a 'b\""


def make(target: str, folder: Path, *more: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    argv = ["make", target, f"DESTDIR={folder}/stage", f"PREFIX={PREFIX}", f"PYTHON={sys.executable}", *more]
    return subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, check=check, timeout=300)


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
    """What was staged, moved to the machine that it is for."""
    shutil.copytree(f"{stage}/stage{PREFIX}", tmp_path / "tree", symlinks=True)
    return tmp_path / "tree"


def test_every_command_is_a_link_that_works(tree: Path) -> None:
    assert sorted(os.listdir(tree / "bin")) == sorted(["ostream", *COMMANDS])
    result = subprocess.run([tree / "bin" / "send", "--version"], env=environment(), capture_output=True, check=True)
    assert result.stdout.decode() == f"send (ostream) {__version__}\n"


def test_it_runs_without_the_checkout_and_has_bytecode(tree: Path) -> None:
    argv = [tree / "bin" / "ostream", "stats"]
    result = subprocess.run(argv, env=environment(), input=STREAM, capture_output=True, check=True)
    assert result.stdout == call("stats", stdin=STREAM).stdout
    installed = {name for name in files(tree / "lib/ostream") if "__pycache__" not in name}
    sources = {str(path.relative_to(ROOT)) for glob in ("*.py", "*sh") for path in (ROOT / "ostream").rglob(glob)}
    assert installed == {"bin/ostream", *sources}
    assert (tree / "lib/ostream/ostream/__pycache__" / f"errors.{sys.implementation.cache_tag}.pyc").exists()


def test_the_bytecode_has_the_final_paths(tree: Path) -> None:
    for path in (tree / "lib/ostream").rglob("*.pyc"):
        assert f"{PREFIX}/lib/ostream/".encode() in path.read_bytes()
        assert b"stage/opt" not in path.read_bytes()


def test_manual_and_completion_are_in_the_usual_directories(tree: Path) -> None:
    shells = {
        "zsh/site-functions/_ostream",
        *(f"bash-completion/completions/{name}" for name in ("ostream", *COMMANDS)),
        *(f"fish/vendor_completions.d/{name}.fish" for name in ("ostream", *COMMANDS)),
    }
    pages = {"man/man1/ostream.1", "man/man7/ostream.7", *(f"man/man1/ostream-{name}.1" for name in COMMANDS)}
    assert files(tree / "share") == shells | pages
    assert "_ostream" in (tree / "share" / "bash-completion/completions/ostream").read_text()


def test_links_can_be_left_out_and_uninstall_removes_all_that_was_installed(tmp_path: Path, stage: Path) -> None:
    assert stage
    other = tmp_path / "p" / "bin" / "other"
    other.parent.mkdir(parents=True)
    other.touch()
    here = ("DESTDIR=", f"PREFIX={tmp_path}/p")
    for more, names, step in (
        (["LINKS=no"], ["ostream"], b"next: ostream send -m MODEL 'Why is the sky blue?' | ostream extract-content"),
        ([], ["ostream", *COMMANDS], b"next: send -m MODEL 'Why is the sky blue?' | extract-content"),
    ):
        result = make("install", tmp_path, *here, *more)
        assert sorted(os.listdir(other.parent)) == sorted([*names, "other"])
        assert result.stdout.splitlines()[-1] == step
    for _ in range(2):
        make("uninstall", tmp_path, *here)
        assert files(tmp_path) == {"p/bin/other"}


def test_a_relative_prefix_is_refused(tmp_path: Path, stage: Path) -> None:
    assert stage
    result = make("install", tmp_path, "PREFIX=~/.local", check=False)
    assert result.returncode == 2
    assert b"PREFIX must be an absolute path, not ~/.local\n" in result.stderr
    assert files(tmp_path) == set()


@pytest.mark.parametrize("name", sample(["batch", "ostream"], 2))
def test_other_programs_are_not_replaced_or_removed(name: str, tmp_path: Path, stage: Path) -> None:
    assert stage
    other = Path(f"{tmp_path}/stage{PREFIX}/bin/{name}")
    other.parent.mkdir(parents=True)
    other.write_text("precious")
    make("uninstall", tmp_path)
    result = make("install", tmp_path, check=False)
    assert result.returncode
    assert name == "ostream" or b"run: make install LINKS=no" in result.stdout
    make("uninstall", tmp_path)
    assert other.read_text() == "precious"
