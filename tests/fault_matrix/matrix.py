"""Run faults against columns and render the page."""

from __future__ import annotations

import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Dict, Iterable, List, Tuple

import pytest

from tests.fault_matrix.columns import COLUMNS, Cell
from tests.fault_matrix.outcomes import Fault
from tests.fault_matrix.rows import GROUPS

Row = List[Cell]
Results = Dict[Tuple[str, str], Row]  # by group and name of the fault

INTRODUCTION = """# Fault matrix

Each row is a fault, caused by a real server on a real socket. Each column is a way to make the request.

Library cells name the exception raised (`complete`: none, and the answer is complete). Command cells contain the exit
status of the pipeline under plain `sh`. Each cell also checks every byte of the output, the one message on stderr, the
error line on stdout, and the number of connections. A cell that fails is **bold**.

`make fault-matrix` writes this page and fails if a cell is wrong.
"""


def run(rows: Iterable[tuple[str, Fault]]) -> Results:
    """Run all columns of these rows; rows that wait for timeouts have a pool of their own."""
    with ThreadPoolExecutor(4) as waiting, ThreadPoolExecutor(4) as working:
        futures: dict[tuple[str, str], Future[Row]] = {
            (group, fault.name): (waiting if fault.waits else working).submit(_row, fault) for group, fault in rows
        }
        return {key: future.result() for key, future in futures.items()}


def _row(fault: Fault) -> Row:
    try:
        with fault.serve() as server, tempfile.TemporaryDirectory() as scratch:

            def cell(number: int) -> Cell:
                directory = Path(scratch) / str(number)
                directory.mkdir()
                try:
                    return COLUMNS[number].ask(fault, server, directory)
                except Exception as error:  # a defect in the test itself: report it in this cell only
                    return Cell("?", [repr(error)])

            with ThreadPoolExecutor(len(COLUMNS) if fault.waits else 1) as pool:
                row = list(pool.map(cell, range(len(COLUMNS))))
            if server.connections > len(COLUMNS) * server.requests:
                row[0].wrong.append(f"{server.connections} connections for {len(COLUMNS)} x {server.requests} requests")
            if server.elsewhere:
                row[0].wrong.append(f"{server.elsewhere} connections to the target of a redirect")
            return row
    except pytest.skip.Exception as skipped:
        return [Cell("skipped", [])] * (len(COLUMNS) - 1) + [Cell(f"skipped: {skipped}", [])]


def expected() -> Results:
    """The matrix with the expected value in each cell."""
    return {
        (group, fault.name): [Cell(column.expected(fault), []) for column in COLUMNS]
        for group, faults in GROUPS.items()
        for fault in faults
    }


def page(results: Results) -> str:
    """Render the matrix as Markdown; wrong cells are **bold**."""
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
    """One line per deviation."""
    return [
        f"{group}: {name}: {column.name}: {reason}"
        for (group, name), row in results.items()
        for column, cell in zip(COLUMNS, row)
        for reason in cell.wrong
    ]
