"""Command lines with GNU manners."""

from __future__ import annotations

import getopt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.cli.parser import Parser, count, positive
from ostream.errors import RequestError
from ostream.system.diagnostics import Diagnostics
from ostream.system.process import EarlyExit


def parser() -> Parser:
    parser = Parser("cmd", "[options] [WORD ...]", "A source.", "Does something.", ["cmd a", "cmd b"])
    parser.optional["--think"] = "true"
    parser.choices["--think"] = ("low", "high")
    parser.elsewhere["-H"] = parser.elsewhere["--name"] = "--model"
    parser.add_argument("-m", "--model")
    parser.add_argument("-o", "--option", action="append", default=[])
    parser.add_argument("-g", "--generate", action="store_true")
    parser.add_argument("-0", "--null", action="store_true")
    parser.add_argument("--think")
    parser.add_argument("--number", type=positive)
    parser.add_argument("--count", type=count)
    parser.add_argument("words", nargs="*")
    return parser


def changed(values: dict[str, Any]) -> dict[str, Any]:
    """The values that are not the defaults."""
    return {name: value for name, value in values.items() if value not in (None, False, [])}


LINES = [
    # arguments, values, of them the words behind "--"
    ([], {}, []),
    (["a", "b"], {"words": ["a", "b"]}, []),
    (["a", "-g", "b"], {"words": ["a", "b"], "generate": True}, []),
    (["a", "-m", "x", "b"], {"words": ["a", "b"], "model": "x"}, []),
    (["-mx"], {"model": "x"}, []),
    (["-m", "-x"], {"model": "-x"}, []),
    (["-m", "--"], {"model": "--"}, []),
    (["-m", ""], {"model": ""}, []),
    (["-m=x"], {"model": "=x"}, []),
    (["-m", "é\n"], {"model": "é\n"}, []),
    (["--model", "x"], {"model": "x"}, []),
    (["--model=x"], {"model": "x"}, []),
    (["--model="], {"model": ""}, []),
    (["--model=--generate"], {"model": "--generate"}, []),
    (["--model", "--generate"], {"model": "--generate"}, []),
    (["--model=a=b"], {"model": "a=b"}, []),
    (["-m", "x", "-m", "y"], {"model": "y"}, []),
    (["-o", "a=1", "-ob=2", "--option=c=3"], {"option": ["a=1", "b=2", "c=3"]}, []),
    (["-g0mx"], {"generate": True, "null": True, "model": "x"}, []),
    (["-gm", "x"], {"generate": True, "model": "x"}, []),
    (["-0"], {"null": True}, []),
    (["-"], {"words": ["-"]}, []),
    (["a", "-", "b"], {"words": ["a", "-", "b"]}, []),
    (["--", "-g", "--", "--model"], {"words": ["-g", "--", "--model"]}, ["-g", "--", "--model"]),
    (["a", "--", "b"], {"words": ["a", "b"]}, ["b"]),
    (["--think"], {"think": "true"}, []),
    (["--think", "lower"], {"think": "true", "words": ["lower"]}, []),
    (["--think", "--", "low"], {"think": "true", "words": ["low"]}, ["low"]),
    (["--think=low"], {"think": "low"}, []),
    (["--think="], {"think": ""}, []),
    (["", " "], {"words": ["", " "]}, []),
    (["--number", "1.5", "--count=0"], {"number": 1.5, "count": 0}, []),
]


@pytest.mark.parametrize(("arguments", "values", "rest"), LINES)
def test_options_and_words(arguments: list[str], values: dict[str, Any], rest: list[str]) -> None:
    command_line = parser()
    parsed = command_line.parse(arguments, Diagnostics("cmd"))
    assert {**changed(parsed), **({"count": 0} if "count" in values else {})} == values
    assert command_line.rest == rest


REFUSED = [
    (["-x"], "-x: unknown option"),
    (["-gx"], "-x: unknown option"),
    (["-5"], "-5: unknown option"),
    (["-5 degrees"], "a word that begins with - goes behind --"),
    (["--- a/file"], "a word that begins with - goes behind --"),
    (["-\n"], "a word that begins with - goes behind --"),
    (["--name=a b"], "--name: unknown option; is it --model?"),
    (["--modell", "x"], "--modell: unknown option; is it --model?"),
    (["--mod", "x"], "--mod: unknown option; is it --model?"),
    (["--xyz", "x"], "--xyz: unknown option"),
    (["-H", "x"], "-H: unknown option; is it --model?"),
    (["--name=x"], "--name: unknown option; is it --model?"),
    (["--think", "low"], "--think low: its value goes behind a =, a prompt behind --"),
    (["--generate=1"], "--generate: takes no value"),
    (["--generate="], "--generate: takes no value"),
    (["-m"], "-m: needs a value"),
    (["-gm"], "-m: needs a value"),
    (["--model"], "--model: needs a value"),
    (["--number", "0"], "--number: '0' is no positive number of seconds"),
    (["--number", "-1"], "--number: '-1' is no positive number of seconds"),
    (["--number=nan"], "--number: 'nan' is no positive number of seconds"),
    (["--number=1e10"], "--number: '1e10' is no positive number of seconds"),
    (["--number=x"], "--number: 'x' is no positive number of seconds"),
    (["--count=-1"], "--count: '-1' is no whole number"),
    (["--count=1.5"], "--count: '1.5' is no whole number"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_wrong_arguments_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parser().parse(arguments, Diagnostics("cmd"))
    assert (str(caught.value), caught.value.advice) == (message, "see 'cmd --help'")


TOKENS = [
    "a",
    "",
    "-",
    "--",
    "-m",
    "-mx",
    "-g",
    "-gm",
    "-0g",
    "-x",
    "--model",
    "--model=y",
    "--generate",
    "--generate=",
    "---",
]


@given(st.lists(st.sampled_from(TOKENS), max_size=6))
def test_the_order_of_things_is_that_of_getopt(arguments: list[str]) -> None:
    try:
        options, words = getopt.gnu_getopt(arguments, "m:g0", ["model=", "generate"])
    except getopt.GetoptError:
        with pytest.raises(RequestError):
            parser().parse(arguments, Diagnostics("cmd"))
        return
    values = parser().parse(arguments, Diagnostics("cmd"))
    models = [value for name, value in options if name in ("-m", "--model")]
    names = {name for name, _ in options}
    assert values["words"] == words
    assert values["model"] == (models[-1] if models else None)
    assert values["generate"] == bool(names & {"-g", "--generate"})
    assert values["null"] == ("-0" in names)


@pytest.mark.parametrize(
    ("arguments", "quiet", "verbose"),
    [([], False, False), (["-q"], True, False), (["--verbose"], False, True), (["-qvg"], True, True)],
)
def test_the_manner_of_the_messages(arguments: list[str], quiet: bool, verbose: bool) -> None:
    messages = Diagnostics("cmd")
    parser().parse(arguments, messages)
    assert (messages.quiet, messages.verbose) == (quiet, verbose)


@pytest.mark.parametrize("arguments", [["-h"], ["a", "--help"], ["-gh"], ["--version", "-h"], ["-m", "x", "-hq"]])
def test_help_is_all_there_is_to_do(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EarlyExit):
        parser().parse(arguments, Diagnostics("cmd"))
    assert capfd.readouterr().out.startswith("usage: cmd [options] [WORD ...]\n\nDoes something.\n\nA source.\n")


def test_words_behind_two_dashes_are_no_options(capfd: pytest.CaptureFixture[str]) -> None:
    assert parser().parse(["--", "--help"], Diagnostics("cmd"))["words"] == ["--help"]
    assert capfd.readouterr().out == ""
