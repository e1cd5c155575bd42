"""replay: serve recordings as an Ollama server would, until COMMAND has ended or a signal arrives."""

from __future__ import annotations

import os

from ostream.cli.child import child_environment, exit_like, run_command, serve
from ostream.cli.parser import Operands, Option, Parser
from ostream.cli.value_types import ValueType
from ostream.errors import REJECTED, InputError, RequestError
from ostream.recording.faults import FAULT_FORMS, FAULT_KINDS, Fault, parse_fault
from ostream.recording.file import load
from ostream.recording.http_server import Server
from ostream.recording.matching import MATCHES, Recordings
from ostream.recording.replayer import Replayer, parse_speed
from ostream.system.diagnostics import Diagnostics
from ostream.system.input import input_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

    from ostream.recording.format import RecordedExchange


class ReplayOptions:
    files: Sequence[str] = ()
    command: Sequence[str] = ()
    match = "request"
    repeat = False
    strict = False
    fault: Sequence[Fault] = ()
    speed = 0.0
    port = 0


def _match(text: str) -> str:
    if text not in MATCHES:
        raise ValueError
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) < 65536):
        raise ValueError
    return int(text)


PORT = Option(
    "--port", metavar="N", type=ValueType(_port, "a port, 0 to 65535"), help="port on 127.0.0.1 (default: a free one)"
)


def parser() -> Parser:
    return Parser(
        "replay",
        "[OPTION ...] FILE ... [-- COMMAND [ARGUMENT ...]]",
        "A wrapper: exits with COMMAND's status, or 1 if a request matched no recording. Memory: the recordings.",
        "Serve recordings on a loopback port as an Ollama server would, while COMMAND runs with OLLAMA_HOST set to "
        "that port; without COMMAND, serve until interrupted. A recording is the output of 'record', 'send --stamp' or "
        "'send'. A request is answered by the recording of the same path and body, streaming or not, and each "
        "recording answers once. Recordings without requests ('send') answer in order. A request without a match gets "
        "a 404 that names the most similar recording.",
        [
            "replay answers.ndjson -- python3 my_script.py",
            "replay --fault status:503@1 answers.ndjson -- sh my_script.sh",
        ],
        [
            Option(
                "--match",
                metavar="HOW",
                type=ValueType(_match, "request, path or model"),
                choices=MATCHES,
                help="request (default); path or model: a request without a match gets the next recording of its "
                "path, or of its path and model",
            ),
            Option("--repeat", help="when all recordings of a request are used, answer with the last one again"),
            Option("--strict", help="exit with status 1 also if a recording was not used"),
            Option(
                "--fault",
                metavar="KIND[:K][@N]",
                type=ValueType(parse_fault, FAULT_FORMS),
                repeat=True,
                choices=[f"{kind}:" for kind in FAULT_KINDS],
                help="make each response fail, or only the N-th. After K lines: eof ends the response, reset resets "
                "the connection, error sends an error line, stall sends nothing more. status:CODE answers with this "
                "HTTP status. A failed request does not use up its recording; may be repeated",
            ),
            Option(
                "--speed",
                metavar="S",
                type=ValueType(parse_speed, "a number, 0 or more"),
                help="1: as recorded, 0.5: half as fast, 0: as fast as possible (default)",
            ),
            PORT,
        ],
        Operands("files", "FILE", "recordings; - is standard input"),
        command=True,
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    return run(diagnostics, parser().parse(arguments, diagnostics, ReplayOptions()))


def run(diagnostics: Diagnostics, options: ReplayOptions) -> int:
    if not options.files:
        raise RequestError("no FILE given", advice="usage: replay FILE ... -- COMMAND")
    exchanges = _load_all(options)
    recordings = Recordings(exchanges, options.match, options.repeat)
    replayer = Replayer(recordings, options.speed, options.fault, diagnostics.write, diagnostics.trace)
    with Server(replayer, options.port, diagnostics.write) as server:
        if options.command:
            status = run_command(list(options.command), child_environment(server, recordings.model))
        else:
            count = f"{len(exchanges)} recording{'' if len(exchanges) == 1 else 's'}"
            status = serve(server.url, f"serving {count}", diagnostics)
    for line in replayer.report(options.strict):
        diagnostics.note(line)
    diagnostics.trace(replayer.summary())
    failed = replayer.mismatches or (options.strict and recordings.unused)
    if failed and (not status or not options.command):
        return REJECTED
    return exit_like(status)


def _load_all(options: ReplayOptions) -> list[RecordedExchange]:
    exchanges: list[RecordedExchange] = []
    for name in options.files:
        try:
            exchanges += _load(name)
        except InputError as error:
            if exchanges and not options.command and not os.path.exists(name):
                error.advice = f"put -- before COMMAND: replay {options.files[0]} -- {name} ..."
            raise
    return exchanges


def _load(name: str) -> list[RecordedExchange]:
    exchanges = load(name)
    if not exchanges:
        raise InputError(f"{input_name(name)}: contains no recording", advice="make one: record FILE -- COMMAND")
    return exchanges
