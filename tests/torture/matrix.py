"""Faults times columns: run, and shown as a page."""

from __future__ import annotations

import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Dict, Iterable, List, Tuple

import pytest

from tests.torture.columns import COLUMNS, Cell
from tests.torture.faults import GROUPS
from tests.torture.verdicts import Fault

Row = List[Cell]
Results = Dict[Tuple[str, str], Row]  # by group and name of the fault

INTRODUCTION = """# The fault matrix

Every row is something that goes wrong between a server and its reader, done for real by a server on a real socket, and
every column is a way to ask.
A cell of the library names the exception raised (`whole`: none, and the answer is all there), a cell of a command
line is its exit status under plain `sh`, that of the last command; it is **bold** if that is wrong, or any byte of the
output, the one message on stderr, the one error line on stdout, or the number of connections made.
`make torture` makes this page, and fails if a cell is wrong.
"""


def run(rows: Iterable[tuple[str, Fault]]) -> Results:
    """Every column of these rows. Those that wait for clocks wait side by side; the others share the processors."""
    with ThreadPoolExecutor(4) as waiting, ThreadPoolExecutor(4) as working:
        futures: dict[tuple[str, str], Future[Row]] = {
            (group, fault.name): (waiting if fault.waits else working).submit(_row, fault) for group, fault in rows
        }
        return {key: future.result() for key, future in futures.items()}


def _row(fault: Fault) -> Row:
    try:
        with fault.place() as site, tempfile.TemporaryDirectory() as scratch:

            def cell(number: int) -> Cell:
                directory = Path(scratch) / str(number)
                directory.mkdir()
                try:
                    return COLUMNS[number].ask(fault, site, directory)
                except Exception as error:  # a mistake of ours: in this cell, the others still have something to say
                    return Cell("?", [repr(error)])

            with ThreadPoolExecutor(len(COLUMNS) if fault.waits else 1) as pool:
                row = list(pool.map(cell, range(len(COLUMNS))))
            if site.connections > len(COLUMNS):
                row[0].wrong.append(f"{site.connections} connections for {len(COLUMNS)} requests")
            if site.elsewhere:
                row[0].wrong.append(f"{site.elsewhere} connections to where nobody should go")
            return row
    except pytest.skip.Exception as skipped:
        return [Cell("skipped", [])] * (len(COLUMNS) - 1) + [Cell(f"skipped: {skipped}", [])]


def expected() -> Results:
    """The matrix without a wrong cell."""
    return {
        (group, fault.name): [Cell(column.expected(fault), []) for column in COLUMNS]
        for group, faults in GROUPS.items()
        for fault in faults
    }


def page(results: Results) -> str:
    """The matrix as Markdown; a wrong cell is **bold**, and below it is said why."""
    parts = [INTRODUCTION]
    names = [f"`{column.name}`".replace("|", "\\|") for column in COLUMNS]
    for group in dict.fromkeys(group for group, _ in results):
        table = [["fault", *names]] + [
            [name, *(f"**{cell.shown}**" if cell.wrong else cell.shown for cell in row)]
            for (where, name), row in results.items()
            if where == group
        ]
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(line, widths)) + " |" for line in table]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        parts.append(f"## {group}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def wrong(results: Results) -> list[str]:
    """A line for each thing that is not as it should be."""
    return [
        f"{group}: {name}: {column.name}: {reason}"
        for (group, name), row in results.items()
        for column, cell in zip(COLUMNS, row)
        for reason in cell.wrong
    ]
