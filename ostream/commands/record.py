"""record: a command's exchanges with the server, written down as they pass."""

from __future__ import annotations

import os
import stat

from ostream.cli.child import child_environment, exit_like, run_command, serve
from ostream.cli.parser import Operands, Option, Parser
from ostream.errors import REJECTED, OutputError, RequestError, reason
from ostream.net.host import parse_host
from ostream.protocol.ndjson import is_cut
from ostream.recording.http_server import Server
from ostream.system.diagnostics import Diagnostics
from ostream.system.input import BLOCK, open_input
from ostream.system.output import Output, given_descriptor, open_output
from ostream.system.polling import ReaderGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

    from ostream.recording.http_server import RequestHandler
    from ostream.recording.proxy import ExchangeLog


class RecordOptions:
    files: Sequence[str] = ()
    command: Sequence[str] = ()
    append = False


def parser() -> Parser:
    return Parser(
        "record",
        "[-a] FILE [-- COMMAND [ARGUMENT ...]]",
        "A wrapper: exits with COMMAND's status; memory: one line of each exchange in progress.",
        "Run COMMAND with OLLAMA_HOST set to a loopback port that forwards everything to the server of OLLAMA_HOST, "
        "and write each exchange to FILE when it is complete; without COMMAND, record until interrupted. 'replay' "
        "serves FILE, and the filters read it. It contains prompts and answers, and no credentials. Authorization "
        "headers are forwarded only to an https or loopback server.",
        [
            "record answers.ndjson -- send -m qwen3 'Why is the sky blue?'",
            "record -a answers.ndjson -- python3 my_script.py; replay answers.ndjson -- python3 my_script.py",
        ],
        [Option("-a", "--append", help="append to FILE, which otherwise must be new or empty")],
        Operands("files", "FILE", "file to record to"),
        command=True,
    )


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    options = parser().parse(arguments, diagnostics, RecordOptions())
    if len(options.files) != 1:
        problem = "no FILE given" if not options.files else f"{options.files[1]}: only one FILE can be given"
        raise RequestError(problem, advice="usage: record FILE -- COMMAND")
    return run(diagnostics, options.files[0], list(options.command), options.append)


def run(diagnostics: Diagnostics, name: str, command: list[str], append: bool = False) -> int:
    # The rest of the package is loaded now, so that --help and a wrong option answer at once.
    from ostream.recording.proxy import Proxy

    host = parse_host(os.environ.get("OLLAMA_HOST"))
    file = File(name, append, diagnostics)
    proxy = Proxy(host, file.keep, diagnostics.note)

    def respond(exchange: RequestHandler) -> None:
        diagnostics.trace(f"{exchange.command} {exchange.path}")
        proxy(exchange)

    with Server(respond) as server:
        try:
            if command:
                status = run_command(command, child_environment(server.url))
            else:
                status = serve(server.url, f"recording what {host.url} says", diagnostics)
        finally:
            proxy.finish()
    file.close()
    return exit_like(status) or (REJECTED if file.has_failed else 0)


class File:
    """The recording, to which whole exchanges are added."""

    def __init__(self, name: str, append: bool, diagnostics: Diagnostics) -> None:
        self.has_failed = False
        self._diagnostics = diagnostics
        if name == "-":
            raise RequestError("-: COMMAND writes there", advice="say /dev/stdout if that is meant")
        self._out: Output | None = open_output(name, [], append=True)
        self._is_ours = given_descriptor(name) is None and stat.S_ISREG(os.fstat(self._out.fd).st_mode)
        size = os.fstat(self._out.fd).st_size if self._is_ours else 0
        if size and not append:
            # To write 'record' for 'replay' is easy.
            raise RequestError(f"{name}: holds something already", advice="-a adds to it; or remove it first")
        tail = _unfinished_line(name, size) if size else b""
        if is_cut(tail):
            os.ftruncate(self._out.fd, size - len(tail))
            diagnostics.note(f"{name}: the last line was cut off; it is taken out")
        elif tail:
            self._out.write_bytes(b"\n")

    def keep(self, note: ExchangeLog) -> None:
        """Add an exchange. When that fails, say so once, and let the traffic go on."""
        if self._out is None:
            return
        if note.missing:
            self._diagnostics.write(f"{note.missing}; this exchange is not recorded")
            self.has_failed = True
            return
        size = os.fstat(self._out.fd).st_size
        try:
            if note.failure:
                raise OutputError(f"a temporary file: {reason(note.failure)}")
            note.spool.seek(0)
            for block in iter(lambda: note.spool.read(BLOCK), b""):
                self._out.write_bytes(block)
        except (OSError, OutputError, ReaderGone) as error:
            if self._is_ours:
                os.ftruncate(self._out.fd, size)  # half an exchange would spoil the others
            self._give_up(error)

    def close(self) -> None:
        if self._out is not None:
            try:
                self._out.close()
            except OutputError as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        text = str(error) if isinstance(error, OutputError) else "standard output: Broken pipe"
        self._diagnostics.write(f"{text}; what follows is not recorded")
        self.has_failed = True
        self._out = None


def _unfinished_line(name: str, size: int) -> bytes:
    """What stands behind the last newline."""
    fd = open_input(name)
    blocks: list[bytes] = []  # from the end on
    try:
        while size and not (blocks and b"\n" in blocks[-1]):
            begin = max(0, size - BLOCK)
            blocks.append(os.pread(fd, size - begin, begin))
            size = begin
    finally:
        os.close(fd)
    return b"".join(reversed(blocks)).rpartition(b"\n")[2]
