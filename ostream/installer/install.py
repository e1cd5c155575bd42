"""ostream --install and --uninstall: create links to `ostream` with the names of its commands, and remove these links.

Other programs may have the same names. Therefore only links to an ostream program are replaced or removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys

from ostream.errors import OutputError, RequestError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Sequence

# bin/ostream, the console script that pip creates, and the zipapp all contain this.
_IMPORT = b"from ostream.__main__ import"
# The file names of these programs, to recognise a link whose target no longer exists.
_PROGRAM_NAME = re.compile(r"ostream(-\d[\w.]*)?(\.pyz)?")

# If links with all of these names have one target, it is ostream: no other program has all of these names.
_LINKED = ("extract-content", "extract-thinking", "run-tools")


def install(argv0: str, directory: str, names: Sequence[str]) -> list[str]:
    """Create links to the running program in a directory.

    Arguments:
        argv0: the path by which the program was started.
        directory: the directory. It is created if it is missing.
        names: the names of the links.

    Return lines for the user: which links were created, whether the directory is on PATH, which other programs on PATH
    have the same names, and what to do next.

    Raises RequestError if another program in the directory has one of the names (no link is changed then) or if the
    running program is not an executable file, and OutputError if the directory or a link can't be created.
    """
    program, directory = _program(_absolute(argv0)), _absolute(directory)
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{error.filename}: {reason(error)}") from None
    for name in names:
        path = os.path.join(directory, name)
        if os.path.lexists(path) and _place(path) != _place(program) and not is_link_to_ostream(path):
            raise RequestError(
                f"{path} already exists and was not created by ostream; nothing was changed",
                advice="remove it or choose another directory",
            )
    for name in names:
        _link(os.path.join(directory, name), program)
    return [f"linked {', '.join(names)} in {directory}\n", *_next_steps(directory, names)]


def uninstall(directory: str, names: Sequence[str]) -> list[str]:
    """Remove the links to ostream programs from `directory`, if they have one of `names`. Return lines for the user.

    Raises OutputError if a link can't be removed.
    """
    directory = _absolute(directory)
    removed, kept = [], []
    for name in names:
        path = os.path.join(directory, name)
        if is_link_to_ostream(path):
            try:
                os.unlink(path)
            except OSError as error:
                raise OutputError(f"{path}: {reason(error)}") from None
            removed.append(name)
        elif os.path.lexists(path):
            kept.append(f"kept {path}: not a link to ostream\n")
    return [
        f"removed {', '.join(removed)} from {directory}\n" if removed else f"no links to ostream in {directory}\n",
        *kept,
    ]


def is_link_to_ostream(path: str) -> bool:
    """Return whether `path` is a symbolic link to an ostream program of any version.

    If the target does not exist, return true if it has the file name of an ostream program, or if all of _LINKED are
    links to it.
    """
    if not os.path.islink(path):
        return False
    target = os.path.realpath(path)
    if not os.path.lexists(target):
        missing = os.readlink(path)
        directory = os.path.dirname(path)
        others = [name for name in _LINKED if _links_to(os.path.join(directory, name), missing)]
        return bool(_PROGRAM_NAME.fullmatch(os.path.basename(missing))) or others == [*_LINKED]
    if not os.path.isfile(target):
        return False
    try:
        with open(target, "rb") as file:
            return _IMPORT in file.read()
    except OSError:
        return False


def _links_to(path: str, target: str) -> bool:
    return os.path.islink(path) and os.readlink(path) == target


def _absolute(directory: str) -> str:
    # Not every shell expands the ~ in --install=~/bin.
    directory = os.path.expanduser(directory)
    try:
        return os.path.abspath(directory)
    except OSError as error:  # the current directory has been removed
        raise OutputError(f"{directory}: {reason(error)}") from None


def _program(path: str) -> str:
    """Return the path of the running program, as the target of links. Raises RequestError if it is not executable.

    `path` is the absolute path by which the program was started.
    """
    if os.path.basename(path) == "__main__.py":  # python3 -m ostream, from a checkout or installed by pip
        path = os.path.join(os.path.dirname(os.path.dirname(path)), "bin", "ostream")
        if not os.path.exists(path):
            path = os.path.join(os.path.dirname(sys.executable), "ostream")
    if not (os.path.isfile(path) and os.access(path, os.X_OK)):
        raise RequestError(f"{path}: not an executable file", advice="make it executable, or run an installed ostream")
    return path


def _link(path: str, program: str) -> None:
    directory, name = _place(program)
    if _place(path) == (directory, name):
        return
    new = f"{path}.{os.urandom(4).hex()}.new"
    try:
        # If link and program are in the same directory, the link is relative, so that the directory can be moved.
        os.symlink(name if _place(path)[0] == directory else program, new)
        os.replace(new, path)
    except OSError as error:
        # The message names the link. error.filename would be wrong: for symlink() it is the target.
        raise OutputError(f"{path}: {reason(error)}") from None


def _place(path: str) -> tuple[str, str]:
    """Return the real path of a file's directory, and the file's name. The file itself may be a link."""
    directory, name = os.path.split(path)
    return os.path.realpath(directory), name


def _next_steps(directory: str, names: Sequence[str]) -> Iterator[str]:
    from shlex import quote

    search = list(_search_path())
    if os.path.realpath(directory) in search:
        position = search.index(os.path.realpath(directory))
        for other, hidden in _same_names(directory, names, search[:position]):
            yield f"{hidden}: {other} is earlier on PATH and has this name too; "
            yield f"put {directory} before it, or run ostream COMMAND\n"
        for other, hidden in _same_names(directory, names, search[position + 1 :]):
            yield f"{hidden}: {other} has this name too, and comes later on PATH\n"
    elif os.environ.get("SHELL", "").endswith("/fish"):
        yield f"{directory} is not on PATH; to add it, run: fish_add_path {quote(directory)}\n"
    else:
        yield f"{directory} is not on PATH; add this line to ~/.profile or the startup file of your shell:\n"
        yield f'  export PATH={quote(directory)}:"$PATH"\n'
    yield "next: send -m MODEL 'Why is the sky blue?' | extract-content\n"


def _search_path() -> Iterator[str]:
    """Yield the real paths of the directories on PATH."""
    for each in filter(None, os.environ.get("PATH", "").split(os.pathsep)):
        with contextlib.suppress(OSError):  # a relative name, and the current directory has been removed
            yield os.path.realpath(each)


def _same_names(directory: str, names: Sequence[str], search: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each directory of `search` that contains other programs with some of `names`, and these names as text."""
    for other in dict.fromkeys(search):
        found = [name for name in names if _is_other_program(os.path.join(other, name), os.path.join(directory, name))]
        if found:
            yield other, ", ".join(found)


def _is_other_program(path: str, link: str) -> bool:
    return os.access(path, os.X_OK) and not os.path.samefile(path, link)
