"""Command lines with GNU manners, on top of argparse.

argparse alone takes "-x y" for a word, refuses "-s -hello", guesses abbreviations, and lets `--think WORD` swallow
the prompt. So the arguments are first brought into the one form it never misreads: `--option=value`, words apart.
"""

from __future__ import annotations

import argparse
import re

from ostream.errors import RequestError
from ostream.system.diagnostics import Diagnostics
from ostream.system.output import Output
from ostream.system.process import EarlyExit
from ostream.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str, **_: Any) -> None:
        # A fixed width: asking the terminal for its own costs an import of shutil at every start.
        super().__init__(prog, max_help_position=30, width=100)


class Parser(argparse.ArgumentParser):
    """A command's options and words. `optional` lists the options whose value may be left out: `--think[=LEVEL]`."""

    def __init__(self, command: str, usage: str, kind: str, description: str, examples: list[str]) -> None:
        lines = "".join(f"  {example}\n" for example in examples)
        super().__init__(
            prog=command,
            usage=f"{command} {usage}",
            description=f"{description}\n\n{kind}",
            epilog=f"examples:\n{lines}",
            formatter_class=_Formatter,
            add_help=False,
            allow_abbrev=False,
        )
        self.optional: dict[str, str] = {}
        self.choices: dict[str, tuple[str, ...]] = {}  # of an option's values, those that a shell can offer
        self.elsewhere: dict[str, str] = {}  # options of other programs, and what they are called here
        self.color = False  # Python 3.14 would load a module to ask the terminal
        self.add_argument("-h", "--help", action="store_true", help="show this help")
        self.add_argument("--version", action="store_true", help="show the version")
        self.add_argument("-q", "--quiet", action="store_true", help="no notes; errors are still shown")
        self.add_argument("-v", "--verbose", action="store_true", help="say on stderr what is happening")

    def add_filter_arguments(self, extraction: str) -> None:
        self.add_argument(
            "-w",
            "--write",
            dest="write_to",
            metavar="FILE",
            help=f"write {extraction} to FILE and pass the NDJSON on, byte for byte",
        )
        self.add_argument("--raw-terminal", action="store_true", help="let control characters reach the terminal")
        self.add_argument("files", nargs="*", metavar="FILE", help="NDJSON files; '-' or none: standard input")

    def parse(self, arguments: list[str], diagnostics: Diagnostics) -> dict[str, Any]:
        """The values of all options, and the words under the name of the positional argument.

        Sets the manner of `messages`. Raises EarlyExit after --help and --version, RequestError for bad usage. Words
        behind "--" are also in `rest`.
        """
        options, words, rest = self.sort(arguments)
        values = vars(super().parse_args(options))
        diagnostics.quiet, diagnostics.verbose = values.pop("quiet"), values.pop("verbose")
        if values.pop("help") or values.pop("version"):
            help = any(option == "--help" for option in options)
            Output(1, "standard output").write_text(
                self.format_help() if help else f"{self.prog} (ostream) {__version__}\n"
            )
            raise EarlyExit
        for action in self._get_positional_actions():
            values[action.dest] = words + rest
        self.rest = rest
        return values

    def sort(self, arguments: list[str]) -> tuple[list[str], list[str], list[str]]:
        """Arguments as getopt_long would see them: options as --name or --name=value, words, words behind "--"."""
        options: list[str] = []
        words: list[str] = []
        queue = list(arguments)
        while queue:
            argument = queue.pop(0)
            if argument == "--":
                return options, words, queue
            if argument.startswith("--"):
                name, equals, _ = argument.partition("=")
                action = self._option_string_actions.get(name)
                if action is None:
                    self._unknown(name, argument)
                if action.nargs == 0:
                    if equals:
                        self.error(f"{name}: takes no value")
                    options.append(name)
                elif equals:
                    options.append(argument)
                elif name in self.optional:
                    if queue and queue[0] in self.choices.get(name, ()):
                        self.error(f"{name} {queue[0]}: its value goes behind a =, a prompt behind --")
                    options.append(f"{name}={self.optional[name]}")
                else:
                    options.append(f"{name}={self._value(name, queue)}")
            elif argument.startswith("-") and argument != "-":
                action = self._option_string_actions.get(argument[:2])
                if action is None:
                    self._unknown(argument[:2], argument)
                name = action.option_strings[-1]
                if action.nargs == 0:
                    options.append(name)
                    if argument[2:]:
                        queue.insert(0, f"-{argument[2:]}")
                else:
                    options.append(f"{name}={argument[2:] or self._value(argument, queue)}")
            else:
                words.append(argument)
        return options, words, []

    def actions(self) -> dict[str, argparse.Action]:
        """Every option, by each of its names."""
        return self._option_string_actions

    def groups(self) -> list[tuple[str, list[argparse.Action]]]:
        """Words and options in the order of the help; a group that has a title of its own, under it."""
        usual = (self._positionals, self._optionals)
        groups = [("" if group in usual else str(group.title), group._group_actions) for group in self._action_groups]
        return [(title, actions) for title, actions in groups if actions]

    def takes_files(self) -> bool:
        return any(action.metavar == "FILE" for action in self._get_positional_actions())

    def format_help(self) -> str:
        text = super().format_help()
        for name in self.optional:
            metavar = self._option_string_actions[name].metavar
            text = text.replace(f"{name} {metavar}  ", f"{name}[={metavar}]")
        return text

    def _unknown(self, name: str, argument: str) -> NoReturn:
        import difflib

        if " " in argument.partition("=")[0] or "\n" in argument.partition("=")[0]:
            self.error("a word that begins with - goes behind --")
        known = [self.elsewhere[name]] if name in self.elsewhere else []
        if name.startswith("--"):
            known += difflib.get_close_matches(name, self._option_string_actions, 1, 0.7)
        self.error(f"{name}: unknown option" + (f"; is it {known[0]}?" if known else ""))

    def _value(self, name: str, queue: list[str]) -> str:
        if not queue:
            self.error(f"{name}: needs a value")
        return queue.pop(0)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # argparse drops a "--" even where it is the value of an option.
        return self._get_value(action, "--") if arg_strings == ["--"] else super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        # argparse says "argument -j/--jobs: invalid number value: '0'": the object first, as everywhere.
        said = re.sub(
            r": invalid (.*) value: (.*)$", r": \2 is no \1", message.replace("argument ", "", 1), flags=re.DOTALL
        )
        raise RequestError(said, advice=f"see '{self.prog} --help'")


def positive(text: str) -> float:
    """Seconds, or how many: more than nothing."""
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError
    return value


positive.__name__ = "positive number of seconds"


def count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


count.__name__ = "whole number"
