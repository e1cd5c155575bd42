"""extract-thinking: write the thinking text of each answer."""

from __future__ import annotations

from ostream.cli import extraction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.cli.parser import Parser
    from ostream.system.diagnostics import Diagnostics


def parser() -> Parser:
    return extraction.parser(
        "thinking",
        "Print the thinking of each answer in an NDJSON stream from Ollama, as it arrives.",
        [
            "send -m qwen3 --think 'What is 17 × 23?' | extract-thinking",
            "send --think '17 × 23?' | extract-thinking -w why.txt | extract-content",
        ],
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    options = extraction.ExtractionOptions()
    if arguments:
        parser().parse(arguments, diagnostics, options)
    return extraction.run(diagnostics, "thinking", options)
