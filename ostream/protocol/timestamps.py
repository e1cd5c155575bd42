"""Convert RFC 3339 times to nanoseconds since the Unix epoch."""

from __future__ import annotations

from _operator import add, itemgetter
from itertools import repeat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

_moment, _fraction, _separators = itemgetter(slice(19)), itemgetter(slice(20, -1)), itemgetter(19, -1)


def timestamps(values: Sequence[Any]) -> list[int | None]:
    """Return each RFC 3339 time, with up to 9 decimal places, in ns since the Unix epoch; None if it is not valid.

    `values` must not be empty. If all times are in the form of Ollama, such as 2025-01-01T00:00:00.123Z, they are
    converted without a Python call for each time, in a third of the time.
    """
    try:
        fractions = [*map(_fraction, values)]
        digits = "".join(fractions)
        if (
            {*map(_separators, values)} == {(".", "Z")}
            and digits.isdecimal()
            and digits.isascii()
            and all(fractions)
            and max(map(len, fractions)) < 10
        ):
            moments = map(_MOMENTS.__getitem__, map(_moment, values))
            return [*map(add, moments, map(int, map(str.ljust, fractions, repeat(9), repeat("0"))))]
    except (TypeError, LookupError):
        pass
    return [*map(_timestamp, values)]


def _timestamp(value: Any) -> int | None:
    if not isinstance(value, str):
        return None
    import re

    match = re.fullmatch(r"([^.Z+]{19})(?:\.([0-9]{1,9}))?(Z|[+-]\d\d:\d\d)", value, re.ASCII)
    if not match:
        return None
    moment, fraction, zone = match.groups()
    start_ns = _epoch_ns(moment, zone)
    return None if start_ns is None else start_ns + int((fraction or "0").ljust(9, "0"))


class _Moments(dict):  # type: ignore[type-arg]
    """Maps the first 19 characters of a time to ns. Many chunks of a stream were created in the same second."""

    def __missing__(self, moment: str) -> int | None:
        if len(self) >= 100:
            self.clear()
        self[moment] = _epoch_ns(moment)
        found: int | None = self[moment]
        return found


_MOMENTS = _Moments()


def _epoch_ns(moment: str, zone: str = "Z") -> int | None:
    from datetime import datetime

    digits = moment[:4] + moment[5::3] + moment[6::3]
    if not (moment[4::3] == "--T::" and digits.isdecimal() and digits.isascii()):
        return None  # fromisoformat accepts more forms
    try:
        seconds = datetime.fromisoformat(moment + zone.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return None
    return round(seconds) * 1_000_000_000
