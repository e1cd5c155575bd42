"""Dispatch by command name: `ostream send`, `python3 -m ostream send`, `bin/send`."""

from __future__ import annotations

import os
import sys

from ostream.cli import COMMANDS
from ostream.errors import USAGE
from ostream.system.diagnostics import Diagnostics
from ostream.system.polling import is_pipe
from ostream.system.process import run_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(argv: list[str] | None = None) -> int:
    """Run the command that argv[0], or else argv[1], names, and return its exit status."""
    if os.name != "posix":
        sys.stderr.write("ostream: the commands need a POSIX system; on this one, only the library works\n")
        return USAGE
    argv0, *arguments = sys.argv if argv is None else argv
    command = program = argv0.rpartition("/")[2]
    if command not in COMMANDS:
        program = "python3 -m ostream" if program == "__main__.py" else "ostream"
        if arguments[:1] == ["help"] and len(arguments) == 2 and arguments[1] in COMMANDS:
            arguments = [arguments[1], "--help"]
        if not arguments or arguments[0] not in COMMANDS:
            from ostream.installer.main_options import run_main_option

            return run_main_option(argv0, program, arguments, COMMANDS)
        command, *arguments = arguments
        program = f"{program} {command}"
    diagnostics = Diagnostics(command, program)

    def run_command() -> int:
        module = __import__(f"ostream.commands.{command.replace('-', '_')}", fromlist=["main"])
        status: int = module.main(arguments, diagnostics)
        return status

    kind = COMMANDS[command][0]
    return run_process(
        diagnostics, run_command, errors_on_stdout=kind == "source" or (kind == "filter" and _passes_on(arguments))
    )


def _passes_on(arguments: list[str]) -> bool:
    """Whether usage errors are passed downstream too: with -w and a pipe, stdout is NDJSON.

    A file gets none: it may be the very input for which -w was refused. Decided before the arguments are parsed, as
    they may be what is wrong.
    """
    if not is_pipe(1):
        return False
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return any(
        option.partition("=")[0] == "--write" if option[:2] == "--" else option[:1] == "-" and "w" in option
        for option in options
    )


def close_stdout() -> None:
    """Close stdout when everything is written: the next command of a pipeline ends 5 ms earlier, while Python exits."""
    try:
        os.close(1)
    except OSError:
        pass  # it was closed before


def run() -> NoReturn:
    """Run as a program: the entry point of an installed package."""
    status = main()
    close_stdout()
    sys.exit(status)


if __name__ == "__main__":
    run()
