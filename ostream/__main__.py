"""The table of commands, and the dispatch by name: `ostream send`, `python3 -m ostream send`, `bin/send`."""

from __future__ import annotations

import sys

from ostream.system.diagnostics import Diagnostics
from ostream.system.polling import is_pipe
from ostream.system.process import run_process

# name: (kind, what it does). A source's failures are error lines on its stdout too, and those of a filter with -w.
COMMANDS = {
    "send": ("source", "send a prompt to an Ollama server and print its NDJSON, line by line"),
    "batch": ("source", "send many requests, some at a time, and print one answer line for each"),
    "extract-content": ("filter", "print the answer's text"),
    "extract-thinking": ("filter", "print the reasoning's text"),
    "collect": ("filter", "fold each response into one complete object"),
    "stats": ("filter", "print counts, durations and rates"),
    "render": ("filter", "show thinking, answer and tool calls to a person"),
    "run-tools": ("filter", "run the tools that an answer calls, and print message lines"),
    "record": ("wrapper", "write down what a command and the server say to each other"),
    "replay": ("wrapper", "serve recordings as an Ollama server would, to a command or until interrupted"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command that argv[0], or else argv[1], names; gives the exit status."""
    name, *arguments = sys.argv if argv is None else argv
    command = name.rpartition("/")[2]
    if command not in COMMANDS:
        command, *arguments = arguments or [""]
        if command not in COMMANDS:
            from ostream.installer.main_options import about

            return about(name, [command, *arguments], COMMANDS)
    diagnostics = Diagnostics(command)

    def run() -> int:
        module = __import__(f"ostream.commands.{command.replace('-', '_')}", fromlist=["run"])
        status: int = module.main(arguments, diagnostics)
        return status

    kind = COMMANDS[command][0]
    return run_process(
        diagnostics, run, errors_on_stdout=kind == "source" or (kind == "filter" and _passes_on(arguments))
    )


def _passes_on(arguments: list[str]) -> bool:
    """Is there a -w among these, and a pipe behind? Then stdout is NDJSON, and the next stage learns of a usage error
    too. A file gets none: it may be the very input that -w was refused for.

    Asked before the arguments are parsed, for they may be what is wrong.
    """
    if not is_pipe(1):
        return False
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return any(
        option.partition("=")[0] == "--write" if option[:2] == "--" else option[:1] == "-" and "w" in option
        for option in options
    )


if __name__ == "__main__":
    sys.exit(main())
