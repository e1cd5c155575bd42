"""Read CSV tables as a stream: a header row and rows of cells."""

from __future__ import annotations

import codecs
import csv

from ostream.batch.input_lines import UTF16_MARKS
from ostream.errors import InputError, RequestError
from ostream.protocol.ndjson import LINE_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, Iterator

# How the files of spreadsheet programs begin: .xlsx and .ods (ZIP archives), and .xls.
_WORKBOOK_MARKS = (b"PK\3\4", b"\xd0\xcf\x11\xe0")


def check_format(delimiter: str | None, encoding: str | None) -> str | None:
    """Return the character that a --delimiter option names, or None. Raises RequestError for values of no use."""
    if encoding is not None:
        try:
            b"\n\n\n\n".decode(encoding)  # LookupError also for codecs that do not decode to text, such as base64
        except (LookupError, UnicodeEncodeError):  # UnicodeEncodeError: the name is not UTF-8
            raise RequestError(
                f"--encoding {encoding}: unknown encoding", advice="for example utf-8, latin-1, cp1252"
            ) from None
        except UnicodeError:
            pass
    if delimiter is None:
        return None
    delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    if len(delimiter) != 1:
        raise RequestError("--delimiter: must be one character, or tab")
    return delimiter


class Table:
    """A CSV table in the format of RFC 4180, as spreadsheets write it.

    Arguments:
        blocks: the bytes of the table.
        name: the name of the table, for messages.
        delimiter: the character between cells. None: a comma; or a semicolon or tab if the header has no comma.
        encoding: the encoding of the text (default: utf-8).
        note: called with a message if a semicolon or tab is used because the header has no comma.

    Attributes:
        columns: the names of the columns.
        delimiter: the character between cells.

    Raises InputError for bytes that are not in `encoding`, for broken quoting and for a missing header.
    """

    def __init__(
        self,
        blocks: Iterable[bytes],
        name: str,
        delimiter: str | None,
        encoding: str | None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        csv.field_size_limit(LINE_LIMIT)
        self._name = name
        lines = _decoded_lines(blocks, name, encoding or "utf-8")
        header = next(lines, "")
        self.delimiter = delimiter or _delimiter(name, header, note)
        self._reader = csv.reader(_with_first(header, lines), delimiter=self.delimiter, strict=True)
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
            where = f"{self._name}:{self._reader.line_num}"
            if "new-line character" in str(error):
                raise InputError(
                    f"{where}: not CSV: a carriage return outside quotes",
                    advice=f"if all lines end with it, convert them: tr '\\r' '\\n' < {self._name}",
                ) from None
            raise InputError(f"{where}: not CSV: {error}") from None


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
        except UnicodeError as error:
            if not isinstance(error, UnicodeDecodeError):  # utf-16 before Python 3.13, punycode
                raise InputError(f"{name}: not {encoding}: {error}") from None
            if lineno == 1 and error.object.startswith(UTF16_MARKS):
                raise InputError(
                    f"{name}: is UTF-16 (it begins with its byte order mark)", advice="add --encoding utf-16"
                ) from None
            if lineno == 1 and error.object.startswith(_WORKBOOK_MARKS):
                raise InputError(
                    f"{name}: is not CSV", advice="if it is a spreadsheet, save it as CSV (UTF-8)"
                ) from None
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
