"""Parse a command line with a table of options, according to GNU conventions.

Options and operands may be mixed; `--` ends the options; short flags can be combined; names can't be abbreviated; an
optional value can only be given as `--option=VALUE`. argparse only formats --help; it is not used for parsing because
it treats "-x y" as an operand, rejects "-s -hello", and takes the first word of a prompt as the value of `--think`.
"""

from __future__ import annotations

from ostream.cli import with_prefix
from ostream.errors import RequestError
from ostream.system.output import Output
from ostream.system.process import EarlyExit

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any, Mapping, NoReturn, Sequence, TypeVar

    from ostream.cli.value_types import ValueType
    from ostream.system.diagnostics import Diagnostics

    T = TypeVar("T")


class Option:
    """One row of a command's table of options.

    `names` are the short and long names; the long name is last. `help` is the text in --help, below the heading
    `group`. `dest` is the attribute to set (default: made from the long name). `metavar` is the placeholder for the
    value in --help; an option without `metavar` is a flag and sets `const`. `type` converts the value. `optional_value`
    is the value if only `--name` is given; None means that a value is required. `repeat` collects the values in a list.
    `choices` are the values that shell completion offers. Options with the same `exclusive` can't be combined, and an
    `exclusive` option with a value can't be given twice.
    """

    def __init__(
        self,
        *names: str,
        help: str,
        dest: str = "",
        metavar: str = "",
        type: ValueType | None = None,
        const: Any = True,
        optional_value: str | None = None,
        repeat: bool = False,
        choices: Sequence[str] = (),
        exclusive: str = "",
        group: str = "",
    ) -> None:
        self.names = names
        self.help = help
        self.dest = dest or names[-1].lstrip("-").replace("-", "_")
        self.metavar = metavar
        self.type = type
        self.const = const
        self.optional_value = optional_value
        self.repeat = repeat
        self.choices = choices
        self.exclusive = exclusive
        self.group = group

    def convert(self, text: str) -> Any:
        """Convert the text of a value. Raises RequestError if the text is not acceptable."""
        if self.type is None:
            return text
        try:
            return self.type.convert(text)
        except ValueError:
            raise RequestError(f"{'/'.join(self.names)}: must be {self.type.description}, not {text!r}") from None


class Operands:
    """The words that are not options. `dest` is the attribute to set; `metavar` and `help` describe them in --help."""

    def __init__(self, dest: str, metavar: str, help: str) -> None:
        self.dest = dest
        self.metavar = metavar
        self.help = help


# Values and operands with these metavars can't be empty. They are if the script's variable is not set.
_NAMES = ("FILE", "FILE|DIR", "DIR", "TABLE", "URL")

FILES = Operands("files", "FILE", "NDJSON files; - or none: standard input")

COMMON = (
    Option("-h", "--help", help="show this help"),
    Option("--version", help="show the version"),
    Option("-q", "--quiet", help="suppress notes (errors are still shown)"),
    Option("-v", "--verbose", help="report on stderr what is happening"),
)


