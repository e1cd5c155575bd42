"""Write answers as CSV: one row per response or, with --join, the rows of batch's input table and their answers."""

from __future__ import annotations

import csv
import io
import json

from ostream.batch.table import Table, check_format
from ostream.errors import IncompleteStream, InputError, OstreamError, RequestError
from ostream.protocol.canonical import row_sha256
from ostream.protocol.error_lines import response_error
from ostream.protocol.json_codec import strict_decoder
from ostream.system.input import input_name, read_input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

    from ostream.cli.filter_input import FilterInput

_BOM = "\ufeff"


def make_table_writer(
    as_csv: bool,
    columns: str | None,
    join: str | None,
    id_column: str | None,
    delimiter: str | None,
    encoding: str | None,
    bom: bool,
) -> CSVWriter:
    """Return the writer for the table options of extract-content.

    The arguments are the values of --csv, --columns, --join, --id, --delimiter, --encoding and --bom. Raises
    RequestError for options that can't be combined, an unknown encoding or an unknown column, and InputError if the
    file of --join can't be read as CSV.
    """
    if not (as_csv or join):
        raise RequestError("--columns, --id, --delimiter, --encoding and --bom need --csv or --join")
    if (id_column or delimiter or encoding) and not join:
        raise RequestError(
            "--id, --delimiter and --encoding need --join", advice="--columns names the columns of the output"
        )
    default = "content,error" if join else "id,content,error"
    names = [name.strip() for name in (columns or default).split(",")]
    if not all(name.strip(".") for name in names):
        raise RequestError(f"--columns {columns}: a name is missing", advice="for example --columns id,content,error")
    if not join:
        return CSVWriter(names, bom)
    return JoinWriter(names, bom, _InputTable(join, id_column, check_format(delimiter, encoding), encoding))


class CSVWriter:
    """Writes a CSV row for each response, and for each failure without a response.

    The columns `id`, `content` and `error` contain the id, the text and the error of the answer. Any other column
    contains the field of that name from the text, which must be a JSON object. A name that begins with a dot is always
    a field: `.id` is the field `id`.
    """

    def __init__(self, columns: Sequence[str], bom: bool, delimiter: str = ",") -> None:
        self._columns = columns
        self._delimiter = delimiter
        self._rows: list[Sequence[str]] = []
        self._begin = _BOM if bom else ""
        self._not_json = 0
        self._set_header(columns)

    def _set_header(self, names: Sequence[str]) -> None:
        self._rows = [[name.lstrip(".") if name in self._columns else name for name in names]]

    def add(
        self, last: Mapping[str, Any], text: str, problem: OstreamError | None, failed: Mapping[str, Any] | None
    ) -> None:
        """Add the row of a response.

        `last` is the last chunk of the response, or {} for a failure without a response. `text` is the text of the
        response. `problem` is the error of a complete response, and `failed` is the error line that ended the response;
        both may be None.
        """
        self._rows.append(self._cells(last, text, problem, failed))

    def write(self, source: FilterInput) -> None:
        """Write the rows that were added since the last call, with one write."""
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=self._delimiter, lineterminator="\n").writerows(self._rows)
        source.output.write_text([self._begin, out.getvalue()])
        self._rows, self._begin = [], ""

    def finish(self, source: FilterInput) -> None:
        """Write the remaining rows, and report how many answers lack a field that is a column."""
        self.write(source)
        if self._not_json:
            answers = "answer has" if self._not_json == 1 else "answers have"
            fields = ", ".join(filter(self._is_field, self._columns))
            error = OstreamError(
                f"{self._not_json:,} {answers} no value for a column ({fields})",
                advice="use batch -f SCHEMA to request JSON with these fields",
            )
            source.fail_at_end(error)

    def _cells(
        self, last: Mapping[str, Any], text: str, problem: OstreamError | None, failed: Mapping[str, Any] | None
    ) -> list[str]:
        id = last.get("id") if failed is None or "id" in last else failed.get("custom_id", failed.get("id"))
        error = str(response_error(failed)) if failed is not None else problem.error if problem else ""
        fields: dict[str, Any] = {}
        if any(map(self._is_field, self._columns)):
            fields = _object(text)
            missing = [column for column in filter(self._is_field, self._columns) if column.lstrip(".") not in fields]
            if missing and not error:
                self._not_json += 1
                error = f"no field {missing[0].lstrip('.')}" if fields else "not a JSON object"
        answer = {"id": id, "content": text, "error": error}
        return [
            _cell(fields.get(column.lstrip(".")) if self._is_field(column) else answer[column])
            for column in self._columns
        ]

    @staticmethod
    def _is_field(column: str) -> bool:
        return column not in ("id", "content", "error")


