"""Command lines according to GNU conventions."""

from __future__ import annotations

import getopt
from typing import Any, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.cli.parser import Operands, Option, Parser
from ostream.cli.value_types import COUNT, SECONDS, between
from ostream.errors import RequestError
from ostream.system.diagnostics import Diagnostics
from ostream.system.process import EarlyExit


class Options:
    model: str | None = None
    option: Sequence[str] = ()
    generate = False
    null = False
    think: str | None = None
    number: float | None = None
    count: int | None = None
    words: Sequence[str] = ()
    command: Sequence[str] = ()


def parser(command: bool = False) -> Parser:
    return Parser(
        "cmd",
        "[options] [WORD ...]",
        "A source.",
        "Does something.",
        ["cmd a", "send b | stats"],
        [
            Option("-m", "--model", metavar="NAME", help="a name"),
            Option("-o", "--option", metavar="K=V", repeat=True, help="an option"),
            Option("-g", "--generate", exclusive="x", help="50 % of it"),
            Option("-0", "--null", exclusive="y", help="a flag"),
            Option("--think", metavar="LEVEL", optional_value="true", choices=("low", "high"), help="a level"),
            Option("--no-think", dest="think", const="false", exclusive="x", help="a constant"),
            Option("--number", metavar="S", type=SECONDS, help="seconds", group="numbers"),
            Option("--count", metavar="N", type=COUNT, help="a count", group="numbers"),
            Option("--some", metavar="N", dest="count", type=between(1, 1000), optional_value="9", help="n"),
            Option("-w", "--write", metavar="FILE", help="a file"),
        ],
        Operands("words", "WORD", "words"),
        {"-H": "--model", "--name": "--model"},
        command=command,
    )


def parse(arguments: list[str], diagnostics: Diagnostics | None = None) -> Options:
    return parser().parse(arguments, diagnostics or Diagnostics("cmd"), Options())


LINES = [
    # arguments, the attributes that are set
    ([], {}),
    (["a", "-g", "b"], {"words": ["a", "b"], "generate": True}),
    (["-m", "--"], {"model": "--"}),
    (["-m=x"], {"model": "=x"}),
    (["-m", "é\n"], {"model": "é\n"}),
    (["--model=x"], {"model": "x"}),
    (["--model=--generate"], {"model": "--generate"}),
    (["--model=a=b"], {"model": "a=b"}),
    (["-o", "a=1", "-ob=2", "--option=c=3"], {"option": ["a=1", "b=2", "c=3"]}),
    (["-g0mx"], {"generate": True, "null": True, "model": "x"}),
    (["--no-think"], {"think": "false"}),
    (["a", "-", "b"], {"words": ["a", "-", "b"]}),
    (["--", "-g", "--", "--model"], {"words": ["-g", "--", "--model"]}),
    (["--think"], {"think": "true"}),
    (["--think", "lower"], {"think": "true", "words": ["lower"]}),
    (["--think", "--", "low"], {"think": "true", "words": ["low"]}),
    (["--think=low"], {"think": "low"}),
    (["--think="], {"think": ""}),
    (["", " "], {"words": ["", " "]}),
    (["--number", "1.5", "--count=0"], {"number": 1.5, "count": 0}),
]


@pytest.mark.parametrize(("arguments", "values"), LINES)
def test_options_and_operands(arguments: list[str], values: dict[str, Any]) -> None:
    assert vars(parse(arguments)) == {"words": [], **values}


def test_words_after_two_dashes_are_the_command_of_a_wrapper() -> None:
    result = parser(command=True).parse(["a", "--", "-g", "--", "b"], Diagnostics("cmd"), Options())
    assert vars(result) == {"words": ["a"], "command": ["-g", "--", "b"]}
    for command in ([], ["", "b"]):
        with pytest.raises(RequestError, match="--: needs a COMMAND after it"):
            parser(command=True).parse(["a", "--", *command], Diagnostics("cmd"), Options())


REFUSED = [
    (["-x"], "-x: unknown option"),
    (["-gx"], "-x: unknown option"),
    (["-é"], "-é: unknown option"),
    (["--help=yes"], "--help: takes no value"),
    (["-5 degrees"], "put words that begin with - after --"),
    (["-\n"], "put words that begin with - after --"),
    (["--name=a b"], "--name: unknown option (did you mean --model?)"),
    (["--mod", "x"], "--mod: unknown option (did you mean --model?)"),
    (["--xyz", "x"], "--xyz: unknown option"),
    (["-H", "x"], "-H: unknown option (did you mean --model?)"),
    (["--name=x"], "--name: unknown option (did you mean --model?)"),
    (["--think", "low"], "--think low: write --think=low, or put the prompt after --"),
    (["--some", "30"], "--some 30: write --some=30, or put the prompt after --"),
    (["-w", ""], "--write: needs a value, not ''"),
    (["--generate=1"], "--generate: takes no value"),
    (["-m"], "-m: needs a value"),
    (["-gm"], "-m: needs a value"),
    (["--number", "0"], "--number: must be a positive number of seconds, not '0'"),
    (["--number=nan"], "--number: must be a positive number of seconds, not 'nan'"),
    (["--number=1e10"], "--number: must be a positive number of seconds, not '1e10'"),
    (["--number=x"], "--number: must be a positive number of seconds, not 'x'"),
    (["--count=-1"], "--count: must be a whole number, 0 or more, not '-1'"),
    (["--some=0"], "--some: must be a whole number from 1 to 1,000, not '0'"),
    (["-g", "--no-think"], "--no-think: can't be combined with --generate"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_wrong_arguments_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(arguments)
    assert (str(caught.value), caught.value.advice) == (message, "see 'cmd --help'")


TOKENS = ["a", "", "-", "--", "---", "-m", "-mx", "-g", "-gm", "-0g", "-x", "--model", "--model=y", "--generate"]


@given(st.lists(st.sampled_from(TOKENS), max_size=6))
def test_options_and_operands_are_ordered_as_by_getopt(arguments: list[str]) -> None:
    try:
        options, words = getopt.gnu_getopt(arguments, "m:g0", ["model=", "generate"])
    except getopt.GetoptError:
        with pytest.raises(RequestError):
            parse(arguments)
        return
    values = vars(parse(arguments))
    models = [value for name, value in options if name in ("-m", "--model")]
    names = {name for name, _ in options}
    assert values["words"] == words
    assert values.get("model") == (models[-1] if models else None)
    assert values.get("generate", False) == bool(names & {"-g", "--generate"})
    assert values.get("null", False) == ("-0" in names)


@pytest.mark.parametrize("arguments", [["-h"], ["a", "--help"], ["-gh"], ["--version", "-h"], ["-m", "x", "-hq"]])
def test_help_prevents_everything_else(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EarlyExit):
        parse(arguments)
    assert capfd.readouterr().out.startswith("usage: cmd [options] [WORD ...]\n\nDoes something.\n\nA source.\n")


@pytest.mark.parametrize(
    ("program", "usage", "example"),
    [
        ("cmd", "usage: cmd [options]", "  send b | stats\n"),
        ("ostream cmd", "usage: ostream cmd [options]", "  ostream send b | ostream stats\n"),
    ],
)
def test_help_names_the_command_as_it_was_called(program: str, usage: str, example: str) -> None:
    text = parser().format_help(program)
    assert text.startswith(usage)
    assert example in text
    assert "--think[=LEVEL]" in text
    assert "50 % of it" in text
