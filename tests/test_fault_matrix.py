"""The fault matrix: each cell, and that its page is current."""

from __future__ import annotations

import pytest

from tests.fault_matrix.matrix import Results, expected, page, run, wrong
from tests.fault_matrix.rows import GROUPS
from tests.process import ROOT
from tests.tiers import sample

ROWS = {f"{group}: {fault.name}": (group, fault) for group, faults in GROUPS.items() for fault in faults}
# make test runs one row of each group.
SAMPLE = [f"{group}: {faults[len(faults) // 2].name}" for group, faults in GROUPS.items()]


@pytest.fixture(name="matrix", scope="module")
def _matrix(request: pytest.FixtureRequest) -> Results:
    """All selected rows, run at once: they mostly wait."""
    selected = [item.callspec.params.get("row") for item in request.session.items if hasattr(item, "callspec")]
    return run(ROWS[row] for row in selected if row in ROWS)


@pytest.mark.parametrize("row", sample(ROWS, SAMPLE))
def test_every_cell_has_its_expected_outcome(row: str, matrix: Results) -> None:
    group, fault = ROWS[row]
    cells = matrix[group, fault.name]
    if cells[0].shown == "skipped":
        pytest.skip(cells[-1].shown)
    assert wrong({(group, fault.name): cells}) == []


def test_the_page_is_current() -> None:
    """Otherwise, run `make fault-matrix`."""
    assert (ROOT / "docs" / "fault-matrix.md").read_text() == page(expected())
