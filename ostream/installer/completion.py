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
    from typing import Any, Mapping

    from ostream.cli.parser import Parser

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
        given, _, rest = parser.sort([*before, _TYPED])
    except RequestError:  # an unknown option: what follows could mean anything
        return []
    if given and given[-1].endswith(f"={_TYPED}"):
        return _values(parser, given[-1].partition("=")[0], given, "", current)
    if rest and "COMMAND" in (parser.usage or ""):
        return _of_wrapped(rest[:-1], current, commands, options)
    if not rest and current.startswith("--") and "=" in current:
        name, _, value = current.partition("=")
        return _values(parser, name, given, f"{name}=", value)
    if not rest and current.startswith("-") and len(current) > 2 and current[1] != "-":
        return _values(parser, current[:2], given, current[:2], current[2:])
    if not rest and current.startswith("-"):
        return [f"{name}\t{action.help}" for name, action in parser.actions().items() if name.startswith(current)]
    return _files("") if parser.takes_files() else []


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


def _values(parser: Parser, name: str, given: list[str], prefix: str, value: str) -> list[str]:
    """What may be the value of this option; `prefix` is what stands before it in the same word."""
    action = parser.actions().get(name)
    if action is None or action.nargs == 0:
        return []
    kind = str(action.metavar)
    if action.dest == "model":
        words = models(_asked(given))
    else:
        words = [*parser.choices.get(action.option_strings[-1], ()), *filter(str.islower, kind.split("|"))]
    lines = [f"{prefix}{word}\t" for word in words if word.startswith(value)]
    if "@FILE" in f"{kind} {action.help}":
        lines += _files(f"{prefix}@") if value.startswith("@") else []
    elif {"FILE", "DIR"} & set(kind.split("|")):
        lines += _files(prefix)
    return lines


def _files(prefix: str) -> list[str]:
    return [f"\tfiles\t{prefix}"]


def _asked(given: list[str]) -> dict[str, str]:
    """The options that say where the server is."""
    pairs = (option.partition("=") for option in given)
    return {name[2:]: value for name, _, value in pairs if name in ("--host", "--cacert", "--insecure")}


def models(asked: dict[str, str]) -> list[str]:
    """The names of the server's models; none, and no word about it, if there is no answer soon."""
    try:
        return _names(_tags(Client(asked.get("host"), cacert=asked.get("cacert"), insecure="insecure" in asked)))
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
