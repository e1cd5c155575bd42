"""ostream --install: the commands under their bare names, as links in a directory of the user's choice."""

from __future__ import annotations

import os
import re

from ostream.errors import OutputError, RequestError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

# What the program may be called, and so what a link of ours points to.
_OURS = re.compile(r"ostream([.-].*)?")


def install(program: str, folder: str, names: Iterable[str]) -> str:
    """Link each of `names` in `folder`, which is made if need be, to `program`; gives a note, or "".

    All or nothing, as far as can be told before: raises RequestError for a name that is taken by something else.
    """
    program, folder = _program(program), os.path.abspath(folder)
    try:
        os.makedirs(folder, exist_ok=True)
        for name in names:
            if _is_taken(os.path.join(folder, name), program):
                raise RequestError(
                    f"{os.path.join(folder, name)}: is there, and no link to ostream",
                    advice="nothing was changed; remove it, or name another directory",
                )
        for name in names:
            _link(os.path.join(folder, name), program)
    except OSError as error:
        raise OutputError(f"{error.filename or folder}: {reason(error)}") from None
    path = os.environ.get("PATH", "").split(os.pathsep)
    if any(os.path.realpath(each) == os.path.realpath(folder) for each in path if each):
        return ""
    return f"{folder}: is not on PATH; add it there"


def _program(argv0: str) -> str:
    """The file that runs us, to be linked to."""
    path = os.path.abspath(argv0)
    if os.path.basename(path) == "__main__.py":  # python3 -m ostream, of a checkout
        path = os.path.join(os.path.dirname(os.path.dirname(path)), "bin", "ostream")
    if not (os.path.isfile(path) and os.access(path, os.X_OK)):
        raise RequestError(
            f"{path}: is no program to link to", advice="make it executable, or run an installed ostream"
        )
    return path


def _is_taken(path: str, program: str) -> bool:
    """Does something stand there that is neither the program itself nor a link of ours, be it to an older place?"""
    if not os.path.lexists(path) or _place(path) == _place(program):
        return False
    return not (os.path.islink(path) and _OURS.fullmatch(os.path.basename(os.readlink(path))))


def _link(path: str, program: str) -> None:
    place, name = _place(program)
    if _place(path) == (place, name):
        return
    new = f"{path}.{os.urandom(4).hex()}.new"
    os.symlink(name if _place(path)[0] == place else program, new)
    os.replace(new, path)


def _place(path: str) -> tuple[str, str]:
    """The true directory of a file, and its name there: the file itself may be a link."""
    folder, name = os.path.split(path)
    return os.path.realpath(folder), name
