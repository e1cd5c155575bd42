"""The single-file executable: reproducible, and it runs from any directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.process import BIN, ROOT, call, environment, sh
from tests.server import body_of

STREAM = body_of("chat-stream")


def make(target: Path, root: Path = ROOT, **changes: str) -> bytes:
    subprocess.run([sys.executable, root / "scripts" / "pyz.py", target], env=environment(**changes), check=True)
    return target.read_bytes()


def test_a_build_is_reproducible(pyz: Path, tmp_path: Path) -> None:
    """It does not depend on the directory, file times, modes, time zone or locale."""
    copy = tmp_path / "elsewhere"
    for name in ("ostream", "bin", "scripts"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "LICENSE", copy)
    for path in [*copy.rglob("*.py"), copy / "LICENSE"]:
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    (copy / "ostream" / "__pycache__").mkdir()
    (copy / "ostream" / "__pycache__" / "errors.cpython-311.pyc").write_bytes(b"stale")
    made = make(tmp_path / "new.pyz", copy, TZ="Asia/Tokyo", LC_ALL="C")
    assert made == pyz.read_bytes()


def test_it_contains_only_the_sources(pyz: Path) -> None:
    with zipfile.ZipFile(pyz) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    sources = {str(path.relative_to(ROOT)) for glob in ("*.py", "*sh") for path in (ROOT / "ostream").rglob(glob)}
    assert set(names) == {"__main__.py", "LICENSE", *sources}
    assert names == sorted(names)
    assert not pyz.stat().st_mode & 0o22
    assert os.access(pyz, os.X_OK)


def test_an_unexpected_launcher_is_an_error(tmp_path: Path) -> None:
    for name in ("bin", "scripts", "ostream"):
        (tmp_path / name).mkdir()
    (tmp_path / "LICENSE").touch()
    shutil.copy(ROOT / "scripts" / "pyz.py", tmp_path / "scripts")
    (tmp_path / "bin" / "ostream").write_text("import sys\n")
    argv = [sys.executable, "scripts/pyz.py", "new.pyz"]
    result = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (1, b"pyz.py: bin/ostream: not one line that sets sys.path\n")
    assert not (tmp_path / "new.pyz").exists()


WAYS = {
    "ostream.pyz COMMAND": '"$PYZ" "$COMMAND"',
    "python3 ostream.pyz COMMAND": 'python3 "$PYZ" "$COMMAND"',
    "python3 -I -S ostream.pyz COMMAND": 'python3 -I -S "$PYZ" "$COMMAND"',
    "sh ostream.pyz COMMAND": 'sh "$PYZ" "$COMMAND"',
    "bash ostream.pyz COMMAND": 'bash "$PYZ" "$COMMAND"',
    "a copy with its name": 'cp "$PYZ" "$COMMAND"; "./$COMMAND"',
    "a link with its name": 'mkdir "a b"; ln -s "$PYZ" "a b/$COMMAND"; "a b/$COMMAND"',
    "a link on PATH": 'ln -s "$PYZ" "$COMMAND"; PATH=$PWD:$PATH; "$COMMAND"',
    "a hard link": 'cp "$PYZ" . && ln ostream.pyz "$COMMAND"; "./$COMMAND"',
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_call_it(way: str, pyz: Path, tmp_path: Path) -> None:
    if way.startswith("bash") and not shutil.which("bash"):
        pytest.skip("no bash here")
    env = {"COMMAND": "send", "PYZ": str(pyz)}
    result = sh(f"{WAYS[way]} --help", env=env, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    # The help names the command as it was called.
    called = ["ostream", "send"] if way.endswith(" COMMAND") else ["send"]
    assert result.stdout == call(*called, "--help").stdout


def test_it_imports_nothing_from_the_working_directory_or_its_own(pyz: Path, tmp_path: Path) -> None:
    shutil.copy(pyz, tmp_path)
    for module in ("json", "os", "signal", "argparse", "ostream"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('hostile')")
    result = sh("./ostream.pyz collect --bogus", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert (result.returncode, b"--bogus" in result.stderr) == (2, True)


def test_all_launchers_are_links_to_one() -> None:
    assert {os.readlink(path) for path in BIN.iterdir() if path.is_symlink()} == {"ostream"}
