"""Bars of text: readable without colour, fitted to a width."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bars(rows: Sequence[tuple[str, float, str]], width: int) -> str:
    """One line for each (label, value, value as text); the longest bar takes what the labels and values leave."""
    label_width = min(max((len(label) for label, _, _ in rows), default=0), max(width // 3, 8))
    shown_width = max((len(shown) for _, _, shown in rows), default=0)
    room = max(width - label_width - shown_width - 3, 8)
    most = max((value for _, value, _ in rows), default=0) or 1
    lines = []
    for label, value, shown in rows:
        if len(label) > label_width:
            label = label[: label_width - 1] + "…"
        lines.append(f"{label:<{label_width}} {shown:>{shown_width}} {_bar(value / most, room)}".rstrip() + "\n")
    return "".join(lines)


def _bar(part: float, room: int) -> str:
    eighths = round(part * room * 8)
    if part > 0 and not eighths:
        eighths = 1  # something is not nothing
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def histogram(values: Sequence[float], bins: int = 12) -> list[tuple[float, float, int]]:
    """(from, to, how many) for equal ranges from 0 to the largest; `to` belongs to the last range only."""
    most = max(values, default=0) or 1
    counts = [0] * bins
    for value in values:
        counts[min(int(value * bins / most), bins - 1)] += 1
    return [(most * index / bins, most * (index + 1) / bins, count) for index, count in enumerate(counts)]
