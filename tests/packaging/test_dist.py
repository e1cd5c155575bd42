"""The wheel and the source distribution, built with the usual tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ostream.version import __version__
from tests.process import ROOT, environment
from tests.server import body_of

pytestmark = pytest.mark.tools

NAME = f"ollama_ostream-{__version__}"
JUNK = shutil.ignore_patterns(
    *(".git", ".venv", ".spark", ".bench", ".*_cache", ".hypothesis", ".coverage*"),
    *("__pycache__", "*.pyz", "build", "dist"),
)


@pytest.fixture(scope="module", name="checkout")
def _checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout for building."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("dist") / "checkout", symlinks=True, ignore=JUNK))


def build(source: Path, *options: str) -> Path:
    target = source.parent / f"built from {source.name}"
    argv = [sys.executable, "-m", "build", "--no-isolation", "--outdir", target, *options, source]
    result = subprocess.run(argv, env=environment(), capture_output=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert b"eprecat" not in result.stdout + result.stderr
    return target


@pytest.fixture(scope="module", name="built")
def _built(checkout: Path) -> Path:
    return build(checkout)  # the wheel from the source distribution


def run(*argv: str | Path, cwd: Path, **changes: str) -> str:
    env = environment(**changes)
    del env["PYTHONPATH"]
    result = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.decode()


def test_a_build_leaves_two_files_and_a_clean_checkout(built: Path, checkout: Path) -> None:
    assert sorted(os.listdir(built)) == [f"{NAME}-py3-none-any.whl", f"{NAME}.tar.gz"]
    assert not [path for path in checkout.rglob("*") if path.name in ("build", "dist") or "egg-info" in path.name]


def test_the_wheel_contains_the_package_and_has_no_dependencies(built: Path) -> None:
    with zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl") as wheel:
        names = wheel.namelist()
        metadata = wheel.read(f"{NAME}.dist-info/METADATA").decode().partition("\n\n")[0].splitlines()
        scripts = wheel.read(f"{NAME}.dist-info/entry_points.txt").decode()
    sources = {str(path.relative_to(ROOT)) for glob in ("*.py", "*sh") for path in (ROOT / "ostream").rglob(glob)}
    information = {f"{NAME}.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")}
    assert set(names) == {
        *sources,
        "ostream/py.typed",
        "ostream/__init__.pyi",
        *information,
        f"{NAME}.dist-info/licenses/LICENSE",
    }
    assert not [line for line in metadata if line.startswith("Requires-Dist")]
    assert {"Name: ollama-ostream", f"Version: {__version__}", "Requires-Python: >=3.8"} <= set(metadata)
    assert "License-Expression: MIT" in metadata
    assert scripts.split() == ["[console_scripts]", "ostream=ostream.__main__:run"]


def test_the_source_distribution_contains_all_tracked_files(built: Path, checkout: Path) -> None:
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        names = {member.name[len(NAME) + 1 :] for member in archive.getmembers() if not member.isdir()}
    ours = {str(path.relative_to(checkout)) for path in checkout.rglob("*") if path.is_symlink() or path.is_file()}
    assert names - {"PKG-INFO"} == ours - {"PKG-INFO"}


def test_the_installed_wheel_runs_without_the_checkout(built: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path)
    before = set(os.listdir(venv / "bin"))
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "--no-index", "--no-deps"]
    run(*pip, built / f"{NAME}-py3-none-any.whl", cwd=tmp_path)
    assert set(os.listdir(venv / "bin")) - before == {"ostream"}
    (tmp_path / "r").write_bytes(body_of("chat-stream"))
    path = f"{venv}/bin:{os.environ['PATH']}"
    expected = run("sh", "-c", "ostream extract-content r", cwd=tmp_path, PATH=path)
    assert expected
    script = "ostream replay r -- sh -c 'ostream send -m m hi | python -m ostream extract-content'"
    assert run("sh", "-c", script, cwd=tmp_path, PATH=path) == expected
    assert run("sh", "-c", "ostream --install . 2>&1 && ./extract-content r", cwd=tmp_path, PATH=path).endswith(
        expected
    )
    where = run(venv / "bin" / "python", "-c", "import ostream; print(ostream.__file__)", cwd=tmp_path)
    assert where.startswith(str(venv))


def test_the_source_distribution_can_be_tested_and_built(built: Path, tmp_path: Path) -> None:
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    source = tmp_path / NAME
    assert "Traceback" not in run("make", "demo", cwd=source)
    run("make", "ostream.pyz", f"PYTHON={sys.executable}", cwd=source)
    assert run("./ostream.pyz", "--version", cwd=source) == f"ostream {__version__}\n"
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/protocol/test_ndjson.py", cwd=source)
    (source / "ostream.pyz").unlink()
    for path in [*source.rglob("__pycache__"), *source.glob(".hypothesis")]:
        shutil.rmtree(path, ignore_errors=True)
    again = build(source)
    wheels = [zipfile.ZipFile(folder / f"{NAME}-py3-none-any.whl") for folder in (built, again)]
    first, second = ({name: wheel.read(name) for name in wheel.namelist()} for wheel in wheels)
    assert first == second


def test_the_version_is_in_one_place() -> None:
    tracked = [ROOT / name for name in ("pyproject.toml", "Makefile")]
    tracked += [*(ROOT / "ostream").rglob("*.py"), *(ROOT / "scripts").iterdir()]
    holding = [str(path.relative_to(ROOT)) for path in tracked if path.is_file() and __version__ in path.read_text()]
    assert holding == ["ostream/version.py"]
    assert f"\nVersion {__version__} ·" in (ROOT / "README.md").read_text()
