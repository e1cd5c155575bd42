"""Locked, appended and replaced files, on a real file system and with real processes."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Callable, Iterator

import pytest

from ostream.errors import InputError, OutputError
from ostream.system import files
from ostream.system.files import append, locked, read_all, replace, truncate, write_all
from tests.process import ROOT, Process, expect, small_files
from tests.tiers import sample

READ = os.O_RDWR
MAKE = os.O_RDWR | os.O_CREAT


def test_only_o_creat_creates_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(str(tmp_path / "f"), READ):
        pass
    with locked(str(tmp_path / "f"), MAKE) as fd:
        assert read_all(fd) == b""
        append(fd, b"a\n")
        append(fd, b"b\n")
        assert read_all(fd) == b"a\nb\n"
    assert (tmp_path / "f").read_bytes() == b"a\nb\n"


NOT_FILES: list[tuple[str, Callable[[Path], object], str]] = [
    ("a directory", Path.mkdir, "Is a directory"),
    ("a FIFO", os.mkfifo, "not a regular file"),
    ("a loop of links", lambda path: path.symlink_to(path), "Too many levels"),
    ("a device", lambda path: path.symlink_to(os.devnull), "not a regular file"),
]


@pytest.mark.parametrize(("make", "reason"), [case[1:] for case in NOT_FILES], ids=[case[0] for case in NOT_FILES])
def test_anything_but_a_regular_file_is_refused_without_waiting(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "f")
    for name, problem in (("f", reason), ("a\0b", "null")):
        with pytest.raises(InputError, match=problem), locked(str(tmp_path / name), READ):
            pass


def test_a_file_system_without_locks_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)  # none can be mounted without root
    with pytest.raises(InputError, match="can't be locked: No locks available"), locked(str(tmp_path / "f"), MAKE):
        pass


def test_a_lock_is_waited_for_until_the_path_names_the_locked_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old\n")
    got: list[bytes] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        with locked(str(path), READ) as fd:
            got.append(read_all(fd))

    with locked(str(path), READ) as first:
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(30)
        replace(str(path), [b"new\n"])
        assert read_all(first) == b"old\n"
    thread.join(30)
    assert got == [b"new\n"]


def test_a_file_removed_while_its_lock_is_awaited_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"")
    flock = fcntl.flock

    def remove(fd: int, operation: int) -> None:
        path.unlink()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove)
    with pytest.raises(FileNotFoundError), locked(str(path), READ):
        pass


def test_shared_locks_do_not_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a")
    path = str(tmp_path / "f")
    with locked(path, os.O_RDONLY, shared=True) as one, locked(path, os.O_RDONLY, shared=True) as other:
        assert read_all(one) == read_all(other) == b"a"


def test_an_append_that_does_not_fit_adds_nothing(tmp_path: Path) -> None:
    with small_files(1000), locked(str(tmp_path / "f"), MAKE) as fd:
        append(fd, b"a" * 900)
        with pytest.raises(OSError, match="too large"):
            append(fd, b"b" * 200)
        append(fd, b"c" * 100)
    assert (tmp_path / "f").read_bytes() == b"a" * 900 + b"c" * 100


def test_a_replacement_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with small_files(1000), pytest.raises(OutputError, match="too large"):
        replace(str(tmp_path / "f"), [b"a" * 900, b"b" * 200])
    with pytest.raises(OutputError, match="No such file"):
        replace(str(tmp_path / "none" / "f"), [b"new"])
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_an_exception_or_a_handled_signal_in_a_replacement_changes_nothing(tmp_path: Path) -> None:
    def interrupted() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    def signalled() -> Iterator[bytes]:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        yield b"half"

    (tmp_path / "f").write_bytes(b"old")
    handler = signal.signal(signal.SIGUSR1, lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        replace(str(tmp_path / "f"), interrupted())
    with pytest.raises(OutputError, match="Interrupted"):
        replace(str(tmp_path / "f"), signalled())
    signal.signal(signal.SIGUSR1, handler)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_replacement_follows_links_and_keeps_the_mode(tmp_path: Path) -> None:
    real = tmp_path / "folder" / "real"
    real.parent.mkdir()
    real.write_bytes(b"old")
    real.chmod(0o640)
    (tmp_path / "link").symlink_to(real)
    replace(str(tmp_path / "link"), [b"n", b"ew"])
    assert (tmp_path / "link").is_symlink()
    assert real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_mode_that_umask_allows(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        replace(str(tmp_path / "f"), [b"new"])
        with locked(str(tmp_path / "g"), MAKE):
            pass
    finally:
        os.umask(mask)
    assert (tmp_path / "f").read_bytes() == b"new"
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in "fg"} == {0o640}


def test_write_all_continues_after_a_short_write() -> None:
    reader, writer = os.pipe()
    data = bytes(1 << 20)
    thread = threading.Thread(target=lambda: (write_all(writer, data), os.close(writer)))
    thread.start()
    received = b"".join(iter(lambda: os.read(reader, 1000), b""))
    thread.join()
    os.close(reader)
    assert received == data


def test_without_wait_a_busy_lock_raises_blocking_io_error(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    with locked(path, MAKE), pytest.raises(BlockingIOError), locked(path, MAKE, wait=False):
        pass
    with locked(path, MAKE, wait=False) as fd:
        assert read_all(fd) == b""


def test_temporary_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    kept = ["f", "f.new", "f.0123456.new", "f.0123456g.new", "g.01234567.new", "f.01234567.newer"]
    for name in [*kept, "f.01234567.new", "f.89abcdef.new"]:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "f.aaaaaaaa.new").mkdir()
    (tmp_path / "link").symlink_to("f")

    def blocks() -> Iterator[bytes]:
        files.remove_unfinished(str(tmp_path / "link"))
        yield b"new"

    replace(str(tmp_path / "f"), blocks())
    assert (tmp_path / "f").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "link", "f.aaaaaaaa.new"])


def test_a_temporary_file_removed_before_it_is_locked_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def remove(fd: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        files.remove_unfinished(str(tmp_path / "f"))
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove)
    replace(str(tmp_path / "f"), [b"new"])
    assert os.listdir(tmp_path) == ["f"]


REPLACE = """
import os, signal, sys
from ostream.system.files import replace
def blocks():
    yield b"half"
    print("ready", flush=True)
    sys.stdin.read()
    yield b"new"
replace(sys.argv[1], blocks())
"""


ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1]


@pytest.mark.parametrize("number", sample(ENDING, [signal.SIGTERM]))
def test_a_signal_during_a_replacement_leaves_the_old_file_alone(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "f").write_bytes(b"old")
    script = f"import signal; signal.signal({number:d}, signal.SIG_DFL)\n{REPLACE}"
    process = Process(
        [sys.executable, "-c", script, str(tmp_path / "f")], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    expect(process.stdout, b"ready\n")
    process.send_signal(number)
    with process:
        process.communicate(timeout=30)
    assert process.returncode == -number
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_data_that_cannot_be_removed_is_reported_only_if_nothing_failed_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with open(path, "rb") as file:  # not open for writing, so ftruncate fails
        truncate(file.fileno(), 1)
        with pytest.raises(OutputError, match=r"^name: its end can't be removed: Invalid argument"):
            truncate(file.fileno(), 1, "name")
