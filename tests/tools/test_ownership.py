"""Which files and directories another user could change, decided from owner, group and mode."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Any, Callable

import pytest

from ostream.errors import RequestError
from ostream.tools import ownership
from ostream.tools.ownership import check_directory, check_file

ME = 1000
OTHER = 1001


@pytest.fixture(name="stat_as")
def _stat_as(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set what lstat reports of a path, so that no other user is needed; everything else is root's, mode 755."""
    changes: dict[str, dict[str, int]] = {}
    lstat = os.lstat

    def changed(path: str) -> os.stat_result:
        found = lstat(path)
        change = {"uid": 0, "gid": 0, "mode": 0o755, **changes.get(path, {})}
        kind = found.st_mode & ~0o7777
        return os.stat_result((kind | change["mode"], *found[1:4], change["uid"], change["gid"], *found[6:]))

    def set_stat(path: Path, **change: int) -> None:
        changes[str(path)] = change

    names = {ME: "ann", OTHER: "bob", 0: "root"}
    groups = {ME: ("ann", []), 50: ("staff", []), 51: ("ann", ["bob"]), 0: ("root", [])}

    def user(uid: int) -> Any:
        if uid not in names:
            raise KeyError
        return pwd.struct_passwd((names[uid], "x", uid, uid, "", "/", "/bin/sh"))

    def group(gid: int) -> Any:
        if gid not in groups:
            raise KeyError
        return grp.struct_group((groups[gid][0], "x", gid, groups[gid][1]))

    monkeypatch.setattr(os, "lstat", changed)
    monkeypatch.setattr(os, "geteuid", lambda: ME)
    monkeypatch.setattr(pwd, "getpwuid", user)
    monkeypatch.setattr(grp, "getgrgid", group)
    return set_stat


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    path = tmp_path.resolve() / "dir" / "a file"
    path.parent.mkdir()
    path.touch()
    return path


ACCEPTED: list[tuple[str, dict[str, int]]] = [
    ("file", {"uid": ME}),
    ("file", {"uid": 0}),
    ("file", {"uid": ME, "gid": ME, "mode": 0o775}),  # umask 002
    ("file", {"uid": 0, "gid": 0, "mode": 0o775}),  # an image for any user of group root
    ("parent", {"uid": ME, "gid": ME, "mode": 0o2775}),
    ("parent", {"uid": ME, "gid": 50, "mode": 0o1775}),
]
REFUSED: list[tuple[str, dict[str, int], str]] = [
    ("file", {"uid": OTHER}, "is owned by bob; copy the tools to a directory of your own"),
    ("file", {"uid": 4242}, "is owned by user 4242; copy"),
    ("file", {"uid": ME, "mode": 0o757}, "is writable by every user; run chmod o-w "),
    ("file", {"uid": ME, "gid": 50, "mode": 0o775}, "is writable by group staff; run chmod g-w "),
    ("file", {"uid": ME, "gid": 51, "mode": 0o775}, "is writable by group ann; run chmod g-w "),
    ("file", {"uid": ME, "gid": 4242, "mode": 0o775}, "is writable by group 4242; run chmod g-w "),
    ("parent", {"uid": OTHER, "mode": 0o1755}, "is owned by bob"),
    ("parent", {"uid": ME, "mode": 0o777}, "is writable by every user"),
    ("parent", {"uid": 0, "gid": 50, "mode": 0o775}, "is writable by group staff"),
]


@pytest.mark.parametrize(("which", "change"), ACCEPTED)
def test_a_file_that_only_its_user_or_root_can_change_is_accepted(
    which: str, change: dict[str, int], file: Path, stat_as: Callable[..., None]
) -> None:
    stat_as(file if which == "file" else file.parent, **change)
    check_file(str(file))


@pytest.mark.parametrize(("which", "change", "message"), REFUSED)
def test_a_file_that_another_user_can_change_is_refused(
    which: str, change: dict[str, int], message: str, file: Path, stat_as: Callable[..., None]
) -> None:
    path = file if which == "file" else file.parent
    stat_as(path, **change)
    with pytest.raises(RequestError) as caught:
        check_file(str(file))
    assert f"{caught.value}; {caught.value.advice}".startswith(f"{path} {message}")


def test_a_directory_that_is_sticky_is_accepted_as_a_parent_only(file: Path, stat_as: Callable[..., None]) -> None:
    stat_as(file.parent, mode=0o1777)
    check_file(str(file))
    with pytest.raises(RequestError, match="is writable by every user"):
        check_directory(str(file.parent))


def test_the_owner_of_the_root_directory_may_own_parents_only(file: Path, stat_as: Callable[..., None]) -> None:
    """As in a user namespace that does not map root."""
    stat_as(Path("/"), uid=65534)
    stat_as(file.parent, uid=65534)
    check_file(str(file))
    with pytest.raises(RequestError, match="is owned by user 65534"):
        check_directory(str(file.parent))


def test_root_refuses_the_files_of_users_and_names_two_ways_out(
    file: Path, stat_as: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    check_file(str(file))
    stat_as(file, uid=OTHER)
    with pytest.raises(RequestError, match="is owned by bob, not by root") as caught:
        check_file(str(file))
    assert caught.value.advice == f"run chown root '{file}', or run this command as bob"
    stat_as(file.parent, uid=OTHER)
    with pytest.raises(RequestError, match="is owned by bob, not by root") as caught:
        check_file(str(file))
    assert caught.value.advice == "copy the tools to a directory of root, or run this command as bob"


def test_without_names_for_users_equal_numbers_are_a_private_group(
    file: Path, stat_as: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    stat_as(file, uid=4242, gid=4242, mode=0o775)
    check_file(str(file))
    stat_as(file, uid=4242, gid=4243, mode=0o775)
    with pytest.raises(RequestError, match="is writable by group 4243"):
        check_file(str(file))


@pytest.mark.linux
def test_a_group_mode_that_is_the_mask_of_an_access_control_list_is_not_trusted(
    file: Path, stat_as: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stat_as(file, uid=ME, gid=ME, mode=0o775)

    def listxattr(path: str) -> list[str]:
        if path == "no attributes":
            raise OSError
        return ["system.posix_acl_access"]

    monkeypatch.setattr(os, "listxattr", listxattr)
    with pytest.raises(RequestError, match="is writable by group ann"):
        check_file(str(file))
    assert ownership._attributes("no attributes") == []


def test_what_is_not_of_the_right_kind_is_refused(file: Path, stat_as: Callable[..., None]) -> None:
    for check, path, message in (
        (check_file, file.parent, "not a regular file"),
        (check_directory, file, "not a directory"),
        (check_file, file / "below", "not a directory"),
        (check_file, file.parent / "none", "No such file or directory"),
    ):
        with pytest.raises(RequestError, match=message):
            check(str(path))
