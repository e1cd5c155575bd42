"""Modules that the commands use: the table of commands, options, filter input and output, relaying, presentation."""

# Maps the name of a command to its kind and its description. A source writes its failures to stdout as error lines,
# in addition to the message on stderr. A filter does so only with -w.
COMMANDS = {
    "send": ("source", "send a prompt to an Ollama server and print its NDJSON as it arrives"),
    "batch": ("source", "send many requests, several at a time, and print one answer line for each"),
    "extract-content": ("filter", "print the text of the answer"),
    "extract-thinking": ("filter", "print the text of the thinking"),
    "collect": ("filter", "fold each response into one complete object"),
    "stats": ("filter", "print counts, durations and rates"),
    "render": ("filter", "pretty-print thinking, answer and tool calls"),
    "run-tools": ("filter", "run the tools that an answer calls, and print message lines"),
    "record": ("wrapper", "record the traffic between a command and the server"),
    "replay": ("wrapper", "serve recordings as an Ollama server would"),
}

RAW_TERMINAL_HELP = "do not escape control characters on a terminal"


def with_prefix(example: str, prefix: str) -> str:
    """Return `example` with `prefix`, such as "ostream ", added before each command name."""
    if not prefix:
        return example
    import re

    names = "|".join(COMMANDS)
    return re.sub(rf"(^|\| |; |-- )({names})\b(?!\.)", rf"\1{prefix}\2", example)
