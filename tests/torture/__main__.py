"""python -m tests.torture [WORD]: print the matrix, or the rows that have WORD in them; the whole goes to docs/."""

from __future__ import annotations

import sys

from tests.process import ROOT
from tests.torture.faults import GROUPS
from tests.torture.matrix import page, run, wrong


def main(word: str = "") -> int:
    rows = [(group, fault) for group, faults in GROUPS.items() for fault in faults if word in f"{group}: {fault.name}"]
    results = run(rows)
    print(page(results))
    if not word:
        (ROOT / "docs" / "torture.md").write_text(page(results))
    failures = wrong(results)
    print("\n".join(failures) or f"{len(results)} faults, every cell is as it should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