class Parser:
    """Parses the command line of one command, and formats its --help.

    `usage` is the text after the command's name; `kind` is a sentence about streaming and memory. `suggestions` maps
    options of other programs to our options or to advice. With `command`, the words after `--` are a command.
    """

    def __init__(
        self,
        name: str,
        usage: str,
        kind: str,
        description: str,
        examples: Sequence[str],
        options: Sequence[Option],
        operands: Operands,
        suggestions: Mapping[str, str] | None = None,
        command: bool = False,
    ) -> None:
        self.name = name
        self.usage = usage
        self.kind = kind
        self.description = description
        self.examples = examples
        self.options = [*COMMON, *options]
        self.operands = operands
        self.takes_command = command
        self._suggestions = suggestions or {}
        self._by_name = {each: option for option in self.options for each in option.names}

    def find(self, name: str) -> Option | None:
        """Return the option with this short or long name, or None."""
        return self._by_name.get(name)

    def parse(self, arguments: Sequence[str], diagnostics: Diagnostics, result: T) -> T:
        """Store the values on the command line as attributes of `result`, and return `result`.

        The operands are stored as the attribute `operands.dest`; a wrapper's words after "--" are stored as `command`.
        -q and -v are set in `diagnostics`. Raises EarlyExit after --help and --version, RequestError for wrong usage.
        """
        program = diagnostics.program
        try:
            given, words, rest = self.split(arguments)
            if any(option.dest in ("help", "version") for option, _ in given):
                self._answer(given, program)
            self._check_exclusive(given)
            for option, value in given:
                if value == "" and option.metavar in _NAMES:
                    raise RequestError(f"{option.names[-1]}: needs a value, not ''")
                if option.dest in ("quiet", "verbose"):
                    setattr(diagnostics, option.dest, True)
                elif option.repeat:
                    setattr(result, option.dest, [*getattr(result, option.dest), option.convert(value or "")])
                else:
                    setattr(result, option.dest, option.const if value is None else option.convert(value))
            if "" in words and self.operands.metavar in _NAMES:
                raise RequestError("FILE: needs a name, not ''")
        except RequestError as error:
            raise RequestError(error.error, advice=error.advice or f"see '{program} --help'") from None
        if self.takes_command:
            setattr(result, "command", rest)  # noqa: B010
            rest = []
        setattr(result, self.operands.dest, [*words, *rest])
        return result

    def split(self, arguments: Sequence[str]) -> tuple[list[tuple[Option, str | None]], list[str], list[str]]:
        """Return the options with the text of their values (None for a flag), the operands, and the words after "--".

        Raises RequestError for an unknown option, for a missing value, and for a value given to a flag.
        """
        given: list[tuple[Option, str | None]] = []
        words: list[str] = []
        remaining = list(reversed(arguments))
        try:
            while remaining:
                argument = remaining.pop()
                if argument == "--":
                    if self.takes_command and remaining[-1:] in ([], [""]):
                        raise RequestError("--: needs a COMMAND after it")  # without --, a wrapper serves until Ctrl-C
                    return given, words, remaining[::-1]
                if argument.startswith("--"):
                    given.append(self._long(argument, remaining))
                elif argument.startswith("-") and argument != "-":
                    given += self._short(argument, remaining)
                else:
                    words.append(argument)
        except RequestError as error:
            if self.takes_command and len(words) > 1:
                error.advice = f"put -- before COMMAND: {self.name} {words[0]} -- {words[1]} ..."
            raise
        return given, words, []

    def _long(self, argument: str, remaining: list[str]) -> tuple[Option, str | None]:
        name, equals, value = argument.partition("=")
        option = self._by_name.get(name) or self._unknown(name, argument)
        if not option.metavar:
            if equals:
                raise RequestError(f"{name}: takes no value")
            return option, None
        if equals:
            return option, value
        if option.optional_value is not None:
            word = remaining[-1] if remaining else ""
            if word in option.choices or (option.type and word.isdecimal()):
                other = f"./{word} for the file" if self.operands.metavar == "FILE" else "put the prompt after --"
                raise RequestError(f"{name} {word}: write {name}={word}, or {other}")
            return option, option.optional_value
        return option, _value(name, remaining)

    def _short(self, argument: str, remaining: list[str]) -> list[tuple[Option, str | None]]:
        """Parse combined short options, such as -gm NAME. Only the last one may have a value."""
        long = f"-{argument.partition('=')[0]}"
        if long.replace("_", "-") in self._suggestions:
            self._unknown(long, argument)  # -temperature=0 is not -t emperature=0
        given: list[tuple[Option, str | None]] = []
        letters = argument[1:]
        while letters:
            name, letters = f"-{letters[0]}", letters[1:]
            option = self._by_name.get(name) or self._unknown(name, argument)
            if option.metavar:
                given.append((option, letters or _value(name, remaining)))
                break
            given.append((option, None))
        return given

    def _check_exclusive(self, given: list[tuple[Option, str | None]]) -> None:
        seen: dict[str, Option] = {}
        for option, _ in given:
            other = seen.get(option.exclusive)
            if other and (other is not option or option.metavar):
                how = "given twice" if other is option else f"can't be combined with {other.names[-1]}"
                raise RequestError(f"{option.names[-1]}: {how}")
            if option.exclusive:
                seen[option.exclusive] = option

    def _unknown(self, name: str, argument: str) -> NoReturn:
        typed, _, value = argument.partition("=")
        if " " in typed or "\n" in typed:
            raise RequestError("put words that begin with - after --")
        suggestion = self._suggestions.get(name.replace("_", "-"), "").replace("=VALUE", f"={value or 'VALUE'}")
        name = typed if name == f"-{typed}" else name
        if suggestion and not suggestion.startswith("-"):
            raise RequestError(f"{name}: unknown option", advice=suggestion)
        if not suggestion and name.startswith("--"):
            import difflib

            suggestion = "".join(difflib.get_close_matches(name, self._by_name, 1, 0.7))
        raise RequestError(f"{name}: unknown option" + (f" (did you mean {suggestion}?)" if suggestion else ""))

    def _answer(self, given: list[tuple[Option, str | None]], program: str) -> NoReturn:
        if any(option.dest == "help" for option, _ in given):
            text = self.format_help(program)
        else:
            from ostream.version import __version__

            text = f"{self.name} (ostream) {__version__}\n"
        Output(1, "standard output").write_text(text)
        raise EarlyExit

    def format_help(self, program: str) -> str:
        """Return the text of --help for the command called as `program`."""
        import argparse
        import textwrap

        # The width is fixed, so that the text does not depend on the terminal. Lines are not broken after this hyphen.
        width, hyphen = 79, "\u2011"
        examples = "".join(f"  {with_prefix(line, program[: -len(self.name)])}\n" for line in self.examples)
        parser = argparse.ArgumentParser(
            prog=program,
            usage=f"{program} {self.usage}",
            description="\n\n".join(textwrap.fill(text, width) for text in (self.description, self.kind)),
            epilog=f"examples:\n{examples}",
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=29, width=width),
            add_help=False,
        )
        # By default, Python 3.14 and later color the text if stdout is a terminal.
        parser.color = False  # type: ignore[attr-defined,unused-ignore]
        parser.add_argument(self.operands.dest, nargs="*", metavar=self.operands.metavar, help=self.operands.help)
        groups: dict[str, argparse._ActionsContainer] = {"": parser}
        for option in self.options:
            group = groups.get(option.group)
            if group is None:
                group = groups[option.group] = parser.add_argument_group(option.group)
            help = option.help.replace("%", "%%").replace("-", hyphen)
            if option.metavar:
                nargs = None if option.optional_value is None else "?"
                group.add_argument(*option.names, metavar=option.metavar, nargs=nargs, help=help)
            else:
                group.add_argument(*option.names, action="store_true", help=help)
        text = parser.format_help().replace(hyphen, "-")
        for option in self.options:
            if option.optional_value is not None:
                text = text.replace(f"{option.names[-1]} [{option.metavar}]", f"{option.names[-1]}[={option.metavar}]")
        return text


def _value(name: str, remaining: list[str]) -> str:
    if not remaining:
        raise RequestError(f"{name}: needs a value")
    return remaining.pop()