class JoinWriter(CSVWriter):
    """Writes the rows of a table in their original order, with the columns of the answer at the end of each row."""

    def __init__(self, columns: Sequence[str], bom: bool, table: _InputTable) -> None:
        super().__init__(columns, bom, table.delimiter)
        self._table = table
        # Maps an id to a tuple: the cells of the answer, the hash and the columns of the row that the prompt was made
        # from, and whether the answer is a failure.
        self._answers: dict[str, tuple[list[str], tuple[Any, list[str]], bool]] = {}
        self._set_header([*table.columns, *columns])

    def add(
        self, last: Mapping[str, Any], text: str, problem: OstreamError | None, failed: Mapping[str, Any] | None
    ) -> None:
        """Store the answer of a row. An answer replaces a failure, and a later answer replaces an earlier answer."""
        given = last if "id" in last else failed or {}
        key = str(given.get("custom_id", given.get("id")))
        if failed is None or key not in self._answers or self._answers[key][2]:
            columns = last.get("row_columns")
            names = [name for name in columns if isinstance(name, str)] if isinstance(columns, list) else []
            origin = last.get("row_sha256"), names
            self._answers[key] = self._cells(last, text, problem, failed), origin, failed is not None

    def write(self, source: FilterInput) -> None:
        """Write nothing: `finish` writes all rows, in the order of the table."""

    def finish(self, source: FilterInput) -> None:
        stale = missing = foreign = 0
        absent: list[str] = []
        rows = self._table.rows()
        for key, cells in rows:
            row = dict(zip(self._table.columns, cells))
            why = "no answer" if key else "no id"
            answer, origin, is_failure = self._answers.get(key, (self._blank(why), (None, []), True))
            if key not in self._answers:
                missing += 1
            elif not _is_current(row, *origin):
                absent += [column for column in origin[1] if column not in row]
                stale += 1
                answer = self._blank("stale")
            elif self._table.has_positions and origin[0] is None and not is_failure:
                # Its id is the number of a line of another file, such as a file of prompts without a header.
                foreign += 1
                answer = self._blank("not made from a row")
            self._rows.append([*cells, *answer])
        super().write(source)
        other = "use --id and --encoding as with batch, or " if stale + missing == len(rows) else ""
        if absent:
            error = InputError(
                f"{self._table.name}: has no column {absent[0]}, from which prompts were made",
                advice="give the table that batch read, with the same --delimiter",
            )
            source.fail_at_end(error)
        elif stale:
            text = "1 row changed since it was" if stale == 1 else f"{stale:,} rows changed since they were"
            advice = f"{other}send {'it' if stale == 1 else 'them'} again with batch --resume --changed=resend"
            source.fail_at_end(InputError(f"{text} answered", advice=advice))
        if foreign:
            text = "1 answer was" if foreign == 1 else f"{foreign:,} answers were"
            advice = "use --id if the requests have the ids of the rows, or make the requests with batch --csv"
            source.fail_at_end(InputError(f"{text} not made from the rows of a table", advice=advice))
        if missing:
            text = "1 row has" if missing == 1 else f"{missing:,} rows have"
            advice = f"{other}send {'it' if missing == 1 else 'them'} with batch --resume"
            source.fail_at_end(IncompleteStream(f"{text} no answer", advice=advice))
        super().finish(source)

    def _blank(self, error: str) -> list[str]:
        return [error if column == "error" else "" for column in self._columns]


class _InputTable:
    """The CSV file that batch read, with the same ids: the cell in `id_column`, or the row's number, counted from 0."""

    def __init__(self, name: str, id_column: str | None, delimiter: str | None, encoding: str | None) -> None:
        where = input_name(name)
        table = Table([read_input(name)], where, delimiter, encoding)
        self.name = where
        self.delimiter = table.delimiter
        self._rows = [cells for _, cells in table.rows()]
        # A row with more cells than the header would shift the columns of its answer.
        width = max(map(len, [table.columns, *self._rows]))
        self.columns = [*table.columns, *[""] * (width - len(table.columns))]
        if id_column is not None and id_column not in self.columns:
            known = ", ".join(table.columns)
            raise RequestError(f"--id {id_column}: no such column in {where}", advice=f"columns: {known}")
        self.has_positions = id_column is None
        self._id_index = None if id_column is None else self.columns.index(id_column)

    def rows(self) -> list[tuple[str, list[str]]]:
        """Return the id and the cells of each row. A row that is too short is filled with empty cells."""
        rows = []
        for number, cells in enumerate(self._rows):
            cells = [*cells, *[""] * (len(self.columns) - len(cells))]
            rows.append((str(number) if self._id_index is None else cells[self._id_index], cells))
        return rows


def _is_current(row: Mapping[str, str], sha256: Any, columns: Sequence[str]) -> bool:
    """Return False if the cells used in the prompt are known to have changed since the row was answered."""
    return not isinstance(sha256, str) or not columns or sha256 == row_sha256(row, columns)


def _object(text: str) -> dict[str, Any]:
    try:
        value = strict_decoder().decode(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)
