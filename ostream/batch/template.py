"""Prompt templates: text with fields in braces, such as `Label this review: {text}`."""

from __future__ import annotations

from ostream.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping, Sequence


class PromptTemplate:
    """A text with fields, written `{NAME}`, that are replaced by values. Braces inside a value are plain text.

    `names` are the names of all fields that the text may use, and `origin` is where they come from, for messages, or
    "". `{{` and `}}` are literal braces. Raises RequestError for any other brace.
    """

    def __init__(self, text: str, names: Sequence[str], origin: str = "") -> None:
        self._parts: list[tuple[str, str | None]] = []  # literal text, and the field after it or None
        literal = ""
        position = 0
        while position < len(text):
            char = text[position]
            if char not in "{}":
                literal += char
                position += 1
            elif text.startswith(char * 2, position):
                literal += char
                position += 2
            else:
                name = _name_at(text, position, names, origin)
                self._parts.append((literal, name))
                literal = ""
                position += len(name) + 2
        self._parts.append((literal, None))

    @property
    def fields(self) -> list[str]:
        """The names of the fields that the text uses, each once."""
        return list(dict.fromkeys(name for _, name in self._parts if name is not None))

    def render(self, values: Mapping[str, str]) -> str:
        """Return the text with its fields replaced by these values."""
        return "".join(literal + ("" if name is None else values[name]) for literal, name in self._parts)


def show_fields(names: Sequence[str]) -> str:
    """Return a list of fields for a message. The braces show spaces at the ends of a name."""
    return ", ".join(f"{{{name}}}" for name in names)


def _name_at(text: str, position: int, names: Sequence[str], origin: str) -> str:
    """Return the name of the field at this brace. A name may contain braces. Raises RequestError if none matches."""
    for name in sorted(names, key=len, reverse=True):
        if text.startswith(f"{{{name}}}", position):
            return name
    end = text.find("}", position)
    found = text[position + 1 : end] if text[position] == "{" and end > 0 else None
    known = f"{origin} has {show_fields(names)}" if origin else f"available: {show_fields(names)}"
    if found is not None and found.replace(" ", "").replace("_", "").isalnum():
        raise RequestError(f"--prompt: there is no {{{found}}}", advice=known)
    brace = text[position]
    raise RequestError(
        f"--prompt: {brace} at character {position + 1} does not start a known field"
        if brace == "{"
        else f"--prompt: single }} at character {position + 1}",
        advice=f"write {brace * 2} for a literal {brace}; fields: {show_fields(names)}",
    )
