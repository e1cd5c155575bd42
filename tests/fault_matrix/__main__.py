"""python -m tests.fault_matrix [WORD]: run the rows that contain WORD (default: all) and print them.

A complete run also writes docs/fault-matrix.md.
"""

from __future__ import annotations

import sys

from tests.fault_matrix.matrix import page, run, wrong
from tests.fault_matrix.rows import GROUPS
from tests.process import ROOT


def main(word: str = "") -> int:
    rows = [(group, fault) for group, faults in GROUPS.items() for fault in faults if word in f"{group}: {fault.name}"]
    results = run(rows)
    print(page(results))
    if not word:
        (ROOT / "docs" / "fault-matrix.md").write_text(page(results))
    failures = wrong(results)
    print("\n".join(failures) or f"{len(results)} faults, all cells correct")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
