"""`ostream` without a command: its list and help; --install and --uninstall: links, report, and other programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Callable

import pytest

from ostream.__main__ import COMMANDS
from ostream.installer.main_options import OPTIONS
from ostream.version import __version__
from tests.process import BIN, ROOT, call, environment, sh

NAMES = ["ostream", *COMMANDS]
PROGRAM = str(BIN / "ostream")
NEXT = "next: send -m MODEL 'Why is the sky blue?' | extract-content\n"


def version_of(path: Path) -> str:
    result = subprocess.run([path, "--version"], env=environment(), capture_output=True, check=True, timeout=60)
    return result.stdout.decode()


def install(directory: Path, **env: str) -> str:
    """Install, and return what is printed after the first line, the list of links."""
    result = call(PROGRAM, "--install", str(directory), env=env)
    assert (result.returncode, result.stderr) == (0, b"")
    first, _, rest = result.stdout.decode().partition("\n")
    assert first == f"linked {', '.join(NAMES)} in {directory}"
    return rest


def test_every_link_works(tmp_path: Path) -> None:
    install(tmp_path / "new" / "bin")
    assert sorted(os.listdir(tmp_path / "new" / "bin")) == sorted(NAMES) == sorted(os.listdir(ROOT / "bin"))
    for name in NAMES:
        link = tmp_path / "new" / "bin" / name
        assert os.readlink(link) == PROGRAM
        assert version_of(link) == (
            f"{name} (ostream) {__version__}\n" if name in COMMANDS else f"{name} {__version__}\n"
        )


def test_the_report_explains_how_to_add_the_directory_to_path(tmp_path: Path) -> None:
    directory = tmp_path / "a bin"
    advice = "is not on PATH; add this line to ~/.profile or the startup file of your shell:"
    assert install(directory) == f"{directory} {advice}\n  export PATH='{directory}':\"$PATH\"\n{NEXT}"
    fish = install(directory, SHELL="/usr/bin/fish")
    assert fish == f"{directory} is not on PATH; to add it, run: fish_add_path '{directory}'\n{NEXT}"


def test_the_report_names_programs_of_the_same_name_on_path(tmp_path: Path) -> None:
    before, directory, after = (tmp_path / name for name in ("before", "bin", "after"))
    for other, names in ((before, ["batch", "stats"]), (after, ["send"])):
        other.mkdir()
        for name in names:
            (other / name).touch(0o755)
    (tmp_path / "link").symlink_to(directory)  # the same directory by another name
    assert install(directory, PATH=f"/none::{tmp_path}/link:/bin") == NEXT
    assert install(directory, PATH=f"{before}:{directory}:{after}") == (
        f"batch, stats: {before} is earlier on PATH and has this name too; "
        f"put {directory} before it, or run ostream COMMAND\n"
        f"send: {after} has this name too, and comes later on PATH\n{NEXT}"
    )


def test_old_links_are_updated_and_removed(tmp_path: Path) -> None:
    moved = [(name, "/none/renamed") for name in ("extract-content", "extract-thinking", "run-tools")]
    for name, target in (
        *moved,
        ("send", "/none/ostream.pyz"),
        ("stats", "ostream-0.0.9.pyz"),
        ("batch", "../ostream"),
    ):
        (tmp_path / name).symlink_to(target)
    for _ in range(2):
        install(tmp_path)
        assert {os.readlink(tmp_path / name) for name in NAMES} == {PROGRAM}
        assert sorted(os.listdir(tmp_path)) == sorted(NAMES)
    result = call(PROGRAM, "--uninstall=~", env={"HOME": str(tmp_path)})
    assert (result.returncode, result.stdout.decode()) == (0, f"removed {', '.join(NAMES)} from {tmp_path}\n")
    assert os.listdir(tmp_path) == []
    assert call(PROGRAM, "--uninstall", str(tmp_path)).stdout.decode() == f"no links to ostream in {tmp_path}\n"


def foreign_ostream(path: Path) -> None:
    """A link to a program of the same name, as of the unrelated package on PyPI."""
    (path.parent.parent / "ostream").write_text("#!/bin/sh\n")
    path.symlink_to("../ostream")


FOREIGN: list[Callable[[Path], object]] = [
    lambda path: path.write_text("precious"),
    Path.mkdir,
    lambda path: path.symlink_to("/bin/true"),
    lambda path: path.symlink_to("/none/ostream-viewer"),
    lambda path: path.symlink_to("/proc/1/mem"),
    lambda path: path.symlink_to("/bin"),
    foreign_ostream,
]


@pytest.mark.parametrize("make", FOREIGN)
def test_files_that_ostream_did_not_create_are_kept(make: Callable[[Path], object], tmp_path: Path) -> None:
    taken = tmp_path / "bin" / "stats"
    taken.parent.mkdir()
    make(taken)
    before = os.lstat(taken)
    result = call(PROGRAM, "--install", str(taken.parent))
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode() == (
        f"ostream: {taken} already exists and was not created by ostream; nothing was changed; "
        "remove it or choose another directory\n"
    )
    assert os.listdir(taken.parent) == ["stats"]
    result = call(PROGRAM, "--uninstall", str(taken.parent))
    assert (result.returncode, result.stdout.decode()) == (
        0,
        f"no links to ostream in {taken.parent}\nkept {taken}: not a link to ostream\n",
    )
    assert (os.lstat(taken).st_ino, os.lstat(taken).st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("option", ["--install", "--uninstall"])
@pytest.mark.parametrize("values", [[], ["--help"], [""], ["a", "b"]])
def test_one_directory_is_needed(option: str, values: list[str]) -> None:
    result = call("ostream", option, *values)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode() == f"ostream: {option}: needs one DIR; see 'ostream --help'\n"


def test_the_error_names_the_file_that_cannot_be_made_or_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    result = call(PROGRAM, "--install", str(tmp_path / "file"))
    assert (result.returncode, result.stderr.decode()) == (1, f"ostream: {tmp_path}/file: File exists\n")
    install(tmp_path / "bin")

    def refuse(path: str, *others: str) -> None:
        raise PermissionError(13, "Permission denied", path, None, *others)

    refusing = SimpleNamespace(**{**vars(os), "symlink": refuse, "unlink": refuse})
    monkeypatch.setattr("ostream.installer.install.os", refusing)  # the tests use os.unlink too
    for option, directory, name in (("--install", "other", "ostream"), ("--uninstall", "bin", "ostream")):
        result = call(PROGRAM, option, str(tmp_path / directory))
        message = f"ostream: {tmp_path}/{directory}/{name}: Permission denied\n"
        assert (result.returncode, result.stderr.decode()) == (1, message)


def test_links_to_a_zipapp_in_the_same_directory_move_with_it(pyz: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(pyz, folder / "ostream.pyz")
    result = sh('"$BIN"/ostream.pyz --install "$BIN"', env={"BIN": str(folder)})
    assert result.returncode == 0, result.stderr
    assert {os.readlink(folder / name) for name in NAMES} == {"ostream.pyz"}
    folder = folder.rename(tmp_path / "moved")
    assert version_of(folder / "extract-content") == f"extract-content (ostream) {__version__}\n"
    assert sh("./ostream --uninstall .", cwd=folder).returncode == 0
    assert os.listdir(folder) == ["ostream.pyz"]


def test_the_program_itself_may_be_ostream_in_that_directory(pyz: Path, tmp_path: Path) -> None:
    shutil.copy(pyz, tmp_path / "ostream")
    for result in (call(f"{tmp_path}/ostream", "--install", str(tmp_path)), sh("./ostream --install .", cwd=tmp_path)):
        assert result.returncode == 0, result.stderr
    assert not (tmp_path / "ostream").is_symlink()
    assert {os.readlink(tmp_path / name) for name in COMMANDS} == {"ostream"}
    assert version_of(tmp_path / "send") == f"send (ostream) {__version__}\n"


def test_a_link_never_points_to_itself(pyz: Path, tmp_path: Path) -> None:
    """The program may be started by the very link, through another name of its directory."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ostream").symlink_to(pyz)
    (tmp_path / "too").symlink_to("bin")
    assert sh("too/ostream --install bin", cwd=tmp_path).returncode == 0
    assert os.readlink(folder / "ostream") == str(pyz)
    assert version_of(folder / "send") == f"send (ostream) {__version__}\n"


