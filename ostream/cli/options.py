"""Define the options that several commands share, and turn their values into a session, headers and request fields."""

from __future__ import annotations

import os

from ostream.cli.parser import Option
from ostream.cli.value_types import COUNT, SECONDS
from ostream.errors import RequestError
from ostream.net.session import ConnectionSettings, Session
from ostream.protocol.option_names import OPTION_NAMES
from ostream.protocol.request import COMMON_FIELDS, parse_json, parse_options, parse_value
from ostream.system.input import read_input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

THINK_LEVELS = {"true": True, "false": False, "low": "low", "medium": "medium", "high": "high", "max": "max"}

# Maps the names that other programs use for these options to the names used here.
CONNECTION_SUGGESTIONS = {"-H": "--header", "--timeout": "--max-time"}


def request_suggestions(option: str) -> dict[str, str]:
    """Return a dict that maps request options of other programs to our options; `option` is "--option" or "-o"."""
    found = {f"--{name.replace('_', '-')}": f"{option} {name}=VALUE" for name in OPTION_NAMES}
    found.update({"--max-tokens": f"{option} num_predict=VALUE", "--schema": "-f @FILE", "--json": "-f json"})
    return found


class RequestOptions:
    """Option values that determine a request to /api/chat or /api/generate."""

    model: str | None = None
    generate = False
    system: str | None = None
    options: Sequence[str] = ()
    format: str | None = None
    think: str | None = None
    keep_alive: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    truncate: bool | None = None
    shift: bool | None = None


class ConnectionOptions(ConnectionSettings):
    """Option values for the connection to the server."""

    header: Sequence[str] = ()
    header_file: Sequence[str] = ()


class SendOptions(RequestOptions, ConnectionOptions):
    """Option values of send. `request_builder` turns them into a request."""

    words: Sequence[str] = ()
    image: Sequence[str] = ()
    stream: bool | None = None
    load = False
    unload = False
    body: str | None = None
    dry_run = False
    conversation: str | None = None
    messages: str | None = None
    tools: str | None = None
    run_tools = False
    max_turns = 8
    context: str | None = None
    raw: bool | None = None
    suffix: str | None = None
    template: str | None = None
    stamp = False
    fail_on_length = False
    fail_on_empty = False
    raw_terminal = False


def request_options(*names: str) -> list[Option]:
    """Return the options that determine a request; `names` are those of the option for model options."""
    group = "request"
    return [
        Option("-m", "--model", metavar="NAME", group=group, help="model name (default: $OLLAMA_MODEL)"),
        Option("-g", "--generate", group=group, help="use /api/generate instead of /api/chat"),
        Option(
            *("-s", "--system"),
            metavar="TEXT",
            group=group,
            help="system message; @FILE reads it from FILE (@@ for a literal @)",
        ),
        Option(
            *names,
            dest="options",
            metavar="NAME=VALUE",
            repeat=True,
            group=group,
            help="model option, such as temperature=0 or num_ctx=8192; may be repeated",
        ),
        Option(
            *("-f", "--format"),
            metavar="json|@FILE|JSON",
            group=group,
            help="answer in JSON, or according to a JSON schema",
        ),
        Option(
            "--think",
            metavar="LEVEL",
            optional_value="true",
            choices=tuple(THINK_LEVELS),
            group=group,
            help=f"thinking level: {', '.join(THINK_LEVELS)} (without LEVEL: true)",
        ),
        Option("--no-think", dest="think", const="false", group=group, help="disable thinking"),
        Option(
            "--keep-alive",
            metavar="DURATION",
            group=group,
            help="how long the model stays loaded, such as 5m (0: unload at once, -1: no limit)",
        ),
        Option("--logprobs", group=group, help="request log probabilities"),
        Option(
            "--top-logprobs",
            metavar="N",
            type=COUNT,
            group=group,
            help="request log probabilities, with N alternatives for each token",
        ),
        Option("--truncate", group=group, help="truncate a prompt that exceeds the context window"),
        Option(
            "--no-truncate",
            dest="truncate",
            const=False,
            group=group,
            help="fail if the prompt exceeds the context window",
        ),
        Option("--shift", group=group, help="drop old tokens when the context window is full"),
        Option("--no-shift", dest="shift", const=False, group=group, help="stop when the context window is full"),
    ]


