"""Read a response that is one object on several lines. Some servers, in particular test servers, indent their JSON."""

from __future__ import annotations

from ostream.errors import NotNDJSON
from ostream.protocol.ndjson import LINE_LIMIT, decode_line, split_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

# Each line of a list takes 80 bytes in join(), and 40 bytes in the list. So lines are joined in blocks of this size.
BLOCK = 1 << 16


def is_json(content_type: str | None) -> bool:
    """Return True if a Content-Type header announces one JSON object, which may be indented."""
    return (content_type or "").partition(";")[0].strip().lower() == "application/json"


def join_indented(lines: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """If the response is one object on several lines, yield it as one line. Yield any other response unchanged."""
    for first in lines:
        if b"".join(first).strip():
            break
        yield first
    else:
        return
    text = b"".join(first).lstrip()
    if not text.startswith(b"{") or not _is_beginning(text[: text.find(b"\n") + 1]):
        yield first
        yield from lines
        return
    held = _read(first, lines)
    # JSON allows a tab between tokens but, like a newline, not inside a string. With a space instead, a string that
    # continues on the next line would become valid JSON with another text.
    joined = b"\t".join(b"\t".join(map(bytes.strip, lines)) for lines in _split(held)) + b"\n"
    try:
        decode_line(joined)
    except NotNDJSON:
        # It is not one object. The caller reports the first line as damaged.
        yield from _split(held)
    else:
        yield [joined]


def read_indented(first: list[bytes], rest: Iterator[list[bytes]]) -> list[bytes]:
    """Return all lines of a response as one line, up to LINE_LIMIT. `first` are the lines that have been read."""
    return [bytes(_read(first, rest))]


def _read(first: list[bytes], rest: Iterator[list[bytes]]) -> bytearray:
    """Return `first` and the lines of `rest` that are not blank, up to LINE_LIMIT."""
    text, size = bytearray(b"".join(first)), 0
    for more in rest:
        text += b"".join([line for line in more if line.strip()])
        size += sum(map(len, more))
        if size > LINE_LIMIT:
            break
    return text


def _split(text: bytearray) -> Iterator[list[bytes]]:
    """Split a text into its lines, one block of it at a time."""
    return split_lines(bytes(text[start : start + BLOCK]) for start in range(0, len(text), BLOCK))


def _is_beginning(line: bytes) -> bool:
    """Return True if the line is not a complete object, and so may be the beginning of an indented object."""
    try:
        decode_line(line)
    except NotNDJSON:
        return True
    return False
