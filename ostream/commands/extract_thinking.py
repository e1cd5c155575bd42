"""extract-thinking: the text of the reasoning."""

from __future__ import annotations

from ostream.commands import extract

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.commands.arguments import Parser
    from ostream.stdio import Messages


def parser() -> Parser:
    return extract.parser(
        "thinking",
        "Print the reasoning of each answer in an NDJSON stream from Ollama, while it is still coming.",
        [
            "send -m qwen3 --think 'What is 17 × 23?' | extract-thinking",
            "send -m qwen3 --think 'What is 17 × 23?' | extract-thinking -w why.txt | extract-content",
        ],
    )


def main(arguments: list[str], messages: Messages) -> int:
    return extract.run(messages, "thinking", **(parser().parse(arguments, messages) if arguments else {}))
