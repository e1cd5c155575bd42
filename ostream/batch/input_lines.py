"""Decode the lines of a batch's input: text, or JSON."""

from __future__ import annotations

from shlex import quote

from ostream.errors import NotNDJSON, RequestError
from ostream.protocol.json_codec import scan_once, strict_decoder
from ostream.protocol.ndjson import decode_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


GZIP_MARK = b"\x1f\x8b"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # its byte order mark, little-endian and big-endian


def decoded(data: bytes) -> str:
    """Return text without its byte order mark. Raises RequestError if it is not UTF-8."""
    try:
        text = data.decode()
        return text[1:] if text[:1] == "\ufeff" else text
    except UnicodeDecodeError as error:
        raise RequestError(
            f"not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start + 1}",
            advice=_decoding_advice(data),
        ) from None


def _decoding_advice(data: bytes) -> str:
    if data.startswith(UTF16_MARKS):
        return "convert it: iconv -f UTF-16 -t UTF-8 FILE"
    if b"\0" in data or data.startswith(b"%PDF-"):
        return "it is not a text file; convert it to one"
    return "convert it: iconv -f CP1252 -t UTF-8 FILE"


def text_of(line: bytes) -> str:
    """Return a line of a text file, without its line end and byte order mark."""
    text = decoded(line)
    return text[: -2 if text.endswith("\r\n") else -1 if text.endswith("\n") else len(text)]


def value_of(line: bytes, name: str) -> dict[str, Any] | str:
    """Return the object or the string on a line of the file `name`. Raises RequestError and NotNDJSON."""
    try:
        text = line.decode()
        value, end = scan_once(text, 0)
        if type(value) is dict and text[end:] in ("\n", ""):
            return value
    except (ValueError, StopIteration, RecursionError, SystemError):
        pass  # the line is not an object, or begins with spaces or a byte order mark
    text = decoded(line).strip()
    if text.startswith('"'):
        try:
            prompt: str = strict_decoder().decode(text)
            return prompt
        except ValueError:
            pass  # decode_line below raises an error that describes the damage
    try:
        return decode_line(line) or {}
    except NotNDJSON as error:
        error.advice = _advice(text, name)
        raise


def _advice(text: str, name: str) -> str:
    """Return advice about a line that is not a JSON object, guessed from its text."""
    file = "FILE" if name == "-" else quote(name)
    if text.startswith("["):
        return f"convert the array to lines: jq -c '.[]' {file}"
    if text in ("{", "}") or (text.startswith('{"') and text.endswith(("{", "[", ","))):
        return f"put each object on one line: jq -c . {file}"
    if text.startswith(("{", '"')):
        return ""  # a damaged request, which --lines would send as a prompt
    if text.count(",") >= 1 or "\t" in text or ";" in text:
        return "for a table, use --csv --prompt '...{COLUMN}...'; for lines of text, use --lines"
    return "with --lines, each line is a prompt"
