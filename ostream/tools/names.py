"""Answer a call of a tool that does not exist, so that the model can correct itself."""

from __future__ import annotations

import difflib
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

_MOST_NAMES = 50
_LONGEST_NAME = 100


def unknown_tool(name: str, names: Iterable[str]) -> str:
    """The content of the tool message: the names there are, and the one that was probably meant."""
    names = list(names)
    near = nearest(name, names)
    hint = f"did you mean {near}? " if near else ""
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return f"error: there is no tool {name[:_LONGEST_NAME]!r}; {hint}available: {', '.join(names[:_MOST_NAMES])}{more}"


def nearest(name: str, names: Iterable[str]) -> str:
    """Which of `names` a model probably meant by `name`, or "".

    Models write functions.add, tool:add, Add, add() and add<|channel|>analysis for add.
    """
    plain = {_plain(known): known for known in names}
    name = name[:_LONGEST_NAME]
    for part in re.split(r"[^\w-]+", name):
        if _plain(part) in plain:
            return plain[_plain(part)]
    return next((plain[key] for key in difflib.get_close_matches(_plain(name), plain, 1, 0.7)), "")


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
