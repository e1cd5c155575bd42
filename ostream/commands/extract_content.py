"""extract-content: the text of the answer."""

from __future__ import annotations

from ostream.cli import extraction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.cli.parser import Parser
    from ostream.system.diagnostics import Diagnostics


def parser() -> Parser:
    from ostream.cli.parser import Option

    return extraction.parser(
        "content",
        "Print the text of each answer in an NDJSON stream from Ollama, while it is still coming.",
        [
            "send -m qwen3 'Why is the sky blue?' | extract-content",
            "send -m qwen3 'A shell script that ...' | extract-content -x > script.sh",
        ],
        Option("-x", "--code", help="only the first fenced code block, written line by line"),
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    options = extraction.ExtractionOptions()
    if arguments:
        parser().parse(arguments, diagnostics, options)
    return extraction.run(diagnostics, "content", options)
