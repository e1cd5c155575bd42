"""record: forward the requests of a command to the server, and record each request with its response."""

from __future__ import annotations

import os

from ostream.cli.child import child_environment, exit_like, run_command, serve
from ostream.cli.parser import Operands, Option, Parser
from ostream.commands.replay import PORT
from ostream.errors import REJECTED, RequestError
from ostream.net.host import parse_host
from ostream.recording.http_server import Server
from ostream.system.diagnostics import Diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence


class RecordOptions:
    files: Sequence[str] = ()
    command: Sequence[str] = ()
    append = False
    once = False
    refresh = False
    cacert: str | None = None
    port = 0


def parser() -> Parser:
    return Parser(
        "record",
        "[OPTION ...] FILE [-- COMMAND [ARGUMENT ...]]",
        "A wrapper: exits with COMMAND's status. Memory: one line of each exchange in progress.",
        "Run COMMAND with OLLAMA_HOST set to a loopback port that forwards everything to the server of OLLAMA_HOST, "
        "and write each exchange to FILE when it is complete; without COMMAND, record until interrupted. 'replay' "
        "serves FILE, and the filters can read it. FILE contains prompts and answers, but no credentials. "
        "Authorization headers are forwarded only to an https or loopback server.",
        [
            "record answers.ndjson -- send -m qwen3 'Why is the sky blue?'",
            "record --once answers.ndjson -- python3 my_script.py",
        ],
        [
            Option("-a", "--append", exclusive="FILE", help="append to FILE, which otherwise must be new or empty"),
            Option("--once", help="answer requests that FILE contains from FILE; forward and record only the others"),
            Option("--refresh", exclusive="FILE", help="record everything again, and replace FILE if COMMAND succeeds"),
            Option("--cacert", metavar="FILE", help="trust the certificate authorities in this PEM file"),
            PORT,
        ],
        Operands("files", "FILE", "file to record to"),
        command=True,
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    options = parser().parse(arguments, diagnostics, RecordOptions())
    if len(options.files) != 1:
        problem = "no FILE given" if not options.files else f"{options.files[1]}: only one FILE can be given"
        advice = "usage: record FILE -- COMMAND"
        if options.files and not options.command:
            advice = f"put -- before COMMAND: record {options.files[0]} -- {options.files[1]} ..."
        raise RequestError(problem, advice=advice)
    return run(diagnostics, options)


def run(diagnostics: Diagnostics, options: RecordOptions) -> int:
    # These modules are loaded only now, so that --help and usage errors appear without a delay.
    from ostream.net.tls import TLSConfig
    from ostream.recording.file import RecordingFile, load
    from ostream.recording.recorder import Recorder

    name = options.files[0]
    host, tls_config = parse_host(os.environ.get("OLLAMA_HOST")), TLSConfig(options.cacert)
    if options.cacert:
        tls_config.context()  # raises an error for an unusable file before COMMAND starts
    mode = "refresh" if options.refresh else "append" if options.append or options.once else "new"
    file = RecordingFile(name, mode, diagnostics.write, diagnostics.note)
    recorded = load(name) if options.once and not options.refresh and os.path.getsize(name) else []
    recorder = Recorder(
        host,
        file,
        recorded if options.once else None,
        tls_config,
        diagnostics.write,
        diagnostics.note,
        diagnostics.trace,
    )
    status = 1
    try:
        with Server(recorder, options.port, diagnostics.write) as server:
            try:
                if options.command:
                    model = recorder.recordings.model
                    status = run_command(list(options.command), child_environment(server, model))
                else:
                    status = serve(server.url, f"recording requests to {host.url}", diagnostics)
            finally:
                recorder.finish()
    finally:
        file.close(succeeded=not status or (status < 0 and not options.command))
    return exit_like(status) or (REJECTED if file.has_failed else 0)
