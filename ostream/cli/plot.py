"""Draw bar charts as lines of text that fit into a given width."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bars(rows: Sequence[tuple[str, float, str]], width: int) -> str:
    """Return a bar chart with one line for each row of (label, value, value as text).

    The lines fit into `width` columns, unless `width` leaves fewer than 8 columns for the bars.
    """
    label_width = min(max((len(label) for label, _, _ in rows), default=0), max(width // 3, 8))
    shown_width = max((len(shown) for _, _, shown in rows), default=0)
    bar_width = max(width - label_width - shown_width - 3, 8)
    most = max((value for _, value, _ in rows), default=0) or 1
    lines = []
    for label, value, shown in rows:
        if len(label) > label_width:
            label = label[: label_width - 1] + "…"
        lines.append(f"{label:<{label_width}} {shown:>{shown_width}} {_bar(value / most, bar_width)}".rstrip() + "\n")
    return "".join(lines)


def _bar(part: float, bar_width: int) -> str:
    eighths = round(part * bar_width * 8)
    if part > 0 and not eighths:
        eighths = 1  # a small value must look different from 0
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def histogram(values: Sequence[float], bins: int = 12) -> list[tuple[float, float, int]]:
    """Return (from, to, count) for each of `bins` equal ranges from 0 to the largest value.

    The last range includes the largest value.
    """
    most = max(values, default=0) or 1
    counts = [0] * bins
    for value in values:
        counts[min(int(value * bins / most), bins - 1)] += 1
    return [(most * index / bins, most * (index + 1) / bins, count) for index, count in enumerate(counts)]
