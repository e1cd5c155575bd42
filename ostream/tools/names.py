"""Describe to a model which tools exist, so that it can correct a call of an unknown tool."""

from __future__ import annotations

import difflib
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

_MOST_NAMES = 50
_LONGEST_NAME = 100


def unknown_tool(name: str, names: Iterable[str]) -> str:
    """Return the tool message's content for a call of the unknown tool `name`.

    The content lists the existing `names` and suggests the name that the model probably meant.
    """
    names = list(names)
    near = nearest(name, names)
    hint = f"did you mean {near}? " if near else ""
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return f"error: there is no tool {name[:_LONGEST_NAME]!r}; {hint}available: {', '.join(names[:_MOST_NAMES])}{more}"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the name among `names` that a model probably meant by `name`, or "" if none is similar.

    For example, models write functions.add, tool:add, Add, add() or add<|channel|>analysis when they mean add.
    """
    plain = {_plain(known): known for known in names}
    name = name[:_LONGEST_NAME]
    for part in re.split(r"[^\w-]+", name):
        if _plain(part) in plain:
            return plain[_plain(part)]
    return next((plain[key] for key in difflib.get_close_matches(_plain(name), plain, 1, 0.7)), "")


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
