"""What may stand where the user of a shell pressed the tabulator: commands, options, values, models, files.

Everything is read off the parsers, so that it can't go stale. `ostream --complete WORD...` gives it to the functions of
shells.py, a line for each: a whole word, a tab, what it means. A line that begins with a tab names what the shell
knows better: "files" (then, after another tab, the beginning of the word that belongs to no file's name) or "commands".
"""

from __future__ import annotations

import json
import re

from ostream.client import Client
from ostream.errors import OstreamError, RequestError
from ostream.net.timeouts import Timeouts
from ostream.net.tls import TLSConfig
from ostream.system.polling import pollable_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Mapping, Optional, Tuple

    from ostream.cli.parser import Option, Parser

    # Options and the text of their values.
    Given = List[Tuple[Option, Optional[str]]]

# Somebody is waiting with a finger in the air; a dead server must not show.
PATIENCE_S = 1.0
SIZE_LIMIT = 4 << 20

# A name goes onto a command line, and a server may say anything: nothing that means something to a shell.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")

_TYPED = "\0"  # stands for the word that is being typed: no argument holds one


def complete(words: list[str], commands: Mapping[str, tuple[str, str]], options: Mapping[str, str]) -> list[str]:
    """The lines for what may take the place of the last of `words`, which stand behind the name of the program.

    `commands` is the table of commands, `options` has those of the program itself: what their value is, or "".
    """
    *before, current = words or [""]
    if not before:
        lines = [f"{name}\t{what}" for name, (_, what) in commands.items()]
        lines += [f"{option}\t" for option in options] if current else []
        return [line for line in lines if line.startswith(current)]
    command, *before = before
    if command in commands:
        module = __import__(f"ostream.commands.{command.replace('-', '_')}", fromlist=["parser"])
        return _of_command(module.parser(), before, current, commands, options)
    kind = options.get(command, "") if not before else ""
    return _files("") if kind == "DIR" else [f"{word}\t" for word in kind.split() if word.startswith(current)]


def _of_command(
    parser: Parser,
    before: list[str],
    current: str,
    commands: Mapping[str, tuple[str, str]],
    options: Mapping[str, str],
) -> list[str]:
    try:
        given, _, rest = parser.split([*before, _TYPED])
    except RequestError:  # an unknown option: what follows could mean anything
        return []
    if given and given[-1][1] == _TYPED:
        return _values(given[-1][0], given, "", current)
    if rest and parser.takes_command:
        return _of_wrapped(rest[:-1], current, commands, options)
    if not rest and current.startswith("--") and "=" in current:
        name, _, value = current.partition("=")
        return _values(parser.find(name), given, f"{name}=", value)
    if not rest and current.startswith("-") and len(current) > 2 and current[1] != "-":
        return _values(parser.find(current[:2]), given, current[:2], current[2:])
    if not rest and current.startswith("-"):
        return [
            f"{name}\t{option.help}" for option in parser.options for name in option.names if name.startswith(current)
        ]
    return _files("") if parser.operands.metavar == "FILE" else []


def _of_wrapped(
    before: list[str], current: str, commands: Mapping[str, tuple[str, str]], options: Mapping[str, str]
) -> list[str]:
    """What may stand in the command of a wrapper, which may be one of ours."""
    if not before:
        return [*(f"{name}\t{what}" for name, (_, what) in commands.items() if name.startswith(current)), "\tcommands"]
    name = before[0].rpartition("/")[2]
    if name in commands or name == "ostream":
        return complete([*(before[1:] if name == "ostream" else [name, *before[1:]]), current], commands, options)
    return _files("")


def _values(option: Option | None, given: Given, prefix: str, value: str) -> list[str]:
    """Return what completes `value`, the value of this option; `prefix` is what comes before it in the same word."""
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


def models(connection: dict[str, str | None]) -> list[str]:
    """The names of the server's models; none, and no word about it, if there is no answer soon."""
    try:
        return _names(
            _tags(Client(connection.get("host"), cacert=connection.get("cacert"), insecure="insecure" in connection))
        )
    except (OstreamError, ValueError, RecursionError):
        return []


def _tags(client: Client) -> bytes:
    from ostream.net import transport

    timeouts = Timeouts(max_time=PATIENCE_S)
    tls_config = TLSConfig(client.cacert, client.insecure)
    response = transport.request(
        client.host, "GET", "/api/tags", None, client.headers, timeouts, tls_config, pollable_or_none(1)
    )
    body = b""
    for block in response.blocks():
        body += block
        if len(body) > SIZE_LIMIT:
            break
    response.close()
    return body


def _names(body: bytes) -> list[str]:
    answer: Any = json.loads(body)
    found = answer.get("models") if isinstance(answer, dict) else None
    names = [model.get("name") for model in found if isinstance(model, dict)] if isinstance(found, list) else []
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]
