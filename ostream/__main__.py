"""Run a command by its name: `ostream send`, `python3 -m ostream send`, `bin/send`."""

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
    """Run a command and return its exit status.

    `argv` is the command line (default: sys.argv). If a command has the file name of argv[0], this command is run.
    Otherwise, argv[1] is the name of the command.
    """
    if os.name != "posix":
        sys.stderr.write("ostream: the commands need a POSIX system; on this system, only the library works\n")
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
        diagnostics,
        run_command,
        errors_on_stdout=kind == "source" or (kind == "filter" and _passes_on(arguments)),
        needs_stdout=command != "batch",  # with -o, batch writes nothing to stdout
    )


def _passes_on(arguments: list[str]) -> bool:
    """Return True if usage errors must be sent downstream too: -w was given, and stdout is a pipe.

    If stdout is a file, no error line is written to it, because the usage error may be that this file is also an input.
    The arguments are checked before they are parsed, because parsing them may fail.
    """
    if not is_pipe(1):
        return False
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return any(
        option.partition("=")[0] == "--write" if option[:2] == "--" else option[:1] == "-" and "w" in option
        for option in options
    )


def close_stdout() -> None:
    """Close stdout after the last output: the next command of a pipeline then ends 5 ms earlier."""
    try:
        os.close(1)
    except OSError:
        pass  # some file systems report a failed write on each close; the command has already reported it


def run() -> NoReturn:
    """Run the command and exit. This function is the entry point of the installed package."""
    status = main()
    close_stdout()
    sys.exit(status)


if __name__ == "__main__":
    run()
