"""Forms of a request and of a table's row that depend only on their meaning, for hashes and comparison.

Two request bodies have the same canonical form when a server answers them alike:

- `stream` and `keep_alive` do not count.
- Keys are sorted, except inside `format`, `response_format` and `tools`, where their order changes the answer.
- Equal numbers are the same: 0 and 0.0, 1e3 and 1000.
- A field that is null counts as absent (outside those three and the arguments of a tool call), and so do empty
  `tools`, `images` and `options`.
"""

from __future__ import annotations

import hashlib
import json

from ostream.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Mapping

_IGNORED = frozenset(("stream", "keep_alive"))
_ABSENT_WHEN_EMPTY = frozenset(("tools", "images", "options"))
_ORDERED = frozenset(("format", "response_format", "tools"))
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_quote = json.encoder.encode_basestring_ascii


def canonical_body(body: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of a request body, in ASCII.

    Raises RequestError for a body that is nested too deeply.
    """
    try:
        return _object({key: value for key, value in body.items() if key not in _IGNORED}).encode()
    except RecursionError:
        raise RequestError("request: nested too deeply") from None


def row_sha256(row: Mapping[str, str], columns: Iterable[str]) -> str:
    """Return the hash of a table row's cells in these columns, as `row_sha256` of an answer has it.

    Only the columns that a prompt was made of are hashed, so that a new column does not make an answer obsolete. A
    column that the row lacks counts as empty.
    """
    cells = [[column, row.get(column) or ""] for column in sorted(columns)]
    return hashlib.sha256(_encode(cells).encode()).hexdigest()


# The text is put together here, not by the encoder from an ordered copy: a batch needs it for each row of its input.
def _object(value: Mapping[str, Any]) -> str:
    parts = []
    for key in sorted(value):
        field = value[key]
        if type(field) is str:
            parts.append(f"{_quote(key)}:{_quote(field)}")
        elif field is not None:
            text = _encode(_ordered(field)) if key in _ORDERED else _text(field, key == "arguments")
            if key not in _ABSENT_WHEN_EMPTY or text not in ("{}", "[]"):
                parts.append(f"{_quote(key)}:{text}")
    return f"{{{','.join(parts)}}}"


def _text(value: Any, with_null: bool = False) -> str:
    if isinstance(value, dict):
        if with_null:
            return f"{{{','.join(f'{_quote(key)}:{_text(value[key], True)}' for key in sorted(value))}}}"
        return _object(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join([_text(item, with_null) for item in value])}]"
    return _encode(_number(value))


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(field) for key, field in value.items()}
    if isinstance(value, (list, tuple)):
        return [_ordered(item) for item in value]
    return _number(value)


def _number(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value
