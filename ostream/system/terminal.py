"""Make untrusted text safe to print on a terminal: show every character that controls, reorders or hides text.

Single characters are replaced, not escape sequences: without ESC and CSI, a terminal does not recognise a sequence.
Replacements look like those of `cat -v` (^C) and `less` (<U+200B>).

These characters are replaced: control characters (Cc), format characters (Cf), surrogates (Cs), line and paragraph
separators (Zl, Zp), tags and noncharacters. The exceptions, which are kept, are:

- line feed and tab;
- U+200C and U+200D, which join letters in Arabic and Indic scripts and emoji in sequences;
- the format characters that are visible signs: U+0600-0605, 06DD, 070F, 0890, 0891, 08E2, 110BD, 110CD.

Unassigned and private characters are kept too, because new emoji and the symbols of terminal fonts are among them. The
ranges are not taken from unicodedata, because its data depends on the version of Python.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator

_RANGES = (
    *((0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E), (0x200B, 0x200B)),
    *((0x200E, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F), (0xD800, 0xDFFF), (0xFDD0, 0xFDEF), (0xFEFF, 0xFEFF)),
    *((0xFFF9, 0xFFFB), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE007F)),
    *((plane + 0xFFFE, plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000)),
)


def _replaced() -> Iterator[int]:
    for first, last in _RANGES:
        yield from range(first, last + 1)


def _visible() -> dict[int, str]:
    table = {code: f"<U+{code:04X}>" for code in _replaced()}
    table.update({code: f"<{code:02X}>" for code in range(0x80, 0xA0)})
    table.update({code: f"^{chr(code + 64)}" for code in range(0x20) if code in table})
    return {**table, 0x7F: "^?"}


def _escaped() -> dict[int, str]:
    table = {}
    for code in _replaced():
        pair = (code - 0x10000) >> 10, (code - 0x10000) & 0x3FF
        table[code] = f"\\u{code:04x}" if code < 0x10000 else f"\\u{0xD800 + pair[0]:04x}\\u{0xDC00 + pair[1]:04x}"
    return {**table, 0x0D: ""}  # JSON has a raw CR only between values, such as in CRLF line ends


_tables: dict[Callable[[], dict[int, str]], dict[int, str]] = {}


def _table(create: Callable[[], dict[int, str]]) -> dict[int, str]:
    """Return a table. It is created when it is first needed, because most filters print nothing on a terminal."""
    if create not in _tables:
        _tables[create] = create()
    return _tables[create]


def visible(text: str) -> str:
    """Return `text` with unsafe characters replaced, for a terminal. Line feeds and tabs are kept."""
    return text if text.isprintable() else text.translate(_table(_visible))


def escaped(ndjson: str) -> str:
    """Return NDJSON with unsafe characters written as \\uXXXX, for a terminal. It decodes to the same objects."""
    return ndjson.translate(_table(_escaped))


def one_line(text: str, limit: int = 1000) -> str:
    """Return `text` for a message: on one line of at most `limit` characters, with unsafe characters replaced."""
    line = visible(" ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
