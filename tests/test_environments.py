"""Restricted environments in which a pipeline must work, from the checkout and from the single file."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ostream.__main__ import main
from tests.process import BIN, ROOT, call, environment, unshare
from tests.server import body_of
from tests.tiers import sample

STREAM = body_of("chat-think-true")

# Uses all kinds of commands, sockets, processes, and characters of one to four bytes.
PIPELINE = (
    """exec "$OSTREAM" replay "$RECORDING" -- sh -c '"$OSTREAM" send -m m "naïve café 青空 😀" """
    """| "$OSTREAM" extract-thinking -w /dev/null | "$OSTREAM" extract-content' """
)

# Each is a script that ends with exec "$@". `python3` is the Python under test; $NEW is an empty directory.
ENVIRONMENTS = {
    "default": 'exec "$@"',
    "no environment": 'exec env -i PATH="$PATH" OSTREAM="$OSTREAM" RECORDING="$RECORDING" "$@"',
    "missing home directory": 'HOME=/no/such exec "$@"',
    "ASCII locale": 'exec env LC_ALL=C PYTHONIOENCODING=ascii PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 "$@"',
    "missing locale": 'LC_ALL=xx_XX.UTF-8 exec "$@"',
    "hostile PYTHONPATH": 'echo "raise SystemExit(1)" > "$NEW/os.py"; PYTHONPATH=$NEW PYTHONHOME=/no exec "$@"',
    "no standard input": 'exec "$@" <&-',
    "no standard error": 'exec "$@" 2>&-',
    "no terminal": 'exec setsid --wait "$@"',
    "deleted working directory": 'mkdir "$NEW/gone"; cd "$NEW/gone"; rmdir "$NEW/gone"; exec "$@"',
    "umask 777": 'umask 777; exec "$@"',
    "few descriptors": 'ulimit -n 16; exec "$@"',
    "no temporary directory": 'TMPDIR=/no/such exec "$@"',
    "no core, no lock, low priority": 'ulimit -c 0; ulimit -l 0; exec nice -n 5 "$@"',
}

# Environments that need namespaces: the options of unshare, and the script.
NAMESPACES = {
    "not root": ("--user", 'test "$(id -u)" != 0; exec "$@"'),
    "process 1": ("--map-root-user --fork --pid --kill-child", 'test $$ = 1; exec "$@"'),
    "a read-only file system": (
        "--map-root-user --mount",
        """while read -r _ point _; do mount -o remount,bind,ro "$point" 2>&- || :; done < /proc/mounts
        ! touch "$NEW/file" 2>&-; exec "$@" """,
    ),
    "no /dev": ("--map-root-user --mount", 'mount -t tmpfs none /dev; test ! -e /dev/null; exec "$@"'),
    "no /proc": ("--map-root-user --mount", 'mount -t tmpfs none /proc; test ! -e /proc/self; exec "$@"'),
    "no ssl": (
        "--map-root-user --mount",
        """file=$(python3 -I -c 'import ssl; print(ssl.__file__)'); echo 'raise ImportError("no ssl")' > "$NEW/ssl"
        mount --bind "$NEW/ssl" "$file"; ! python3 -I -c 'import ssl' 2>&-; exec "$@" """,
    ),
}

# Those that make test applies together: each script runs the next one.
ALONE = ["default", "ASCII locale", "no environment", "no standard error"]
TOGETHER = [name for name in ENVIRONMENTS if name not in ALONE]

# Shells that can be /bin/sh.
SHELLS = ["dash", "bash", "busybox", "mksh", "yash", "zsh"]


@pytest.fixture(name="program", params=sample(["checkout", "one file"], 2))
def _program(request: pytest.FixtureRequest, pyz: Path) -> Path:
    return BIN / "ostream" if request.param == "checkout" else pyz