def connection_options(retry: int = 0) -> list[Option]:
    """Return the options for the connection to the server; the help of --retry shows `retry` as its default."""
    group = "connection"
    return [
        Option("--host", metavar="URL", group=group, help="server address (default: $OLLAMA_HOST)"),
        Option("--header", metavar="'K: V'", repeat=True, group=group, help="additional header; may be repeated"),
        Option("--header-file", metavar="FILE", repeat=True, group=group, help="read headers from FILE, one per line"),
        Option(
            "--connect-timeout",
            metavar="S",
            type=SECONDS,
            group=group,
            help="max time for name lookup, connection, proxy and TLS (default: 10)",
        ),
        Option(
            "--first-byte-timeout",
            metavar="S",
            type=SECONDS,
            group=group,
            help="max wait for the first byte of the answer (default: no limit)",
        ),
        Option(
            "--idle-timeout",
            metavar="S",
            type=SECONDS,
            group=group,
            help="max gap between bytes of the answer (default: no limit)",
        ),
        Option(
            "--max-time",
            metavar="S",
            type=SECONDS,
            group=group,
            help="max time per request, retries included (default: no limit)",
        ),
        Option(
            "--retry",
            metavar="N",
            type=COUNT,
            group=group,
            help=f"retry N times if the server is busy or unreachable and nothing has arrived (default: {retry})",
        ),
        Option("--cacert", metavar="FILE", group=group, help="trust the certificate authorities in this PEM file"),
        Option("--insecure", group=group, help="do not verify the server's certificate"),
        Option("--allow-plain-http", group=group, help="allow sending credentials over plain http to another machine"),
    ]


def make_session(options: ConnectionOptions) -> Session:
    """Create the session with the settings of the connection options. Raises RequestError for an unusable value."""
    options.headers = read_headers(options)
    return Session(options)


def read_headers(options: ConnectionOptions) -> dict[str, str]:
    """Return the headers of --header-file and --header; a later header replaces an earlier header of the same name."""
    lines: list[str] = []
    for name in options.header_file:
        lines += read_input(name).decode("utf-8", "replace").splitlines()
    headers = {}
    for line in [*lines, *options.header]:
        name, colon, value = line.partition(":")
        if line.strip():
            if not colon:
                raise RequestError("header without a colon", advice="write 'Name: value'")
            headers[name.strip()] = value.strip()
    return headers


def common_fields(options: RequestOptions) -> dict[str, Any]:
    """Return the body fields that the options set and that both endpoints have, except `model` and `stream`."""
    if options.model == "":
        raise RequestError("--model: is empty", advice="give a model name, or leave it out to use $OLLAMA_MODEL")
    fields = {name: getattr(options, name) for name in COMMON_FIELDS if getattr(options, name, None) is not None}
    for name, parse in _PARSERS.items():
        if name in fields:
            fields[name] = parse(fields[name])
    if fields.get("top_logprobs"):
        fields["logprobs"] = True  # without it the server ignores top_logprobs
    return {name: value for name, value in fields.items() if value not in (None, {}) or name == "format"}


def _parse_think(text: str) -> Any:
    if text not in THINK_LEVELS:
        raise RequestError(f"--think={text}: invalid level", advice=f"choose from {', '.join(THINK_LEVELS)}")
    return THINK_LEVELS[text]


def _parse_keep_alive(text: str) -> Any:
    number = parse_value(text)
    return number if type(number) in (int, float) else text


def _parse_format(text: str) -> Any:
    if text == "json":
        return text
    if text.startswith("@"):
        schema = parse_json(read_input(text[1:]), f"--format {text}")
    elif os.path.isfile(text):
        raise RequestError(f"--format {text}: is a file", advice=f"write @{text}")
    elif not text.lstrip().startswith(("{", "[")):
        raise RequestError(
            f"--format {text}: is not json, a JSON schema or a file", advice="write json, @FILE or the schema itself"
        )
    else:
        schema = parse_json(text, f"--format {text}")
    if not isinstance(schema, dict):
        raise RequestError("--format: must be json or a JSON schema, which is an object")
    return schema


def _parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            advice = "to write the output to a file, use > FILE"
            raise RequestError(f"option {pair!r}: write NAME=VALUE, such as temperature=0", advice=advice)
        more = value.partition(",")[2].partition("=")
        if name != "stop" and more[1] and more[0].strip().isidentifier() and not value.startswith(('"', "[", "{")):
            raise RequestError(
                f"option {pair!r}: looks like several options",
                advice=f"repeat the option for each NAME=VALUE (a text with a comma: '{name}=\"{value}\"')",
            )
    return parse_options(pairs)


# The functions that convert an option's text to the value of the request field with the same name.
_PARSERS = {"think": _parse_think, "keep_alive": _parse_keep_alive, "format": _parse_format, "options": _parse_options}


def read_text(value: str | None, option: str) -> str | None:
    """Return `value`. @FILE means the content of FILE without its last newline; @@TEXT means the text "@TEXT"."""
    if value is None or not value.startswith("@"):
        return value
    if value.startswith("@@"):
        return value[1:]
    try:
        text = read_input(value[1:]).decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"{option} {value}: not UTF-8: {error.reason} at byte {error.start}") from None
    return text[:-1] if text.endswith("\n") else text
