"""Bar charts as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.cli.plot import bars, histogram


def test_the_longest_bar_fills_the_width_and_the_others_are_to_scale() -> None:
    shown = bars([("a", 8.0, "8"), ("bb", 4.0, "4"), ("c", 0.0, "0")], 25)
    assert shown == "a  8 ███████████████████\nbb 4 █████████▌\nc  0\n"
    assert len(shown.splitlines()[0]) == 24


def test_a_small_value_has_a_visible_bar() -> None:
    assert bars([("a", 1e9, "x"), ("b", 1.0, "y")], 40).splitlines()[1] == "b y ▏"


def test_no_rows_and_zero_have_no_bar() -> None:
    assert bars([], 80) == ""
    assert bars([("a", 0.0, "0")], 80) == "a 0\n"


ROW = st.tuples(st.text("abc é", max_size=60), st.floats(0, 1e30), st.text("0123.", max_size=12))


@given(st.lists(ROW, max_size=9), st.integers(1, 200))
def test_a_plot_has_one_line_for_each_row_and_fits_from_forty_columns(
    rows: list[tuple[str, float, str]], width: int
) -> None:
    lines = bars(rows, width).splitlines()
    assert len(lines) == len(rows)
    assert width < 40 or all(len(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("values", "counts"), [([0, 1, 2, 3, 4], [1, 1, 1, 2]), ([5], [0, 0, 0, 1]), ([0, 0], [2, 0, 0, 0]), ([], [0] * 4)]
)
def test_a_histogram_counts_every_value_once(values: list[float], counts: list[int]) -> None:
    ranges = histogram(values, bins=4)
    assert [count for _, _, count in ranges] == counts
    assert ranges[0][0] == 0 and ranges[-1][1] == (max(values, default=0) or 1)
