"""Run `ostream` without a command: print its help, or run one of its own options. No command loads this module."""

from __future__ import annotations

import contextlib

from ostream.errors import STATUSES, USAGE, OutputError, RequestError
from ostream.system.diagnostics import Diagnostics
from ostream.system.output import Output
from ostream.system.process import run_process
from ostream.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping, Tuple

    Commands = Mapping[str, Tuple[str, str]]

SUMMARY = (
    "Command-line filters for streaming answers from Ollama. If a stream fails or is truncated, "
    "the pipeline's exit status reports it."
)

# The options of `ostream` itself, each with the kind of its value: "" (no value), "DIR", or the words that are allowed.
OPTIONS = {"--help": "", "--version": "", "--install": "DIR", "--uninstall": "DIR", "--completion": "bash zsh fish"}


def run_main_option(argv0: str, program: str, arguments: list[str], commands: Commands) -> int:
    """Run `ostream` with arguments that do not begin with a command, and return the exit status.

    Arguments:
        argv0: the path by which the program was started.
        program: how the user calls the program, for help and advice.
        arguments: the command line without the program.
        commands: the table of commands.
    """
    diagnostics = Diagnostics("ostream", program)
    command, *values = arguments or [""]
    option, equals, value = command.partition("=")
    if equals:
        values = [value, *values]

    def run() -> int:
        if not command:
            with contextlib.suppress(OutputError):
                Output(2, "standard error").write_text(_list(program, commands))
            return USAGE
        lines: list[str] = []
        if command in ("-h", "--help") or arguments == ["help"]:
            lines = [_help(program, commands)]
        elif command == "--version":
            lines = [f"ostream {__version__}\n"]
        elif option in ("--install", "--uninstall"):
            from ostream.installer.install import install, uninstall

            directory = _only_value(values, option, "DIR", program)
            names = ["ostream", *commands]
            lines = install(argv0, directory, names) if option == "--install" else uninstall(directory, names)
        elif option == "--completion":
            from ostream.installer.completion import SHELLS, script

            shell = _only_value(values, option, "SHELL", program)
            if shell not in SHELLS:
                raise RequestError(f"--completion: unknown shell {shell}", advice=f"use one of {', '.join(SHELLS)}")
            lines = [script(shell, commands)]
        elif command == "--complete":
            from ostream.installer.completion import complete

            lines = [f"{line}\n" for line in complete(values, commands, OPTIONS)]
        else:
            raise _unknown(values[0] if command == "help" else option, [*commands, "help", *OPTIONS], program)
        Output(1, "standard output").write_text("".join(lines))
        return 0

    return run_process(diagnostics, run)


def _only_value(values: list[str], option: str, name: str, program: str) -> str:
    if len(values) != 1 or not values[0] or values[0].startswith("-"):
        raise RequestError(f"{option}: needs one {name}", advice=f"see '{program} --help'")
    return values[0]


def _unknown(name: str, names: list[str], program: str) -> RequestError:
    import difflib

    near = difflib.get_close_matches(name, names, 1)
    kind = "option" if name.startswith("-") else "command"
    suggestion = f"did you mean {near[0]}? " if near else ""
    return RequestError(f"{name}: unknown {kind}", advice=f"{suggestion}'{program} help' lists the commands")


def _list(program: str, commands: Commands) -> str:
    return (
        f"usage: {program} COMMAND [ARGUMENT ...]\n\n{_rows(commands)}\n"
        f"Run '{program} help COMMAND' for details.\n"
        f"To run the commands as send, batch and so on, link them: {program} --install DIR\n"
    )


def _rows(commands: Commands) -> str:
    return "".join(_row(f"  {name:<18}{kind:<9}", description) for name, (kind, description) in commands.items())


def _row(first: str, text: str) -> str:
    """Return `first` and, in a column to the right of it, `text`, in lines of at most 79 characters."""
    import textwrap

    return textwrap.fill(text, 79, initial_indent=first, subsequent_indent=" " * len(first)) + "\n"


def _help(program: str, commands: Commands) -> str:
    statuses = "".join(
        _row(f"  {status.code:<4}", status.meaning) for status in sorted(STATUSES, key=lambda each: each.code)
    )
    return (
        f"usage: {program} COMMAND [ARGUMENT ...]\n"
        f"       {program} help [COMMAND]\n"
        f"       {program} --install DIR | --uninstall DIR | --completion SHELL\n\n"
        f"{_row('', SUMMARY)}\n"
        f"{_rows(commands)}\n"
        "  --install DIR       link the commands in DIR, to run them as send and so on\n"
        "  --uninstall DIR     remove these links\n"
        "  --completion SHELL  print the completion script; in ~/.bashrc:\n"
        '                      eval "$(ostream --completion bash)"\n'
        "  --version           show the version\n\n"
        f"Run '{program} help COMMAND' for details.\n\n"
        f"exit status:\n{statuses}\n"
        "examples:\n"
        f"  {program} send -m qwen3 'Why is the sky blue?' | {program} extract-content\n"
        f"  {program} --install ~/.local/bin && send -m qwen3 hi | extract-content\n"
    )
