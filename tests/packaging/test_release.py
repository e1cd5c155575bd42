"""make release: the errors it detects, and the files it builds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from ostream.version import __version__
from tests.packaging.test_dist import JUNK
from tests.process import ROOT, environment

pytestmark = pytest.mark.tools

NOBODY = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]


@pytest.fixture(name="checkout")
def _checkout(tmp_path: Path) -> Path:
    """A repository with one commit of this tree, and a changelog that has the version."""
    folder = Path(shutil.copytree(ROOT, tmp_path / "checkout", symlinks=True, ignore=JUNK))
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n## {__version__} - 2026-01-02\n")
    if (folder / ".git").exists():
        (folder / ".git").unlink()  # in a worktree, .git is a file
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, *NOBODY, "commit", "-q", "-m", "all")
    return folder


def git(folder: Path, *arguments: str) -> None:
    env = {name: value for name, value in environment().items() if not name.startswith("GIT_")}
    subprocess.run(["git", *arguments], cwd=folder, env=env, check=True, timeout=60)


def release(checkout: Path, check: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in environment(CHECK=check).items() if not name.startswith("GIT_")}
    del env["PYTHONPATH"]
    argv = ["scripts/release.sh", sys.executable]
    return subprocess.run(argv, cwd=checkout, env=env, capture_output=True, text=True, check=False, timeout=300)


def _dirty(checkout: Path) -> None:
    (checkout / "new").touch()


def _not_in_changelog(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text(f"## Unreleased\n\n## {__version__}.1 - 2026-01-02\n")
    git(checkout, *NOBODY, "commit", "-q", "-a", "-m", "log")


def _tagged(checkout: Path) -> None:
    git(checkout, "tag", f"v{__version__}")


REFUSED = [
    (_dirty, "true", 'the tree is not clean; commit or remove what "git status" shows'),
    (_not_in_changelog, "true", f"CHANGELOG.md: no line '## {__version__} - YYYY-MM-DD'; add it"),
    (_tagged, "true", f"v{__version__}: is already released; raise __version__"),
    (lambda checkout: None, "touch new", "the checks changed files; commit them and try again"),
]


@pytest.mark.parametrize(("prepare", "check", "message"), REFUSED)
def test_an_unfit_commit_is_an_error(prepare, check: str, message: str, checkout: Path) -> None:  # type: ignore[no-untyped-def]
    prepare(checkout)
    result = release(checkout, check)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"release: {message}\n")
    assert not (checkout / "dist").exists()


def test_failing_checks_end_the_release(checkout: Path) -> None:
    assert release(checkout, "false").returncode == 1
    assert not (checkout / "dist").exists()


def test_a_release_is_built_with_checksums(checkout: Path) -> None:
    result = release(checkout, "true")
    assert result.returncode == 0, result.stdout + result.stderr
    name = f"ollama_ostream-{__version__}"
    files = [f"{name}-py3-none-any.whl", f"{name}.tar.gz", "ostream.pyz"]
    assert sorted(os.listdir(checkout / "dist")) == ["SHA256SUMS", *files]
    sums = [line.split("  ") for line in (checkout / "dist" / "SHA256SUMS").read_text().splitlines()]
    assert sums == [[sha256((checkout / "dist" / file).read_bytes()).hexdigest(), file] for file in files]
    last = result.stdout.splitlines()[-1]
    assert last == f"release: v{__version__} is ready in dist/; tag the commit and publish these files"
