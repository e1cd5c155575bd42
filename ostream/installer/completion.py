"""Complete command lines: find the candidates that a shell offers for the word under the cursor.

`ostream --completion SHELL` prints the script completion.SHELL. The function in this script runs
`ostream --complete WORD...`, which prints one line per candidate: the complete word, a tab, and a description.
A line that begins with a tab tells the shell to add its own candidates:

- tab, "files", tab, PREFIX: file names. PREFIX is the part of the word before the file name, and may be empty.
- tab, "commands": names of commands.

All candidates are derived from the option tables.
"""

from __future__ import annotations

import json
import os
import re

from ostream.errors import OstreamError, RequestError
from ostream.system.polling import pollable_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Mapping, Optional, Tuple

    from ostream.cli.parser import Option, Parser
    from ostream.net.session import Session

    # Options, each with the text of its value, or None if it has none.
    Given = List[Tuple[Option, Optional[str]]]

SHELLS = ("bash", "zsh", "fish")

# Completion is interactive. If the server needs more seconds than this to list its models, or if the list has more
# bytes than this, no models are offered.
MODELS_TIMEOUT_S = 1.0
MODELS_LIMIT = 4 << 20

# The server chooses the model names, and they become part of a command line. A name with any character that is special
# to a shell is not offered.
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")

_CURSOR = "\0"  # marks the word under the cursor; an argument of a program cannot contain NUL


def script(shell: str, commands: Mapping[str, tuple[str, str]]) -> str:
    """Return the completion script for `shell`, one of SHELLS. `commands` is the table of commands."""
    path = os.path.join(os.path.dirname(__file__), f"completion.{shell}")
    # The loader can read the file from a directory and from a zip.
    text: str = __spec__.loader.get_data(path).decode()  # type: ignore[union-attr]
    return text.replace("COMMANDS", " ".join(commands))


def complete(words: list[str], commands: Mapping[str, tuple[str, str]], options: Mapping[str, str]) -> list[str]:
    """Return the lines for the word under the cursor.

    Arguments:
        words: the arguments of `ostream`. The last one is the word under the cursor.
        commands: the table of commands.
        options: the options of `ostream` itself, each with the kind of its value, or "" if it takes none.
    """
    *before, current = words or [""]
    if before[:1] == ["help"]:
        before = before[1:]
        options = {}
    if not before:
        lines = [f"{name}\t{description}" for name, (_, description) in commands.items()]
        lines += [f"{option}\t" for option in options] if current else []
        return [line for line in lines if line.startswith(current)]
    command, *before = before
    if command in commands:
        module = __import__(f"ostream.commands.{command.replace('-', '_')}", fromlist=["parser"])
        return _complete_command(module.parser(), before, current, commands, options)
    kind = options.get(command, "") if not before else ""
    return _files("") if kind == "DIR" else [f"{word}\t" for word in kind.split() if word.startswith(current)]


def _complete_command(
    parser: Parser,
    before: list[str],
    current: str,
    commands: Mapping[str, tuple[str, str]],
    options: Mapping[str, str],
) -> list[str]:
    try:
        given, _, rest = parser.split([*before, _CURSOR])
    except RequestError:  # after an unknown option, any word may be its value
        return []
    if given and given[-1][1] == _CURSOR:
        return _complete_value(given[-1][0], given, "", current)
    if rest and parser.takes_command:
        return _complete_wrapped(rest[:-1], current, commands, options)
    if not rest and current.startswith("--") and "=" in current:
        name, _, value = current.partition("=")
        return _complete_value(parser.find(name), given, f"{name}=", value)
    if not rest and current.startswith("-") and len(current) > 2 and current[1] != "-":
        return _complete_value(parser.find(current[:2]), given, current[:2], current[2:])
    if not rest and current.startswith("-"):
        return [
            f"{name}\t{option.help}" for option in parser.options for name in option.names if name.startswith(current)
        ]
    return _files("") if parser.operands.metavar == "FILE" else []


def _complete_wrapped(
    before: list[str], current: str, commands: Mapping[str, tuple[str, str]], options: Mapping[str, str]
) -> list[str]:
    """Return the lines for a word of the command line that a wrapper such as replay runs.

    `before` contains the words before it in that command line. `current` is the word under the cursor.
    """
    if not before:
        own = [f"{name}\t{description}" for name, (_, description) in commands.items() if name.startswith(current)]
        return [*own, "\tcommands"]
    name = before[0].rpartition("/")[2]
    if name in commands or name == "ostream":
        return complete([*(before[1:] if name == "ostream" else [name, *before[1:]]), current], commands, options)
    return _files("")


def _complete_value(option: Option | None, given: Given, prefix: str, value: str) -> list[str]:
    """Return the lines for `value`, the value of an option. `prefix` is the part of the same word before `value`."""
    if option is None or not option.metavar:
        return []
    if option.dest == "model":
        words = models({each.dest: text for each, text in given if each.dest in ("host", "cacert", "insecure")})
    else:
        words = [*option.choices, *filter(str.islower, option.metavar.split("|"))]
    lines = [f"{prefix}{word}\t" for word in words if word.startswith(value)]
    if "@FILE" in f"{option.metavar} {option.help}":
        lines += _files(f"{prefix}@") if value.startswith("@") else []
    elif {"FILE", "DIR"} & set(option.metavar.split("|")):
        lines += _files(prefix)
    return lines


def _files(prefix: str) -> list[str]:
    return [f"\tfiles\t{prefix}"]


def models(connection: Mapping[str, str | None]) -> list[str]:
    """Return the names of the models on the server, or an empty list if it does not answer in time and correctly.

    `connection` has the values of the options that the user has given: host, cacert, and insecure.
    """
    from ostream.net.session import ConnectionSettings, Session

    settings = ConnectionSettings()
    vars(settings).update(connection, insecure="insecure" in connection)
    try:
        return _names(_tags(Session(settings)))
    except (OstreamError, ValueError, RecursionError):
        return []


def _tags(client: Session) -> bytes:
    from ostream.net import transport
    from ostream.net.timeouts import Timeouts
    from ostream.net.tls import TLSConfig

    timeouts = Timeouts(max_time=MODELS_TIMEOUT_S)
    tls_config = TLSConfig(client.cacert, client.insecure)
    response = transport.request(
        client.host, "GET", "/api/tags", None, client.headers, timeouts, tls_config, pollable_or_none(1)
    )
    body = b""
    for block in response.blocks():
        body += block
        if len(body) > MODELS_LIMIT:
            break
    response.close()
    return body


def _names(body: bytes) -> list[str]:
    answer: Any = json.loads(body)
    found = answer.get("models") if isinstance(answer, dict) else None
    names = [model.get("name") for model in found if isinstance(model, dict)] if isinstance(found, list) else []
    return [name for name in names if isinstance(name, str) and _MODEL_NAME.fullmatch(name)]
