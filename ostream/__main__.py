"""The table of commands, and the dispatch by name: `ostream send`, `python3 -m ostream send`, `bin/send`."""

from __future__ import annotations

import sys

from ostream import __version__
from ostream.errors import RequestError
from ostream.output import Output
from ostream.stdio import Messages, guard
from ostream.wait import is_pipe

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

SUMMARY = "Stream from Ollama through Unix pipes, and learn the truth about a failed stream."

# Options of ostream itself, and what their value is.
OPTIONS = {"--help": "", "--version": "", "--install": "DIR", "--completion": "bash zsh fish"}


def main(argv: list[str] | None = None) -> int:
    """Run the command that argv[0], or else argv[1], names; gives the exit status."""
    name, *arguments = sys.argv if argv is None else argv
    command = name.rpartition("/")[2]
    if command not in COMMANDS:
        command, *arguments = arguments or [""]
        if command not in COMMANDS:
            return _about(name, command, arguments)
    messages = Messages(command)

    def run() -> int:
        module = __import__(f"ostream.commands.{command.replace('-', '_')}", fromlist=["run"])
        status: int = module.main(arguments, messages)
        return status

    kind = COMMANDS[command][0]
    return guard(messages, run, errors_on_stdout=kind == "source" or (kind == "filter" and _passes_on(arguments)))


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


def _about(program: str, command: str, arguments: list[str]) -> int:
    messages = Messages("ostream")
    option, equals, value = command.partition("=")
    words = [value, *arguments] if equals else arguments

    def run() -> int:
        if command in ("-h", "--help"):
            Output(1, "standard output").text(_help())
        elif command == "--version":
            Output(1, "standard output").text(f"ostream {__version__}\n")
        elif option == "--install":
            from ostream.install import install

            note = install(program, _one(words, "--install", "DIR"), ["ostream", *COMMANDS])
            if note:
                messages.note(note)
        elif option == "--completion":
            from ostream.shells import SHELLS, script

            shell = _one(words, "--completion", "SHELL")
            if shell not in SHELLS:
                raise RequestError(f"--completion: {shell}: no such shell", advice=f"there are {', '.join(SHELLS)}")
            Output(1, "standard output").text(script(shell, list(COMMANDS)))
        elif command == "--complete":
            from ostream.completion import complete

            found = complete(arguments, COMMANDS, OPTIONS)
            Output(1, "standard output").text("".join(f"{line}\n" for line in found))
        elif not command:
            raise RequestError("no command; see 'ostream --help'")
        else:
            raise RequestError(f"{command}: no such command; see 'ostream --help'")
        return 0

    return guard(messages, run)


def _one(words: list[str], option: str, what: str) -> str:
    if len(words) != 1 or not words[0]:
        raise RequestError(f"{option}: needs one {what}", advice="see 'ostream --help'")
    return words[0]


def _help() -> str:
    rows = "".join(f"  {name:<18}{kind:<9}{what}\n" for name, (kind, what) in COMMANDS.items())
    return (
        "usage: ostream COMMAND [ARGUMENT ...]\n"
        "       ostream --install DIR | --completion SHELL\n\n"
        f"{SUMMARY}\n\n"
        f"{rows}\n"
        "  --install DIR       link the commands under these names in DIR\n"
        "  --completion SHELL  print what bash, zsh or fish needs to complete command lines\n\n"
        "'ostream COMMAND --help' says more. Exit statuses: 0 every response is complete, 1 refused,\n"
        "2 usage or input, 3 incomplete or nothing, 4 cut by a limit, 69 no connection, 75 try later.\n\n"
        "examples:\n"
        "  ostream send -m qwen3 'Why is the sky blue?' | ostream extract-content\n"
        "  PATH=$PWD/bin:$PATH; send -m qwen3 --think '17 × 23?' | extract-thinking -w t.txt | extract-content\n"
    )


if __name__ == "__main__":
    sys.exit(main())
