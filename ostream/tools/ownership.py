"""Check that no other user can replace a file before it is executed.

Nobody but the user and root may be able to change the file or a directory on the way to it. These are the rules of
sshd for authorized_keys, applied to every component of the path:

- the owner is the user or root (of a directory above, also the owner of /);
- it is not writable by others, nor by its group unless that is the owner's private group (umask 002);
- a directory that others may write to is accepted if it is sticky, as /tmp is: there only the owner of the next
  component, which is checked as well, can rename or remove it.

When these hold, the file cannot change between the check and the execution.
"""

from __future__ import annotations

import os
import stat

from ostream.errors import RequestError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

ROOT = 0


def check_file(path: str) -> None:
    """Raise RequestError unless `path`, which has no symbolic links, is a regular file that nobody else can replace."""
    _check_parents(path)
    _check(path, stat.S_ISREG, "not a regular file")


def check_directory(path: str) -> None:
    """Raise RequestError unless `path`, which has no symbolic links, is a directory that nobody else can add to."""
    _check_parents(path)
    _check(path, stat.S_ISDIR, "not a directory")


def _check_parents(path: str) -> None:
    parents = []
    while os.path.dirname(path) != path:
        path = os.path.dirname(path)
        parents.append(path)
    for parent in reversed(parents):
        _check(parent, stat.S_ISDIR, "not a directory", is_parent=True)


def _check(path: str, is_kind: Callable[[int], bool], otherwise: str, is_parent: bool = False) -> None:
    try:
        found = os.lstat(path)
    except OSError as error:
        raise RequestError(f"{path}: {reason(error)}") from None
    if not is_kind(found.st_mode):
        raise RequestError(f"{path}: {otherwise}")
    trusted = [os.geteuid(), ROOT]
    if is_parent:
        # In a user namespace that does not map root, directories of root have the same owner as / (the overflow uid).
        trusted.append(os.lstat("/").st_uid)
    if found.st_uid not in trusted:
        raise _foreign_owner(path, found.st_uid, is_parent)
    if is_parent and found.st_mode & stat.S_ISVTX:
        return
    if found.st_mode & stat.S_IWOTH:
        raise RequestError(f"{path} is writable by every user", advice=f"run chmod o-w {_quoted(path)}")
    if found.st_mode & stat.S_IWGRP and not _is_private_group(path, found):
        raise RequestError(
            f"{path} is writable by group {_group_name(found.st_gid)}", advice=f"run chmod g-w {_quoted(path)}"
        )


def _foreign_owner(path: str, uid: int, is_parent: bool) -> RequestError:
    owner = _user_name(uid)
    if os.geteuid() != ROOT:
        return RequestError(f"{path} is owned by {owner}", advice="copy the tools to a directory of your own")
    mend = "copy the tools to a directory of root" if is_parent else f"run chown root {_quoted(path)}"
    return RequestError(f"{path} is owned by {owner}, not by root", advice=f"{mend}, or run this command as {owner}")


def _is_private_group(path: str, found: os.stat_result) -> bool:
    """Whether the owner is the only member of the file's group, as useradd makes it: same name, no other members."""
    import grp
    import pwd

    # With an access control list the group bits show its mask, which may stand for any user or group.
    if hasattr(os, "listxattr") and "system.posix_acl_access" in _attributes(path):
        return False
    try:
        group = grp.getgrgid(found.st_gid)
        owner = pwd.getpwuid(found.st_uid)
    except KeyError:
        # A container that runs as --user 1000:1000 has no names for these.
        return found.st_gid == found.st_uid
    return group.gr_name == owner.pw_name and owner.pw_gid == found.st_gid and {owner.pw_name}.issuperset(group.gr_mem)


def _attributes(path: str) -> list[str]:
    try:
        return os.listxattr(path)
    except OSError:
        return []  # a file system without extended attributes


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group_name(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _quoted(path: str) -> str:
    from shlex import quote

    return quote(path)
