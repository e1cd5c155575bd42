"""Blocks to lines, lines to objects, objects to lines. Nothing here knows what an object means.

- A line ends at b"\\n" and nowhere else: a server may send U+0085 raw, which `str.splitlines` would cut at.
- Lines keep their end, so that joining them gives the bytes back and a torn last line can be told.
- Only a line without its end is held, once, whatever the size of the blocks.
"""

from __future__ import annotations

import io
import json
import sys

from ostream.errors import NotNDJSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator, NoReturn

# The official Go client stops at 8 MB, the Python and JS ones never. Images and contexts make lines of many
# megabytes; what is longer than this is not an answer.
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
            # BytesIO cuts at b"\n" only, keeps it, and takes half the time of split().
            lines = io.BytesIO(block[:end]).readlines()
            if unfinished:
                unfinished += lines[0]
                lines[0] = bytes(unfinished)
                unfinished = bytearray()
            if max(end, len(lines[0])) > limit:
                yield from _before_too_long(lines, limit)
            else:
                yield lines
        unfinished += block[end:]
        if len(unfinished) > limit:
            _too_long(unfinished, limit)
    if unfinished:
        yield [bytes(unfinished)]


def _before_too_long(lines: list[bytes], limit: int) -> Iterator[list[bytes]]:
    """Lines of which one may be too long: first those before it."""
    for index, line in enumerate(lines):
        if len(line) > limit:
            if index:
                yield lines[:index]
            _too_long(line, limit)
    yield lines


def _too_long(line: bytes | bytearray, limit: int) -> NoReturn:
    raise NotNDJSON(f"a line of more than {limit:,} bytes", bytes(line[:1000]))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(number: str) -> float:
    """1e999 as the largest float, as jq has it: infinity could not be written out again."""
    return max(-sys.float_info.max, min(float(number), sys.float_info.max))


# JSON that can be written out again: no NaN, no infinity.
strict = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def decode_line(line: bytes) -> dict[str, Any] | None:
    """The object on a line, or None for a blank line.

    Bytes that are not UTF-8 become U+FFFD. Raises NotNDJSON, whose message says what is wrong and where.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = line.decode(errors="replace")
    try:
        value, end = strict.raw_decode(text)
        # One b"\n" behind it is the rule, and told without a slice.
        if (len(text) - end != 1 or line[-1] != 10) and text[end:].strip(" \t\r\n"):
            raise json.JSONDecodeError("Extra data", text, end)
    except (ValueError, RecursionError) as error:
        # What comes here is rare: spaces or a byte order mark in front, a blank line, or damage.
        bare = text.lstrip("\ufeff \t\r\n")
        if not bare:
            return None
        if bare != text:
            try:
                return decode_line(bare.encode())
            except NotNDJSON as damage:
                damage.line = line
                raise
        raise NotNDJSON(_what_is_wrong(bare, error), line) from None
    if not isinstance(value, dict):
        raise NotNDJSON(f"not a JSON object but {_SHAPES[type(value)]}", line)
    return value


def decode_lines(lines: list[bytes]) -> tuple[list[dict[str, Any] | None], NotNDJSON | None]:
    """`decode_line` for each line, up to one that is damaged, and the damage.

    In one loop, without a call of ours for each line: that would take a quarter of the time.
    """
    values: list[dict[str, Any] | None] = []
    scan = strict.scan_once  # type: ignore[attr-defined]
    for line in lines:
        try:
            text = line.decode()
            value, end = scan(text, 0)
            is_object = text[end:] == "\n" and type(value) is dict
        except (ValueError, StopIteration, RecursionError):
            is_object = False
        try:
            values.append(value if is_object else decode_line(line))
        except NotNDJSON as damage:
            return values, damage
    return values, None


def is_torn(line: bytes) -> bool:
    """Is this line, which does not decode, the beginning of an object that was cut off?"""
    return not line.endswith(b"\n") and line.lstrip(b"\xef\xbb\xbf \t\r").startswith(b"{")


def is_cut(line: bytes) -> bool:
    """Is this the last line of somebody who was killed while writing it?"""
    try:
        decode_line(line)
    except NotNDJSON:
        return is_torn(line)
    return False


_SHAPES = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _what_is_wrong(text: str, error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        reason = f"not JSON: {error.msg} at column {error.pos + 1}"
    elif isinstance(error, RecursionError):
        reason = "not usable: nested too deeply"
    else:
        reason = f"not usable: {str(error).partition(';')[0]}"
    start = text[:64].lower()
    if start.startswith(("data:", "event:", "id:", "retry:", ":")):
        return f"{reason}; these are server-sent events, not NDJSON (is this an OpenAI-style address?)"
    if start.startswith("<"):
        return f"{reason}; this is HTML or XML, not NDJSON (is this a proxy or a login page?)"
    return reason


def encode_line(value: dict[str, Any]) -> bytes:
    """An object as one line, compact, in UTF-8; a lone surrogate stays an escape.

    Raises NotNDJSON for what is nested too deeply: a little less can be encoded than decoded.
    """
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"
    except RecursionError:
        raise NotNDJSON("not usable: nested too deeply") from None
