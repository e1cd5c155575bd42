"""NDJSON: split blocks of bytes into lines, decode lines to objects, encode objects as lines.

- A line ends only at b"\\n". `str.splitlines` would also split at U+0085, which a server may send unescaped.
- Lines keep their b"\\n", so joining them restores the input, and a truncated last line can be recognised.
- Between blocks, only one copy of the unfinished line is stored, whatever the size of the blocks.
"""

from __future__ import annotations

import io
from itertools import repeat

from ostream.errors import NotNDJSON
from ostream.protocol.json_codec import decode_first, encode_json, scan_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator, NoReturn

# The maximum size of a line, in bytes. A line with an image or a context can be many megabytes long; the official Go
# client accepts at most 8 MB. Decoding can need 27 times the size of the line (for many small objects), so a line of
# the maximum size may need 1.7 GB.
LINE_LIMIT = 64 << 20

# The number of nested levels that a line from a server may have. Without this limit, the result would depend on the
# depth of the call stack: a filter, whose stack is less deep, might decode a line that send can't decode.
_DEEPEST = 500


def split_lines(blocks: Iterable[bytes], limit: int = LINE_LIMIT) -> Iterator[list[bytes]]:
    """Split blocks of bytes into lines, each with its b"\\n".

    Arguments:
        blocks: the blocks, of any size. A line may continue in the next block.
        limit: the maximum size of a line, in bytes.

    Yields a list of lines for each block in which a line ends. If the last line has no b"\\n", it is yielded in a list
    of its own. Raises NotNDJSON if a line is longer than `limit`.
    """
    unfinished = bytearray()
    for block in blocks:
        # A block of a slow stream is usually one complete line.
        if not unfinished and 0 < block.find(b"\n") + 1 == len(block) <= limit:
            yield [block]
            continue
        end = block.rfind(b"\n") + 1
        if end:
            # BytesIO splits only at b"\n" and keeps the b"\n" in the lines. It takes half the time of split().
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
    """Yield the lines, but raise NotNDJSON instead of yielding a line that is too long."""
    for index, line in enumerate(lines):
        if len(line) > limit:
            if index:
                yield lines[:index]
            _raise_too_long(line, limit)
    yield lines


def _raise_too_long(line: bytes | bytearray, limit: int) -> NoReturn:
    raise NotNDJSON(f"a line of more than {limit:,} bytes", bytes(line[:1000]))


def decode_line(line: bytes) -> dict[str, Any] | None:
    """Return the object on a line, or None for a blank line.

    Bytes that are not valid UTF-8 become U+FFFD. Raises NotNDJSON if the line is not a JSON object. The message gives
    the reason and, for text that is not JSON, the column.
    """
    if line == b"\n":
        return None
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = line.decode(errors="replace")
    try:
        value, end = decode_first(text)
        # The first two conditions recognise the usual end of a line, one b"\n", without creating a slice.
        if (len(text) - end != 1 or line[-1] != 10) and text[end:].strip(" \t\r\n"):
            from json import JSONDecodeError

            raise JSONDecodeError("Extra data", text, end)
    except (ValueError, RecursionError) as error:
        # This is rare: the line is blank or damaged, or it begins with spaces or a byte order mark.
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


def decode_lines(lines: list[bytes]) -> tuple[list[dict[str, Any] | None], NotNDJSON | None]:
    """Decode each line as `decode_line` does, and stop at the first damaged line.

    Only the last line may lack its b"\\n". Returns the objects before the damaged line (None for a blank line), and the
    error for the damaged line or None. Ordinary lines are decoded without a Python call for each line, because such a
    call would take a quarter of the time. A line that arrives alone is decoded in half the time by `_decode_each`.
    """
    if len(lines) == 1:
        return _decode_each(lines)
    try:
        texts = [*map(bytes.decode, lines)]
        values, ends = zip(*map(scan_once, texts, repeat(0)))
        # Each value ends before the b"\n" of its line. So if the sums are equal, the lines contain nothing else. If a
        # line has no value, the scanner raises StopIteration, which ends map() early.
        if (
            len(ends) == len(lines)
            and lines[-1][-1] == 10
            and sum(ends) == sum(map(len, texts)) - len(lines)
            and {*map(type, values)} == {dict}
        ):
            return [*values], None
    except (ValueError, RecursionError, IndexError, SystemError):
        pass
    return _decode_each(lines)


