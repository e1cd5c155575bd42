"""What send and batch have in common: the options that go into a request, and those of the connection."""

from __future__ import annotations

from ostream.cli.parser import count, positive
from ostream.errors import RequestError
from ostream.system.input import read_input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ostream.cli.parser import Parser
    from ostream.client import Client
    from ostream.system.diagnostics import Diagnostics


def add_request_arguments(parser: Parser, *option: str) -> Any:
    """Options that go into the body, in a group of their own, which is given back; `option` names --option."""
    parser.optional["--think"] = "true"
    parser.choices["--think"] = ("true", "false", "low", "medium", "high", "max")
    group = parser.add_argument_group("the request")
    add = group.add_argument
    add("-m", "--model", metavar="NAME", help="the model; else OLLAMA_MODEL")
    add("-g", "--generate", action="store_true", help="use /api/generate instead of /api/chat")
    add("-s", "--system", metavar="TEXT", help="the system message; @FILE reads it from a file (@@ for a literal @)")
    add(*option, metavar="KEY=VALUE", action="append", default=[], help="a model option; may be repeated")
    add("-f", "--format", metavar="json|@FILE|JSON", help="answer in JSON, or by a JSON schema")
    add("--think", metavar="LEVEL", help="think: true (without a LEVEL), false, low, medium, high or max")
    add("--no-think", dest="think", action="store_const", const="false", help="do not think")
    add("--keep-alive", metavar="DURATION", help="how long the model stays in memory: 5m, 0, -1")
    add("--logprobs", action="store_true", default=None, help="ask for log-probabilities")
    add("--top-logprobs", metavar="N", type=count, help="and for N alternatives of each")
    add("--no-truncate", dest="truncate", action="store_false", default=None, help="fail on an over-long prompt")
    add("--no-shift", dest="shift", action="store_false", default=None, help="stop at the end of the context window")
    return group


def add_connection_arguments(parser: Parser, retry: int = 0) -> None:
    """Options that say where the server is and how long to wait; `retry` is the default of --retry."""
    add = parser.add_argument_group("the connection").add_argument
    add("--host", metavar="URL", help="the server; else OLLAMA_HOST")
    add("--header", metavar="'K: V'", action="append", default=[], help="another header; may be repeated")
    add("--header-file", metavar="FILE", action="append", default=[], help="headers from a file, one on each line")
    add("--connect-timeout", metavar="S", type=positive, default=10, help="name, connection, proxy and TLS (10)")
    add("--first-byte-timeout", metavar="S", type=positive, help="from connected to the first byte (none)")
    add("--idle-timeout", metavar="S", type=positive, help="the longest silence after it (none)")
    add("--max-time", metavar="S", type=positive, help="all of it, retries included (none)")
    parser.elsewhere.update({"-H": "--header", "--timeout": "--max-time"})
    tries = f"try again N times: 429, 502, 503, 504, refused, reset ({retry})"
    add("--retry", metavar="N", type=count, default=retry, help=tries)
    add("--cacert", metavar="FILE", help="trust the authorities in this PEM file")
    add("--insecure", action="store_true", help="do not verify the server's certificate")


def client_of(values: dict[str, Any]) -> Client:
    """The client that the options of the connection ask for."""
    from ostream.client import Client

    return Client(
        values["host"],
        headers=headers(values),
        connect_timeout=values["connect_timeout"],
        first_byte_timeout=values["first_byte_timeout"],
        idle_timeout=values["idle_timeout"],
        max_time=values["max_time"],
        retry=values["retry"],
        cacert=values["cacert"],
        insecure=values["insecure"],
    )


def headers(values: dict[str, Any]) -> dict[str, str]:
    """The headers of --header-file and --header; the later one wins."""
    lines: list[str] = []
    for name in values["header_file"]:
        lines += read_input(name).decode("utf-8", "replace").splitlines()
    headers = {}
    for line in [*lines, *values["header"]]:
        name, colon, value = line.partition(":")
        if line.strip():
            if not colon:
                raise RequestError("header without a colon", advice="write 'Name: value'")
            headers[name.strip()] = value.strip()
    return headers


def say_what_is_unusual(client: Client, diagnostics: Diagnostics) -> None:
    """A key that is not sent, a certificate that is not verified."""
    if client.key_withheld:
        diagnostics.note(f"OLLAMA_API_KEY is not sent over plain http to {client.host.url}; use https")
    if client.insecure:
        diagnostics.note(f"{client.host.url}: the certificate is not verified; anybody could answer")
