"""replay: recordings, served as the server that made them would."""

from __future__ import annotations

import json
import os
import threading
import time

from ostream.cli.child import child_environment, exit_like, run_command, serve
from ostream.cli.parser import Operands, Option, Parser, ValueType
from ostream.errors import InputError, NotNDJSON, RequestError
from ostream.protocol.error_lines import NO_RECORDING
from ostream.protocol.ndjson import split_lines
from ostream.recording.faults import FAULT_KINDS, Fault, parse_fault
from ostream.recording.format import JSON, Recordings, decode_body, parse
from ostream.recording.http_server import RequestHandler, Server
from ostream.system.diagnostics import Diagnostics
from ostream.system.input import input_name, open_input, read_blocks
from ostream.system.polling import wait_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

    from ostream.recording.format import RecordedExchange


# A recording may claim any time; nobody waits longer than this for a line.
LONGEST_SILENCE = 24 * 3600.0


class ReplayOptions:
    files: Sequence[str] = ()
    command: Sequence[str] = ()
    speed = 0.0
    fault: Fault | None = None


def parser() -> Parser:
    return Parser(
        "replay",
        "[--speed S] [--fault KIND:K] FILE ... [-- COMMAND [ARGUMENT ...]]",
        "A wrapper: exits with COMMAND's status; memory: the recordings.",
        "Serve recordings on a loopback port as an Ollama server would: to COMMAND, with OLLAMA_HOST set, or until "
        "interrupted. A recording is the output of 'send', or a file with request lines. A recorded request is "
        "answered as often as it is sent; any other request gets the next unused recording. A FILE may be named "
        "twice.",
        [
            "replay examples/recordings/sky.ndjson -- sh examples/demo.sh",
            "replay answer.ndjson -- sh -c 'send hello | extract-content'",
        ],
        [
            Option(
                "--speed",
                metavar="S",
                type=SPEED,
                help="1: as recorded, 0.5: half as fast, 0: as fast as possible (default)",
            ),
            Option(
                "--fault",
                metavar="KIND:K",
                type=FAULT,
                choices=("eof:", "reset:", "error:", "stall:", "status:"),
                help=f"inject a failure: {FAULT_KINDS}",
            ),
        ],
        Operands("files", "FILE", "recordings; - is standard input"),
        command=True,
    )


def _speed(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e6:
        raise ValueError
    return value


SPEED = ValueType(_speed, "a number, 0 or more")
FAULT = ValueType(parse_fault, "eof:K, reset:K, error:K, stall:K or status:CODE")


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    options = parser().parse(arguments, diagnostics, ReplayOptions())
    return run(diagnostics, list(options.files), list(options.command), options.speed, options.fault)


def run(
    diagnostics: Diagnostics, files: list[str], command: list[str], speed: float = 0, fault: Fault | None = None
) -> int:
    if not files:
        raise RequestError("no recording", advice="write 'replay FILE ... -- COMMAND'")
    recordings = Recordings([exchange for name in files for exchange in _load(name)])
    if fault:
        for recorded in recordings.exchanges:
            fault.inject(recorded)
    lock = threading.Lock()

    def respond(exchange: RequestHandler) -> None:
        diagnostics.trace(f"{exchange.command} {exchange.path}")
        path = exchange.path.partition("?")[0]
        with lock:
            found = recordings.find(path, decode_body(exchange.body), exchange.command)
        if found:
            _send(exchange, found, speed)
        else:
            _send_default(exchange, known=any(recorded.path == path for recorded in recordings.exchanges))

    with Server(respond) as server:
        if command:
            return exit_like(run_command(command, child_environment(server.url, recordings.model)))
        return exit_like(serve(server.url, f"serving {len(recordings.exchanges)} recordings", diagnostics))


def _load(name: str) -> list[RecordedExchange]:
    fd = open_input(name)
    try:
        batches = split_lines(read_blocks(fd, input_name(name)))
        exchanges = parse((line for lines in batches for line in lines), input_name(name))
    except NotNDJSON as error:
        # Of a line too long to be split off, only the file is known.
        where = "" if error.lineno else f"{input_name(name)}: "
        raise NotNDJSON(f"{where}{error}", error.line, error.lineno) from None
    finally:
        if fd:
            os.close(fd)
    if not exchanges:
        raise InputError(f"{input_name(name)}: no recording in it")
    return exchanges


def _send(exchange: RequestHandler, found: RecordedExchange, speed: float) -> None:
    begin = time.monotonic()
    with exchange.watched() as client:

        def keep_time(elapsed_ns: int) -> None:
            if speed:
                end = min(begin + elapsed_ns / 1e9 / speed, begin + LONGEST_SILENCE)
                wait_ready(None, 0, client, lambda: end - time.monotonic())

        if exchange.command == "HEAD" or found.status in (204, 304):
            exchange.send_body(found.status, found.content_type, b"")
        elif found.ending == "end" and found.content_type.startswith("application/json"):
            keep_time(found.elapsed_ns)
            body = b"".join(line for line, _ in found.lines)
            is_line = body.endswith(b"\n") and not found.is_text
            exchange.send_body(found.status, found.content_type, body[:-1] if is_line else body)
        else:
            # Headers come with the first line: a server that was killed before it has sent none.
            if found.lines or found.ending == "end":
                exchange.head(found.status, found.content_type)
            for line, elapsed_ns in found.lines:
                keep_time(elapsed_ns)
                exchange.chunk(line)
            if found.ending == "end":
                exchange.end()
            elif found.ending == "stall":
                wait_ready(None, 0, client)
    if found.ending == "cut":
        exchange.truncate()
    elif found.ending == "reset":
        exchange.reset()


def _send_default(exchange: RequestHandler, known: bool) -> None:
    """What a real server says without a model, and to a request that was not recorded."""
    if exchange.path == "/" and exchange.command in ("GET", "HEAD"):
        exchange.send_body(200, "text/plain; charset=utf-8", b"Ollama is running")
    elif exchange.path == "/api/version" and exchange.command == "GET":
        exchange.send_body(200, JSON, b'{"version":"0.0.0"}')
    elif exchange.command == "POST":
        left = f"{NO_RECORDING} is left for this request to {exchange.path}: each answers one; name the file again"
        error = {"error": left if known else f"{NO_RECORDING} answers this request to {exchange.path}"}
        exchange.send_body(404, JSON, json.dumps(error).encode())
    else:
        exchange.send_body(404, "text/plain", b"404 page not found")
