"""ostream --install: links that work, and nothing of anybody else's is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ostream.__main__ import COMMANDS
from ostream.version import __version__
from tests.process import BIN, ROOT, call, environment, sh

NAMES = ["ostream", *COMMANDS]
PROGRAM = str(BIN / "ostream")


def run_at(path: Path) -> str:
    """What the command at this path, and so by this name, says of itself."""
    result = subprocess.run([path, "--version"], env=environment(), capture_output=True, check=True, timeout=60)
    return result.stdout.decode()


def test_every_name_is_a_link_that_works(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "bin"
    result = call(PROGRAM, "--install", str(folder))
    note = f"ostream: {folder}: is not on PATH; add it there\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (0, b"", note)
    assert sorted(os.listdir(folder)) == sorted(NAMES)
    for name in NAMES:
        assert os.readlink(folder / name) == PROGRAM
        assert run_at(folder / name) == (
            f"{name} (ostream) {__version__}\n" if name in COMMANDS else run_at(BIN / name)
        )


@pytest.mark.parametrize("through", [False, True])
def test_on_path_there_is_nothing_to_say(through: bool, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    named = tmp_path / "link"
    named.symlink_to(folder)
    path = f"/no/such::{named if through else folder}:/bin"
    assert call(PROGRAM, f"--install={folder}", env={"PATH": path}).stderr == b""


def test_again_is_no_different_and_an_old_link_is_brought_up_to_date(tmp_path: Path) -> None:
    for name, target in (("send", "/no/such/ostream.pyz"), ("stats", "ostream-0.0.9.pyz"), ("batch", "../ostream")):
        (tmp_path / name).symlink_to(target)
    for _ in range(2):
        assert call(PROGRAM, "--install", str(tmp_path)).returncode == 0
        assert {os.readlink(tmp_path / name) for name in NAMES} == {PROGRAM}
        assert sorted(os.listdir(tmp_path)) == sorted(NAMES)


def _make_file(path: Path) -> None:
    path.write_text("precious")


def _make_folder(path: Path) -> None:
    path.mkdir()


def _make_link(path: Path) -> None:
    path.symlink_to("/bin/true")


@pytest.mark.parametrize("make", [_make_file, _make_folder, _make_link])
def test_what_is_not_ours_stays_and_nothing_else_is_made(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    taken = tmp_path / "stats"
    make(taken)
    before = os.lstat(taken)
    result = call(PROGRAM, "--install", str(tmp_path))
    advice = "nothing was changed; remove it, or name another directory"
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode() == f"ostream: {taken}: is there, and no link to ostream; {advice}\n"
    assert os.listdir(tmp_path) == ["stats"]
    assert os.lstat(taken) == before


USAGE = [
    ["--install"],
    ["--install", "--help"],
    ["--install", ""],
    ["--install="],
    ["--install", "a", "b"],
    ["--install=a", "b"],
]


@pytest.mark.parametrize("arguments", USAGE)
def test_one_directory_is_needed(arguments: list[str]) -> None:
    result = call("ostream", *arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr == b"ostream: --install: needs one DIR; see 'ostream --help'\n"


def test_where_nothing_can_be_made_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = call(PROGRAM, "--install", str(tmp_path / "file"))
    assert (result.returncode, result.stderr.decode()) == (1, f"ostream: {tmp_path}/file: File exists\n")


def test_from_a_zipapp_in_the_same_directory_the_links_move_with_it(pyz: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(pyz, folder / "ostream.pyz")
    result = sh('"$BIN"/ostream.pyz --install "$BIN"', env={"BIN": str(folder)})
    assert result.returncode == 0, result.stderr
    assert {os.readlink(folder / name) for name in NAMES} == {"ostream.pyz"}
    folder = folder.rename(tmp_path / "moved")
    assert run_at(folder / "extract-content") == f"extract-content (ostream) {__version__}\n"


def test_the_program_may_be_called_ostream_and_stand_there(pyz: Path, tmp_path: Path) -> None:
    shutil.copy(pyz, tmp_path / "ostream")
    for result in (call(f"{tmp_path}/ostream", "--install", str(tmp_path)), sh("./ostream --install .", cwd=tmp_path)):
        assert result.returncode == 0, result.stderr
    assert not (tmp_path / "ostream").is_symlink()
    assert {os.readlink(tmp_path / name) for name in COMMANDS} == {"ostream"}
    assert run_at(tmp_path / "send") == f"send (ostream) {__version__}\n"


def test_the_program_may_be_reached_in_another_way(pyz: Path, tmp_path: Path) -> None:
    """Or its own link would come to point to itself."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ostream").symlink_to(pyz)
    (tmp_path / "too").symlink_to("bin")
    assert sh("too/ostream --install bin", cwd=tmp_path).returncode == 0
    assert os.readlink(folder / "ostream") == str(pyz)
    assert run_at(folder / "send") == f"send (ostream) {__version__}\n"


def test_python3_m_ostream_of_a_checkout_links_to_its_launcher(tmp_path: Path) -> None:
    assert sh("python3 -m ostream --install .", cwd=tmp_path).returncode == 0
    assert os.readlink(tmp_path / "send") == PROGRAM
    assert call(f"{ROOT}/ostream/__main__.py", "--install", str(tmp_path / "too")).returncode == 0
    assert os.readlink(tmp_path / "too" / "send") == PROGRAM


def test_what_is_no_program_is_not_linked_to(pyz: Path, tmp_path: Path) -> None:
    plain = tmp_path / "ostream.pyz"
    shutil.copy(pyz, plain)
    plain.chmod(0o644)
    result = sh("python3 ostream.pyz --install bin", cwd=tmp_path)
    assert result.returncode == 2
    advice = "make it executable, or run an installed ostream"
    assert result.stderr.decode() == f"ostream: {plain}: is no program to link to; {advice}\n"
    assert not (tmp_path / "bin").exists()
    folder = call(f"{ROOT}/ostream", "--install", str(tmp_path / "bin"))
    assert folder.stderr.decode() == f"ostream: {ROOT}/ostream: is no program to link to; {advice}\n"


def test_every_name_of_the_checkout_is_installed() -> None:
    assert sorted(NAMES) == sorted(os.listdir(ROOT / "bin"))
