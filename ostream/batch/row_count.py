"""Count the rows of the input files in advance, so that the progress can show the total."""

from __future__ import annotations

import os
import stat

from ostream.batch.inputs import CSV, FILES
from ostream.batch.table import Table
from ostream.errors import InputError
from ostream.system.input import BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import FileIO
    from typing import Iterator

    from ostream.batch.inputs import InputFormat


def count_rows(files: list[str], form: InputFormat) -> int | None:
    """Return the number of rows in these files.

    Return None if it is not known: a file is not a regular file, is not read from its beginning, or can't be read.
    """
    if form.kind == FILES:
        return len(files)
    total = 0
    for name in files:
        try:
            # Do not open a FIFO here: when it is then closed, SIGPIPE may kill its writer.
            if not stat.S_ISREG(os.stat(0 if name == "-" else name).st_mode):
                return None
            with open(os.dup(0) if name == "-" else name, "rb", buffering=0) as file:
                if file.tell():
                    return None
                if form.kind == CSV:
                    total += sum(1 for _ in Table(_blocks(file), name, form.delimiter, form.encoding).rows())
                else:
                    total += _count_lines(file)
                file.seek(0)
        except (OSError, ValueError, InputError):
            return None
    return total


def _count_lines(file: FileIO) -> int:
    total = 0
    block = b"\n"
    for block in _blocks(file):
        total += block.count(b"\n")
    return total + (not block.endswith(b"\n"))


def _blocks(file: FileIO) -> Iterator[bytes]:
    return iter(lambda: file.read(32 * BLOCK), b"")
