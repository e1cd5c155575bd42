"""What `ostream` says and does by itself, without a command: on no command's way to its work."""

from __future__ import annotations

from ostream.errors import STATUSES, RequestError
from ostream.system.diagnostics import Diagnostics
from ostream.system.output import Output
from ostream.system.process import run_process
from ostream.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping, Tuple

    Commands = Mapping[str, Tuple[str, str]]

SUMMARY = "Stream from Ollama through Unix pipes, and learn the truth about a failed stream."

# Its options, and what their value is.
OPTIONS = {"--help": "", "--version": "", "--install": "DIR", "--completion": "bash zsh fish"}


def about(program: str, arguments: list[str], commands: Commands) -> int:
    """Answer what is asked of `ostream` itself, which runs as `program`; gives the exit status."""
    diagnostics = Diagnostics("ostream")
    command, *arguments = arguments
    option, equals, value = command.partition("=")
    words = [value, *arguments] if equals else arguments

    def run() -> int:
        if command in ("-h", "--help"):
            Output(1, "standard output").write_text(_help(commands))
        elif command == "--version":
            Output(1, "standard output").write_text(f"ostream {__version__}\n")
        elif option == "--install":
            from ostream.installer.install import install

            note = install(program, _one(words, "--install", "DIR"), ["ostream", *commands])
            if note:
                diagnostics.note(note)
        elif option == "--completion":
            from ostream.installer.shells import SHELLS, script

            shell = _one(words, "--completion", "SHELL")
            if shell not in SHELLS:
                raise RequestError(f"--completion: {shell}: no such shell", advice=f"there are {', '.join(SHELLS)}")
            Output(1, "standard output").write_text(script(shell, list(commands)))
        elif command == "--complete":
            from ostream.installer.completion import complete

            found = complete(arguments, commands, OPTIONS)
            Output(1, "standard output").write_text("".join(f"{line}\n" for line in found))
        elif not command:
            raise RequestError("no command; see 'ostream --help'")
        else:
            raise RequestError(f"{command}: no such command; see 'ostream --help'")
        return 0

    return run_process(diagnostics, run)


def _one(words: list[str], option: str, what: str) -> str:
    if len(words) != 1 or not words[0] or words[0].startswith("-"):
        raise RequestError(f"{option}: needs one {what}", advice="see 'ostream --help'")
    return words[0]


def _help(commands: Commands) -> str:
    rows = "".join(f"  {name:<18}{kind:<9}{what}\n" for name, (kind, what) in commands.items())
    statuses = "".join(
        f"  {status.code:<4}{status.meaning}\n" for status in sorted(STATUSES, key=lambda each: each.code)
    )
    return (
        "usage: ostream COMMAND [ARGUMENT ...]\n"
        "       ostream --install DIR | --completion SHELL\n\n"
        f"{SUMMARY}\n\n"
        f"{rows}\n"
        "  --install DIR       link the commands under these names in DIR\n"
        "  --completion SHELL  print what bash, zsh or fish needs to complete command lines\n\n"
        "Run 'ostream COMMAND --help' for details.\n\n"
        f"exit status:\n{statuses}\n"
        "examples:\n"
        "  ostream send -m qwen3 'Why is the sky blue?' | ostream extract-content\n"
        "  PATH=$PWD/bin:$PATH; send -m qwen3 --think '17 × 23?' | extract-thinking -w t.txt | extract-content\n"
    )
