"""extract-content: the text of the answer."""

from __future__ import annotations

from ostream.cli import extraction as extract

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.cli.parser import Parser
    from ostream.system.diagnostics import Diagnostics


def parser() -> Parser:
    parser = extract.parser(
        "content",
        "Print the text of each answer in an NDJSON stream from Ollama, while it is still coming.",
        [
            "send -m qwen3 'Why is the sky blue?' | extract-content",
            "send -m qwen3 'A shell script that ...' | extract-content -x > script.sh",
        ],
    )
    parser.add_argument(
        "-x", "--code", action="store_true", help="only the first fenced code block, each line when it is whole"
    )
    return parser


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    # Without arguments there is nothing to parse, and no parser to load.
    return extract.run(diagnostics, "content", **(parser().parse(arguments, diagnostics) if arguments else {}))
