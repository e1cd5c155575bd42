"""Text that nobody vouches for, made safe to show: every character that could steer a terminal becomes visible.

Characters, not sequences: without the introducer there is no sequence, so there is nothing to parse and nothing
that could be cut apart. The look is that of `cat -v` and `less`.
"""

from __future__ import annotations

_C0 = [code for code in range(0x20) if chr(code) not in "\n\t"]
_C1 = [*range(0x80, 0xA0)]
# Embeddings, overrides and isolates show text in another order than it has; so do the marks.
_BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]

_VISIBLE = {
    **{code: f"^{chr(code + 64)}" for code in _C0},
    0x7F: "^?",
    **{code: f"<{code:02X}>" for code in _C1},
    **{code: f"<U+{code:04X}>" for code in _BIDI},
}
_ESCAPED = {code: f"\\u{code:04x}" for code in (*_C0, 0x7F, *_C1, *_BIDI) if chr(code) != "\r"}
_ESCAPED[0x0D] = ""  # only ever between values: the CR of a CRLF


def visible(text: str) -> str:
    """Text for a terminal; line feeds and tabs stay."""
    return text.translate(_VISIBLE)


def escaped(ndjson: str) -> str:
    """NDJSON for a terminal, escaped the JSON way: the same values."""
    return ndjson.translate(_ESCAPED)


def one_line(text: str, limit: int = 1000) -> str:
    """Text for a message of ours: visible, on one line, not endless."""
    line = visible(" ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
