"""batch: many requests, so many at a time, and an answer line for each."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat

from ostream.cli.options import (
    add_connection_arguments,
    add_request_arguments,
    client_of,
    say_what_is_unusual,
)
from ostream.cli.parser import Parser, positive
from ostream.errors import RequestError
from ostream.system.diagnostics import Diagnostics
from ostream.system.input import BLOCK
from ostream.system.output import Output
from ostream.system.polling import is_pipe
from ostream.system.process import exit_by_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ContextManager

    from ostream.batch.jobs import Settings
    from ostream.batch.progress import Progress
    from ostream.batch.runner import AnswerSink


def parser() -> Parser:
    parser = Parser(
        "batch",
        "[-m MODEL] [-j N] [-k] [-o FILE [--resume]] [options] [FILE ...]",
        "A source: streaming, an answer is written as soon as it is whole; memory: one answer per job, and with -o\n"
        "16 bytes per answered id.",
        "Send the requests of NDJSON files, N at a time, and print one line for each: the server's whole answer with\n"
        "the request's id, or an error line. A request is a body with messages or a prompt, a JSON string, which is a\n"
        "prompt, or a record of an OpenAI batch file. Ctrl-C once: finish what is running; twice: stop now.",
        [
            "batch -m qwen3 -j 8 -o answers.ndjson --resume requests.ndjson",
            "batch -m qwen3 --lines questions.txt | extract-content --json",
        ],
    )
    add = parser.add_argument_group("the work").add_argument
    add("-j", "--jobs", metavar="N", type=jobs, default=4, help="requests at a time (4)")
    add("-k", "--keep-order", action="store_true", help="answer in the order of the input; at most 4 N wait")
    to_file = "write the answers to FILE, so that no crash loses one, and nothing to stdout"
    add("-o", "--output", metavar="FILE", action="append", help=to_file)
    add("--resume", action="store_true", help="with -o: send only what FILE does not answer yet; failures again")
    add("--lines", action="store_true", help="each line of the input is a prompt, as it is")
    add("--max-failures", metavar="N", type=jobs, help="begin nothing more after N failures")
    add("--progress", metavar="S", type=positive, help="say every S seconds (10) how far it is, terminal or not")
    parser.optional["--progress"] = "10"
    add_request_arguments(parser, "--option")
    add_connection_arguments(parser, retry=3)
    add = parser.add_argument_group("the answers").add_argument
    add("--raw-terminal", action="store_true", help="let control characters reach the terminal")
    parser.add_argument("files", nargs="*", metavar="FILE", help="requests; '-' or none: standard input")
    return parser


def jobs(text: str) -> int:
    value = int(text)
    if not 0 < value <= 1000:
        raise ValueError
    return value


jobs.__name__ = "number from 1 to 1000"


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    return run(diagnostics, **parser().parse(arguments, diagnostics))


def run(diagnostics: Diagnostics, **values: Any) -> int:
    # The rest of the package is loaded now, so that --help and a wrong option answer at once.
    from ostream.batch.progress import Progress
    from ostream.batch.runner import BatchRunner

    values["output"] = _output(values["output"])
    if values["resume"] and values["output"] is None:
        raise RequestError("--resume: needs the file of the answers", advice="add -o FILE")
    files = values["files"] or ["-"]
    client = client_of(values)
    settings = _settings(values)
    say_what_is_unusual(client, diagnostics)
    progress = Progress(diagnostics, every=values["progress"], shared=values["output"] is None and is_pipe(1))
    if progress.is_shown:
        progress.total = _count(files)
    with _answers(values, files, progress) as answers:
        if answers.dropped:
            diagnostics.note(f"{answers.name}: {answers.dropped:,} failures taken out, to be tried again")
        runner = BatchRunner(client, settings, answers, progress, files, values)
        try:
            status = runner.run(diagnostics)
        finally:
            with progress.cleared():
                answers.sync()
        progress.end()
    if runner.interrupted:
        diagnostics.note(
            "interrupted; " + ("--resume goes on" if values["output"] else "what was not asked has no line")
        )
        exit_by_signal(signal.SIGINT)
    return status


def _output(names: list[str] | None) -> str | None:
    """The file of -o, which is not --option here, as it is of send."""
    for name in names or []:
        if re.fullmatch(r"[a-z_]+=[^/]*", name):
            advice = f"a model option is --option {name}, a file of that name ./{name}"
            raise RequestError(f"-o {name}: names the file of the answers", advice=advice)
    if names and len(names) > 1:
        raise RequestError("-o: given twice")
    return names[0] if names else None


def _settings(values: dict[str, Any]) -> Settings:
    from ostream.batch.jobs import Settings
    from ostream.cli.request_builder import fields, text

    asked = fields({**values, "stream": None, "body": True, "unload": False})
    system = text(values["system"], "--system")
    return Settings(values["model"], os.environ.get("OLLAMA_MODEL"), values["generate"], system, asked)


def _answers(values: dict[str, Any], files: list[str], progress: Progress) -> ContextManager[AnswerSink]:
    from ostream.batch.answer_file import StdoutSink, open_answers

    if values["output"] is not None:
        each = progress.known if progress.is_shown else None  # for the sum at the end
        return open_answers(values["output"], values["resume"], files, each)
    return contextlib.nullcontext(StdoutSink(Output(1, "standard output", values["raw_terminal"])))


def _count(files: list[str]) -> int | None:
    """The lines in these files, if all are regular files at their beginning."""
    total = 0
    for name in files:
        try:
            # Not even opened, or who writes into a FIFO would see its reader leave.
            if not stat.S_ISREG(os.stat(0 if name == "-" else name).st_mode):
                return None
            with open(os.dup(0) if name == "-" else name, "rb", buffering=0) as file:
                if file.tell():
                    return None
                block = b"\n"
                for block in iter(lambda: file.read(32 * BLOCK), b""):
                    total += block.count(b"\n")
                total += not block.endswith(b"\n")
                file.seek(0)
        except (OSError, ValueError):
            return None
    return total
