"""Define the options that filters share."""

from __future__ import annotations

from ostream.cli import RAW_TERMINAL_HELP
from ostream.cli.parser import Option
from ostream.cli.value_types import ValueType

OPENED = "open"
_LEVELS = ("true", OPENED)


def filter_options(extraction: str) -> list[Option]:
    """Return the options that every filter has; `extraction` describes what -w writes, such as "the content"."""
    return [
        Option(
            *("-w", "--write"),
            dest="write_to",
            exclusive="write",
            metavar="FILE",
            help=f"write {extraction} to FILE and pass the NDJSON on, byte for byte",
        ),
        Option("--raw-terminal", help=RAW_TERMINAL_HELP),
    ]


def think_tags_option() -> Option:
    """Return the option --think-tags. Its value is "true" or "open"."""

    def convert(text: str) -> str:
        if text not in _LEVELS:
            raise ValueError
        return text

    return Option(
        "--think-tags",
        metavar="open",
        type=ValueType(convert, "open, or left out"),
        optional_value="true",
        choices=_LEVELS,
        help="treat <think>...</think> at the start of an answer as thinking; with =open, the answer starts "
        "with thinking, because the opening tag is in the model's template",
    )
