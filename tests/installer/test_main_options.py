"""`ostream` without a command: the list of commands, help, and suggestions for misspelt names."""

from __future__ import annotations

from ostream.__main__ import COMMANDS
from ostream.installer.main_options import OPTIONS
from ostream.version import __version__
from tests.process import call, sh


def test_bare_ostream_lists_the_commands_and_is_a_usage_error() -> None:
    result = call("ostream")
    assert (result.returncode, result.stdout) == (2, b"")
    text = result.stderr.decode()
    assert text.startswith("usage: ostream COMMAND") and "\nRun 'ostream help COMMAND' for details.\n" in text
    for name, (kind, description) in COMMANDS.items():
        assert f" {name} {kind} {description} " in " ".join(text.split())


def test_help_is_that_of_the_option() -> None:
    text = call("ostream", "--help")
    assert text.returncode == 0 and call("ostream", "help").stdout == call("ostream", "-h").stdout == text.stdout
    assert text.stdout.startswith(b"usage: ostream COMMAND")
    assert all(option.encode() in text.stdout for option in OPTIONS if option != "--help")
    assert call("ostream", "help", "send").stdout == call("ostream", "send", "--help").stdout


def test_without_a_command_the_status_does_not_depend_on_stderr() -> None:
    assert sh("ostream 2>&-").returncode == sh("ostream").returncode == 2


def test_version() -> None:
    assert call("ostream", "--version").stdout.decode() == f"ostream {__version__}\n"


def test_help_names_the_program_as_it_was_called() -> None:
    assert sh("python3 -m ostream help").stdout.startswith(b"usage: python3 -m ostream COMMAND")
    assert sh("python3 -m ostream help send").stdout.startswith(b"usage: python3 -m ostream send ")
