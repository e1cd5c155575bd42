"""The fault matrix: each row of each group, and that its page is current."""

from __future__ import annotations

import pytest

from tests.fault_matrix.matrix import expected, page, run, wrong
from tests.fault_matrix.rows import GROUPS
from tests.process import ROOT


@pytest.mark.parametrize("group", GROUPS)
def test_every_cell_has_its_expected_outcome(group: str, full: bool) -> None:
    """The rows of a group run at once: they mostly wait. make test runs one row of each group."""
    faults = GROUPS[group]
    results = run((group, fault) for fault in (faults if full else [faults[len(faults) // 2]]))
    assert wrong(results) == []
    skipped = [cells[-1].shown for cells in results.values() if cells[0].shown == "skipped"]
    if skipped:
        pytest.skip("; ".join(skipped))


def test_the_page_is_current() -> None:
    """Otherwise, run `make fault-matrix`."""
    assert (ROOT / "docs" / "fault-matrix.md").read_text() == page(expected())
