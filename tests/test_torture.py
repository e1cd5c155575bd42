"""The fault matrix: every cell of it, that it can fail, and that its page is true."""

from __future__ import annotations

import pytest

from tests.process import ROOT
from tests.torture.faults import GROUPS
from tests.torture.lines import HM, LINES, A
from tests.torture.matrix import Results, expected, page, run, wrong
from tests.torture.sites import CHUNKED, LAST, chunks, looked_up, redirects, sends
from tests.torture.verdicts import CUT, REFUSED, WHOLE, Fault

ROWS = {f"{group}: {fault.name}": (group, fault) for group, faults in GROUPS.items() for fault in faults}


@pytest.fixture(name="matrix", scope="module")
def _matrix(request: pytest.FixtureRequest) -> Results:
    """All rows that tests ask for, run at once: most of their time is waiting for each other's processes."""
    asked = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    return run(ROWS[params["row"]] for params in asked if "row" in params and params["row"] in ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_a_fault_is_seen_and_named_and_survived(row: str, matrix: Results) -> None:
    group, fault = ROWS[row]
    cells = matrix[group, fault.name]
    if cells[0].shown == "skipped":
        pytest.skip(cells[-1].shown)
    assert wrong({(group, fault.name): cells}) == []


GOOD = sends(CHUNKED, chunks(*LINES), LAST)
# A row whose expectations are not met, and which of its cells notice.
MISTAKES = [
    (Fault("it is whole", GOOD, CUT, LINES, "without done"), "all"),
    (Fault("it is cut", sends(CHUNKED, chunks(HM, A), LAST), WHOLE, LINES), "all"),
    (Fault("more came", GOOD, WHOLE, (*LINES[:-2], LINES[-1])), "all"),
    (Fault("other words", sends(b"what?"), REFUSED, (), "something else"), "all"),
    (Fault("another code", redirects(302, False), REFUSED, (), "redirected", 301), "send and the library"),
]


@pytest.mark.parametrize(("fault", "who"), MISTAKES, ids=[fault.name for fault, _ in MISTAKES])
def test_a_wrong_cell_is_seen_and_marked(fault: Fault, who: str) -> None:
    results = run([("Mistakes", fault)])
    noticed = [bool(cell.wrong) for cell in results["Mistakes", fault.name]]
    assert noticed[:5] == ([True] * 5 if who == "all" else [True, True, True, False, False])
    assert page(results).count("**") == 2 + 2 * sum(noticed)
    assert len(wrong(results)) >= sum(noticed)


def test_a_cell_that_breaks_is_a_wrong_cell() -> None:
    broken = Fault("no regular expression", sends(b"what?"), REFUSED, (), "(")
    (row,) = run([("Mistakes", broken)]).values()
    assert all(cell.shown == "?" and cell.wrong for cell in row)


def test_what_can_not_be_done_here_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.torture.sites._namespace", lambda: ())
    (row,) = run([("", Fault("no such name", looked_up("unknown"), CUT))]).values()
    assert {cell.shown for cell in row[:-1]} == {"skipped"}
    assert row[-1].shown == "skipped: needs unshare, and the right to a network and a mount namespace"


@pytest.mark.parametrize("page", ["README.md", "docs/failures.md"])
def test_the_number_of_faults_is_the_one_that_is_told(page: str) -> None:
    assert f"{len(ROWS)} " in (ROOT / page).read_text(encoding="utf-8")


def test_the_page_is_that_of_this_matrix_with_no_cell_wrong() -> None:
    """If not, `make torture` makes it."""
    assert (ROOT / "docs" / "torture.md").read_text() == page(expected())
