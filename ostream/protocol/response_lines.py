"""Read a response that is one object on several lines. Some servers, in particular test servers, indent their JSON."""

from __future__ import annotations

from ostream.errors import NotNDJSON
from ostream.protocol.ndjson import LINE_LIMIT, decode_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator


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
    held = [first]
    size = 0
    for more in lines:
        held.append([*filter(bytes.strip, more)])  # each blank line would take 80 bytes in join()
        size += sum(map(len, more))
        if size > LINE_LIMIT:
            break
    # JSON allows a tab between tokens but, like a newline, not inside a string. With a space instead, a string that
    # continues on the next line would become valid JSON with another text.
    joined = b"\t".join(line.strip() for batch in held for line in batch) + b"\n"
    try:
        decode_line(joined)
    except NotNDJSON:
        yield from held  # not one object; the caller reports the first line as damaged
    else:
        yield [joined]


def read_indented(first: list[bytes], rest: Iterator[list[bytes]]) -> list[bytes]:
    """Return all lines of a response as one line, up to LINE_LIMIT. `first` are the lines that have been read."""
    lines, size = [*first], 0
    for more in rest:
        lines += filter(bytes.strip, more)  # each blank line would take 80 bytes in join()
        size += sum(map(len, more))
        if size > LINE_LIMIT:
            break
    return [b"".join(lines)]


def _is_beginning(line: bytes) -> bool:
    """Return True if the line is not a complete object, and so may be the beginning of an indented object."""
    try:
        decode_line(line)
    except NotNDJSON:
        return True
    return False
