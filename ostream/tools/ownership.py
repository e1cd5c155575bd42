"""Check that no other user can replace a file before it is executed.

Only the user and root may be able to change the file or a directory above it. The rules are those of sshd for
authorized_keys. They apply to every component of the path:

- The owner of the component is the user or root. A directory above the file may also belong to the owner of /.
- Other users can't write to the component. Its group can't write to it either, unless the group is the owner's private
  group (as with umask 002).
- A directory above the file may be writable by others if it is sticky, like /tmp. In a sticky directory, only trusted
  owners can rename or remove the next component: the owner of the directory and the owner of the component, which is
  checked as well.

If these rules are met, no other user can change the file between the check and the execution.
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
    """Raise RequestError unless `path` is a regular file that no other user can replace.

    `path` must be absolute and without symbolic links.
    """
    _check_parents(path)
    _check(path, stat.S_ISREG, "not a regular file")


def check_directory(path: str) -> None:
    """Raise RequestError unless `path` is a directory to which no other user can add files.

    `path` must be absolute and without symbolic links.
    """
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
        # If a user namespace does not map root, root's directories and / all have the same owner, the overflow uid.
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
    """Return whether the owner of a file is the only member of the file's group.

    useradd creates such groups: the group has the name of the user and no other members.
    """
    import grp
    import pwd

    # If the file has an access control list, the group bits are the mask of the list, so any user may have access.
    if hasattr(os, "listxattr") and "system.posix_acl_access" in _attributes(path):
        return False
    try:
        group = grp.getgrgid(found.st_gid)
        owner = pwd.getpwuid(found.st_uid)
    except KeyError:
        # The ids may have no names, for example in a container that was started with --user 1000:1000.
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
