"""Which cases run without --full."""

from __future__ import annotations

from typing import Any, Collection, Iterable

import pytest

from tests.process import COMMANDS, FILTERS


def sample(cases: Iterable[Any], kept: Collection[Any] | int) -> list[Any]:
    """Mark cases as `full`, except those in `kept` or, if it is a number, every kept-th case."""
    return [
        case if (number % kept == 0 if isinstance(kept, int) else case in kept) else _full(case)
        for number, case in enumerate(cases)
    ]


def _full(case: Any) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.full)


# Commands share the code that these tests run: make test takes one of each kind, and two filters.
some_commands = pytest.mark.parametrize("command", sample(COMMANDS, ["send", "replay", "extract-content"]))
some_filters = pytest.mark.parametrize("command", sample(FILTERS, ["extract-content", "stats"]))
