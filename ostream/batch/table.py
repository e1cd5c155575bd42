"""Read CSV tables as a stream: a header row and rows of cells."""

from __future__ import annotations

import codecs
import csv

from ostream.errors import InputError, RequestError
from ostream.protocol.ndjson import LINE_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, Iterator


class Table:
    """A CSV table in the format of RFC 4180, as spreadsheets write it.

    Arguments:
        blocks: the bytes of the table.
        name: the name of the table, for messages.
        delimiter: the character between cells. None: a comma; or a semicolon or tab if the header has no comma.
        encoding: the encoding of the text.
        note: called with a message if a semicolon or tab is used because the header has no comma.

    Raises InputError for bytes that are not in `encoding`, for broken quoting and for a missing header.
    """

    def __init__(
        self,
        blocks: Iterable[bytes],
        name: str,
        delimiter: str | None,
        encoding: str,
        note: Callable[[str], None],
    ) -> None:
        csv.field_size_limit(LINE_LIMIT)
        self._name = name
        lines = _decoded_lines(blocks, name, encoding)
        header = next(lines, "")
        self._reader = csv.reader(
            _with_first(header, lines), delimiter=delimiter or _delimiter(name, header, note), strict=True
        )
        self.columns = next(self._cells(), (0, []))[1]
        if not any(self.columns):
            raise InputError(f"{name}: has no header row")

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of the first line of each row, and its cells. Blank lines are skipped."""
        return self._cells()

    def row(self, cells: list[str]) -> dict[str, str]:
        """Return a row as a dict from column to cell. Missing cells are empty.

        Raises RequestError if there are more cells than columns.
        """
        missing = len(self.columns) - len(cells)
        if missing < 0:
            raise RequestError(
                f"has {len(cells)} cells, the header {len(self.columns)}",
                advice="quote cells that contain the delimiter",
            )
        return dict(zip(self.columns, [*cells, *[""] * missing]))

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        try:
            end = self._reader.line_num
            for cells in self._reader:
                begin, end = end + 1, self._reader.line_num
                if cells:
                    yield begin, cells
        except csv.Error as error:
            raise InputError(f"{self._name}:{self._reader.line_num}: not CSV: {error}") from None


def _delimiter(name: str, header: str, note: Callable[[str], None]) -> str:
    if "," not in header:
        for delimiter, shown in ((";", "semicolons"), ("\t", "tabs")):
            if delimiter in header:
                note(f"{name}: columns are separated by {shown}")
                return delimiter
    return ","


def _decoded_lines(blocks: Iterable[bytes], name: str, encoding: str) -> Iterator[str]:
    """Decode blocks of bytes and yield the lines, without a byte order mark. Raises InputError."""
    decoder = codecs.getincrementaldecoder("utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding)()
    lineno = 1
    unfinished: list[str] = []
    for block in _with_end(blocks):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            lineno += error.object[: error.start].count(b"\n")
            raise InputError(
                f"{name}:{lineno}: not {encoding} (byte 0x{error.object[error.start]:02x})",
                advice="name the encoding, for example --encoding cp1252",
            ) from None
        *complete, rest = text.split("\n")
        for line in complete:
            lineno += 1
            yield "".join([*unfinished, line, "\n"])
            unfinished = []
        unfinished.append(rest)
    if any(unfinished):
        yield "".join(unfinished)


def _with_end(blocks: Iterable[bytes]) -> Iterator[bytes]:
    yield from blocks
    yield b""


def _with_first(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest
