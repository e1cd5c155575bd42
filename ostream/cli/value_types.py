"""Convert the values of options to numbers and other types."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


class ValueType:
    """The type of an option's value.

    `convert` converts the text of the value, and raises ValueError for text that it does not accept. The error message
    is then "must be `description`".
    """

    def __init__(self, convert: Callable[[str], Any], description: str) -> None:
        self.convert = convert
        self.description = description


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError
    return value


SECONDS = ValueType(_seconds, "a positive number of seconds")


def between(low: int, high: int) -> ValueType:
    """Return the type of an option's value that is a whole number from `low` to `high`."""

    def convert(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return ValueType(convert, f"a whole number from {low:,} to {high:,}")


COUNT = between(0, 10**9)
COUNT.description = "a whole number, 0 or more"