def test_python3_m_ostream_in_a_checkout_links_to_its_launcher(tmp_path: Path) -> None:
    assert sh("python3 -m ostream --install .", cwd=tmp_path).returncode == 0
    assert os.readlink(tmp_path / "send") == PROGRAM
    assert call(f"{ROOT}/ostream/__main__.py", "--install", str(tmp_path / "too")).returncode == 0
    assert os.readlink(tmp_path / "too" / "send") == PROGRAM


def test_python3_m_ostream_installed_by_pip_links_to_the_script_of_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", f"{tmp_path}/venv/bin/python3")
    script = tmp_path / "venv" / "bin" / "ostream"
    script.parent.mkdir(parents=True)
    script.touch(0o755)
    main = tmp_path / "venv" / "lib" / "ostream" / "__main__.py"
    assert call(str(main), "--install", str(tmp_path)).returncode == 0
    assert os.readlink(tmp_path / "send") == str(script)


def test_a_program_that_is_not_executable_is_not_linked_to(pyz: Path, tmp_path: Path) -> None:
    plain = tmp_path / "ostream.pyz"
    shutil.copy(pyz, plain)
    plain.chmod(0o644)
    result = sh("python3 ostream.pyz --install bin", cwd=tmp_path)
    assert result.returncode == 2
    advice = "make it executable, or run an installed ostream"
    assert result.stderr.decode() == f"ostream: {plain}: not an executable file; {advice}\n"
    assert not (tmp_path / "bin").exists()
    result = call(f"{ROOT}/ostream", "--install", str(tmp_path / "bin"))
    assert result.stderr.decode() == f"ostream: {ROOT}/ostream: not an executable file; {advice}\n"


def test_bare_ostream_lists_the_commands_and_is_a_usage_error() -> None:
    result = call("ostream")
    assert (result.returncode, result.stdout) == (2, b"")
    text = result.stderr.decode()
    assert text.startswith("usage: ostream COMMAND") and "\nRun 'ostream help COMMAND' for details.\n" in text
    for name, (kind, description) in COMMANDS.items():
        assert f" {name} {kind} {description} " in " ".join(text.split())


def test_help_is_that_of_the_option() -> None:
    text = call("ostream", "--help")
    assert text.returncode == 0 and call("ostream", "help").stdout == call("ostream", "-h").stdout == text.stdout
    assert text.stdout.startswith(b"usage: ostream COMMAND")
    assert all(option.encode() in text.stdout for option in OPTIONS if option != "--help")
    assert call("ostream", "help", "send").stdout == call("ostream", "send", "--help").stdout


def test_without_a_command_the_status_does_not_depend_on_stderr() -> None:
    assert sh("ostream 2>&-").returncode == sh("ostream").returncode == 2


def test_version() -> None:
    assert call("ostream", "--version").stdout.decode() == f"ostream {__version__}\n"


def test_help_names_the_program_as_it_was_called() -> None:
    assert sh("python3 -m ostream help").stdout.startswith(b"usage: python3 -m ostream COMMAND")
    assert sh("python3 -m ostream help send").stdout.startswith(b"usage: python3 -m ostream send ")
