"""NDJSON: split blocks of bytes into lines, decode lines to objects, encode objects as lines.

- A line ends at b"\\n" only: a server may send U+0085 unescaped, where `str.splitlines` would split.
- Lines keep their b"\\n": joined they give the same bytes again, and a truncated last line is recognised.
- Between blocks only the unfinished line is kept, once, whatever the size of the blocks.
"""

from __future__ import annotations

import io
import json
import sys
from itertools import repeat

from ostream.errors import NotNDJSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator, NoReturn

# Images and contexts make lines of many megabytes; the official Go client stops at 8 MB. Decoding takes up to 27 times
# the size of a line (many small objects), so a line of this size may need 1.7 GB.
LINE_LIMIT = 64 << 20


def split_lines(blocks: Iterable[bytes], limit: int = LINE_LIMIT) -> Iterator[list[bytes]]:
    """Cut blocks of bytes into lines, each with its b"\\n".

    One list for each block that ends a line; the last line of all may lack its end. Raises NotNDJSON for a line of
    more than `limit` bytes.
    """
    unfinished = bytearray()
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end:
            # BytesIO splits at b"\n" only, keeps it, and takes half the time of split().
            lines = io.BytesIO(block[:end]).readlines()
            if unfinished:
                unfinished += lines[0]
                lines[0] = bytes(unfinished)
                unfinished = bytearray()
            if max(end, len(lines[0])) > limit:
                yield from _up_to_too_long(lines, limit)
            else:
                yield lines
        unfinished += block[end:]
        if len(unfinished) > limit:
            _raise_too_long(unfinished, limit)
    if unfinished:
        yield [bytes(unfinished)]


def _up_to_too_long(lines: list[bytes], limit: int) -> Iterator[list[bytes]]:
    """Yield lines of which one may be too long, then raise NotNDJSON for that one."""
    for index, line in enumerate(lines):
        if len(line) > limit:
            if index:
                yield lines[:index]
            _raise_too_long(line, limit)
    yield lines


def _raise_too_long(line: bytes | bytearray, limit: int) -> NoReturn:
    raise NotNDJSON(f"a line of more than {limit:,} bytes", bytes(line[:1000]))


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(number: str) -> float:
    """Decode 1e999 as the largest float, as jq does: infinity cannot be encoded again."""
    return max(-sys.float_info.max, min(float(number), sys.float_info.max))


# Decodes only what can be encoded again: no NaN, no infinity.
strict = json.JSONDecoder(parse_constant=_reject_constant, parse_float=_finite)


def decode_line(line: bytes) -> dict[str, Any] | None:
    """Return the object on a line, or None for a blank line.

    Bytes that are not UTF-8 become U+FFFD. Raises NotNDJSON, whose message gives the reason and the column.
    """
    if line == b"\n":
        return None
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = line.decode(errors="replace")
    try:
        value, end = strict.raw_decode(text)
        # The usual end of a line, one b"\n", is checked without a slice.
        if (len(text) - end != 1 or line[-1] != 10) and text[end:].strip(" \t\r\n"):
            raise json.JSONDecodeError("Extra data", text, end)
    except (ValueError, RecursionError) as error:
        # Rare: leading spaces or a byte order mark, a blank line, or damage.
        bare = text.lstrip("\ufeff \t\r\n")
        if not bare:
            return None
        if bare != text:
            try:
                return decode_line(bare.encode())
            except NotNDJSON as damage:
                damage.line = line
                raise
        raise NotNDJSON(_reason(bare, error), line) from None
    if not isinstance(value, dict):
        raise NotNDJSON(f"not a JSON object but {_TYPE_NAMES[type(value)]}", line)
    return value


_scan_once = strict.scan_once  # type: ignore[attr-defined]


def decode_lines(lines: list[bytes]) -> tuple[list[dict[str, Any] | None], NotNDJSON | None]:
    """Apply `decode_line` to each line, up to the first that is damaged; only the last may lack its b"\n".

    Returns the objects, and the error of the damaged line or None. Without a Python call for each line: that would
    take a quarter of the time.
    """
    try:
        texts = [*map(bytes.decode, lines)]
        values, ends = zip(*map(_scan_once, texts, repeat(0)))
        # Each value ends before its b"\n", so equal sums prove that nothing else is on any line. A StopIteration of
        # the scanner, at a line without a value, ends map() early.
        if (
            len(ends) == len(lines)
            and lines[-1][-1] == 10
            and sum(ends) == sum(map(len, texts)) - len(lines)
            and {*map(type, values)} == {dict}
        ):
            return [*values], None
    except (ValueError, RecursionError, IndexError):
        pass
    return _decode_each(lines)


def _decode_each(lines: list[bytes]) -> tuple[list[dict[str, Any] | None], NotNDJSON | None]:
    values: list[dict[str, Any] | None] = []
    for line in lines:
        # Before anything that raises, so that megabytes of blank lines take a second and not a minute.
        if not line.strip(b" \t\r\n"):
            values.append(None)
            continue
        try:
            text = line.decode()
            value, end = _scan_once(text, 0)
            is_object = text[end:] == "\n" and type(value) is dict
        except (ValueError, StopIteration, RecursionError):
            is_object = False
        try:
            values.append(value if is_object else decode_line(line))
        except NotNDJSON as damage:
            return values, damage
    return values, None


def is_torn(line: bytes) -> bool:
    """True if `line`, which does not decode, is the truncated beginning of an object."""
    return not line.endswith(b"\n") and line.lstrip(b"\xef\xbb\xbf \t\r").startswith(b"{")


def is_cut(line: bytes) -> bool:
    """True if `line` is a truncated object, as a writer leaves that was killed while writing."""
    try:
        decode_line(line)
    except NotNDJSON:
        return is_torn(line)
    return False


_TYPE_NAMES = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _reason(text: str, error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        reason = f"not JSON: {error.msg} at column {error.pos + 1}"
    elif isinstance(error, RecursionError):
        reason = "not usable: nested too deeply"
    else:
        reason = f"not usable: {str(error).partition(';')[0]}"
    start = text[:64].lower()
    for prefixes, hint in _HINTS:
        if start.startswith(prefixes):
            return f"{reason}; {hint}"
    return reason


_HINTS = (
    (
        ("data:", "event:", "id:", "retry:", ":"),
        "these are server-sent events, not NDJSON (is this an OpenAI-style address?)",
    ),
    (("<",), "this is HTML or XML, not NDJSON (is this a proxy or a login page?)"),
    (("\x1f\ufffd",), "this is gzip data; decompress it with 'gzip -dc'"),
    # A byte order mark, then half of the first character.
    (("\ufffd\ufffd",), "this is UTF-16 or another encoding; convert it with 'iconv -t UTF-8'"),
)


def encode_line(value: dict[str, Any]) -> bytes:
    """Encode an object as one compact line of UTF-8; a lone surrogate stays an escape.

    Raises NotNDJSON for an object nested too deeply: the encoder's limit is a little lower than the decoder's.
    """
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"
    except RecursionError:
        raise NotNDJSON("not usable: nested too deeply") from None
