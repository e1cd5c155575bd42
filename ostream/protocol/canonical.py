"""Convert requests and table rows to a canonical form, so that they can be hashed and compared.

Two request bodies have the same canonical form if they differ only in these ways, which do not change the answer:

- the values of `stream` and `keep_alive`
- the order of keys, except inside `format`, `response_format` and `tools`, where the order changes the answer
- the notation of a number: 0 and 0.0, or 1e3 and 1000
- fields that are null or absent, except inside those three fields and inside the arguments of a tool call
- `tools`, `images` and `options` that are empty or absent
"""

from __future__ import annotations

import hashlib
import json

from ostream.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Collection, Iterable, Mapping

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
        return _object(body, _IGNORED).encode()
    except RecursionError:
        raise RequestError("request: nested too deeply") from None


def row_sha256(row: Mapping[str, str], columns: Iterable[str]) -> str:
    """Return the SHA-256 of a table row's cells in `columns`, in hexadecimal. An answer contains it as `row_sha256`.

    Only the columns that the prompt was made from are hashed, so that a new column does not make an answer obsolete. A
    column that the row lacks counts as empty.
    """
    cells = [[column, row.get(column) or ""] for column in sorted(columns)]
    return hashlib.sha256(_encode(cells).encode()).hexdigest()


# This function builds the JSON text itself, because a batch needs it for each row of its input: copying the object in
# order and encoding the copy takes longer.
def _object(value: Mapping[str, Any], ignored: Collection[str] = ()) -> str:
    parts = []
    for key in sorted(value):
        field = value[key]
        if field is None or key in ignored:
            continue
        if type(field) is str:
            parts.append(f"{_quote(key)}:{_quote(field)}")
            continue
        if key in _ORDERED:
            text = _encode(_ordered(field))
        elif key == "messages" and type(field) is list:
            text = f"[{','.join(map(_message, field))}]"
        else:
            text = _text(field, key == "arguments")
        if key not in _ABSENT_WHEN_EMPTY or text not in ("{}", "[]"):
            parts.append(f"{_quote(key)}:{text}")
    return f"{{{','.join(parts)}}}"


def _message(value: Any) -> str:
    # Most messages have only these two keys. The general code takes three times as long for them.
    if type(value) is dict and len(value) == 2:
        text, role = value.get("content"), value.get("role")
        if type(text) is str and type(role) is str:
            return f'{{"content":{_quote(text)},"role":{_quote(role)}}}'
    return _text(value)


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