def _decode_each(lines: list[bytes]) -> tuple[list[dict[str, Any] | None], NotNDJSON | None]:
    values: list[dict[str, Any] | None] = []
    for line in lines:
        # Blank lines are checked first, without an exception. With an exception for each line, megabytes of blank lines
        # would take a minute instead of a second.
        if not line.strip(b" \t\r\n"):
            values.append(None)
            continue
        try:
            text = line.decode()
            value, end = scan_once(text, 0)
            is_object = text[end:] == "\n" and type(value) is dict
        except (ValueError, StopIteration, RecursionError, SystemError):
            is_object = False
        try:
            values.append(value if is_object else decode_line(line))
        except NotNDJSON as damage:
            return values, damage
    return values, None


def decode_server_lines(lines: list[bytes]) -> tuple[list[dict[str, Any] | None], NotNDJSON | None]:
    """Decode lines of a server as `decode_lines` does. A line with more than _DEEPEST nested levels is damaged, too."""
    values, damage = decode_lines(lines)
    if max(map(len, lines)) > 2 * _DEEPEST:
        for index, (line, value) in enumerate(zip(lines, values)):
            if len(line) > 2 * _DEEPEST and _is_deep(value):
                return values[:index], NotNDJSON("not usable: nested too deeply", line)
    return values, damage


def is_partial_line(line: bytes) -> bool:
    """Return True if a line begins with {, has no b"\\n" and is not an object.

    A process that is killed while it writes a line leaves such a line. The part that was written may also be damaged.
    """
    if line.endswith(b"\n") or not line.lstrip(b"\xef\xbb\xbf \t\r").startswith(b"{"):
        return False
    try:
        decode_line(line)
    except NotNDJSON:
        return True
    return False


def is_object_prefix(line: bytes) -> bool:
    """Return True if a line is a partial line that has no other damage, such as NaN or a control character in a string.

    Data that did not arrive explains such a line. Any other line shows that the sender does not send NDJSON.
    """
    if not is_partial_line(line):
        return False
    from json import JSONDecodeError

    text = line.decode(errors="replace").lstrip("\ufeff \t\r")
    try:
        decode_first(text)
    except JSONDecodeError as error:
        rest = text[error.pos :]
        if error.msg.startswith("Unterminated string"):
            return True
        if error.msg.startswith("Invalid \\u"):
            return '"' not in rest
        # The line ends between two tokens, inside a number, or inside one of the words.
        return not rest.strip(" \t\r+-.0123456789eE") or any(
            word.startswith(rest) for word in ("true", "false", "null")
        )
    except RecursionError:
        return True
    except ValueError:  # NaN, or a number with too many digits
        pass
    return False


def _is_deep(value: Any) -> bool:
    """Return True if arrays and objects are nested more than _DEEPEST levels deep."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True


_TYPE_NAMES = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _reason(text: str, error: Exception) -> str:
    from json import JSONDecodeError

    if isinstance(error, JSONDecodeError):
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
    # The byte order mark of UTF-16: each of its two bytes is decoded as U+FFFD.
    (("\ufffd\ufffd",), "this is UTF-16 or another encoding; convert it with 'iconv -t UTF-8'"),
)


def encode_line(value: dict[str, Any]) -> bytes:
    """Encode an object as one compact line of UTF-8. Lone surrogates are escaped, because UTF-8 cannot represent them.

    Raises NotNDJSON for an object that is nested too deeply. Such an object may come from the decoder, because the
    limit of the encoder is a little lower.
    """
    try:
        return encode_json(value).encode() + b"\n"
    except UnicodeEncodeError:
        import json

        return json.dumps(value, separators=(",", ":")).encode() + b"\n"
    except RecursionError:
        raise NotNDJSON("not usable: nested too deeply") from None