def assert_pipeline_works(
    program: Path, folder: Path, *scripts: str, options: str = "", python: str = sys.executable
) -> None:
    """Run the pipeline in the environment that these scripts create; it must succeed and print no message."""
    wrapper = unshare(options) if options else []
    if options and not wrapper:
        pytest.skip(f"unshare {options} is not permitted here")
    (folder / "recording").write_bytes(STREAM)
    (folder / "bin").mkdir()
    # A script, not a link: a virtual environment is located by the path of its Python.
    (folder / "bin" / "python3").write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    (folder / "bin" / "python3").chmod(0o755)
    (folder / "new").mkdir()
    env = environment(OSTREAM=str(program), RECORDING=str(folder / "recording"), NEW=str(folder / "new"))
    env["PATH"] = f"{folder / 'bin'}:{env['PATH']}"
    del env["PYTHONPATH"]
    nested = [word for script in scripts for word in ("sh", "-euc", script, "sh")]
    argv = [*wrapper, *nested, "sh", "-c", PIPELINE]
    result = subprocess.run(argv, env=env, cwd=ROOT, input=b"", capture_output=True, timeout=120, check=False)
    # dash reports the missing directory, and several processes write at once.
    messages = re.sub(rb"sh: 0: |getcwd\(\) failed: No such file or directory|\n", b"", result.stderr)
    assert (result.returncode, messages) == (0, b""), result.stderr
    assert result.stdout == call("extract-content", stdin=STREAM).stdout != b""


@pytest.mark.linux  # setsid
@pytest.mark.parametrize("name", sample(ENVIRONMENTS, ALONE))
def test_an_environment(name: str, program: Path, tmp_path: Path) -> None:
    assert_pipeline_works(program, tmp_path, ENVIRONMENTS[name])


@pytest.mark.linux
def test_several_restrictions_together(program: Path, tmp_path: Path) -> None:
    assert_pipeline_works(program, tmp_path, *(ENVIRONMENTS[name] for name in TOGETHER))


@pytest.mark.parametrize("name", sample(NAMESPACES, set(NAMESPACES) - {"process 1"}))
@pytest.mark.linux
def test_an_environment_in_namespaces(name: str, program: Path, tmp_path: Path) -> None:
    options, script = NAMESPACES[name]
    assert_pipeline_works(program, tmp_path, script, options=options)


@pytest.mark.parametrize("shell", sample(SHELLS, ["dash", "busybox"]))
@pytest.mark.linux
def test_a_shell(shell: str, program: Path, tmp_path: Path) -> None:
    path = shutil.which(shell)
    if not path:
        pytest.skip(f"no {shell} here")
    script = f'mount --bind "$(readlink -f {path})" "$(readlink -f /bin/sh)"; exec "$@"'
    assert_pipeline_works(program, tmp_path, script, options="--map-root-user --mount")


IN_A_REMOVED_DIRECTORY = [
    ("send", ["-m", "m", "-c", "x", "hi"], 2),
    ("send", ["-g", "-m", "m", "--context", "x", "hi"], 2),
    ("batch", ["-m", "m", "--lines", "-o", "x"], 1),
    ("batch", ["-m", "m", "--lines", "--dry-run", "-o", "x"], 1),
    ("record", ["x"], 1),
    ("replay", ["x"], 2),
]


@pytest.mark.parametrize(("command", "arguments", "status"), IN_A_REMOVED_DIRECTORY)
def test_a_relative_name_in_a_removed_directory_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, arguments: list[str], status: int
) -> None:
    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    result = call(command, *arguments, stdin=b"hi\n")
    assert (result.returncode, result.stderr.decode()) == (status, f"{command}: x: No such file or directory\n")


def test_installing_from_a_removed_directory_requires_an_absolute_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    monkeypatch.setenv("PATH", ".", prepend=":")
    for option in ("--install", "--uninstall"):
        assert main([str(BIN / "ostream"), option, "x"]) == 1
        assert capfd.readouterr().err == "ostream: x: No such file or directory\n"
    assert main([str(BIN / "ostream"), "--install", str(tmp_path / "bin")]) == 0


PYTHONS = [*(f"python3.{minor}" for minor in range(8, 16)), "pypy3", "/usr/bin/python3"]


@pytest.mark.parametrize("python", sample(PYTHONS, ["/usr/bin/python3"]))
def test_a_python(python: str, program: Path, tmp_path: Path) -> None:
    """The interpreters on PATH."""
    path = shutil.which(python)
    old = "import sys; sys.exit(sys.version_info < (3, 8))"
    if path and not subprocess.run([path, "-c", old], stderr=subprocess.DEVNULL, check=False).returncode:
        assert_pipeline_works(program, tmp_path, python=path)
    elif python == "pypy3":
        pytest.skip("no pypy3 here")
