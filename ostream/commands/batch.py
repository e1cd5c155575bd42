"""batch: many requests, so many at a time, and an answer line for each."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat

from ostream.cli.options import (
    CONNECTION_SUGGESTIONS,
    RAW_TERMINAL,
    ConnectionOptions,
    RequestOptions,
    common_fields,
    connection_options,
    make_session,
    read_text,
    report_unusual,
    request_options,
    request_suggestions,
)
from ostream.cli.parser import SECONDS, Operands, Option, Parser, between
from ostream.errors import RequestError
from ostream.system.diagnostics import Diagnostics
from ostream.system.input import BLOCK
from ostream.system.output import Output
from ostream.system.polling import is_pipe
from ostream.system.process import exit_by_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ContextManager, Sequence

    from ostream.batch.jobs import Settings
    from ostream.batch.progress import Progress
    from ostream.batch.runner import AnswerSink


class BatchOptions(RequestOptions, ConnectionOptions):
    files: Sequence[str] = ()
    jobs = 4
    keep_order = False
    output: Sequence[str] = ()
    resume = False
    lines = False
    max_failures: int | None = None
    progress: float | None = None
    raw_terminal = False
    retry = 3


def parser() -> Parser:
    work, answers = "work", "answers"
    return Parser(
        "batch",
        "[-m MODEL] [-j N] [-k] [-o FILE [--resume]] [options] [FILE ...]",
        "A source: streaming, an answer is written as soon as it is complete; memory: one answer per job, and with -o "
        "16 bytes per answered id.",
        "Send the requests of NDJSON files, N at a time, and print one line for each: the server's complete answer "
        "with the request's id, or an error line. A request is a body with messages or a prompt, a JSON string, which "
        "is a prompt, or a record of an OpenAI batch file. Ctrl-C once: finish running requests; twice: stop at once.",
        [
            "batch -m qwen3 -j 8 -o answers.ndjson --resume requests.ndjson",
            "batch -m qwen3 --lines questions.txt | extract-content --json",
        ],
        [
            Option("-j", "--jobs", metavar="N", type=JOBS, group=work, help="requests at a time (default: 4)"),
            Option(
                *("-k", "--keep-order"),
                group=work,
                help="write answers in input order (buffers up to 4*N)",
            ),
            Option(
                *("-o", "--output"),
                metavar="FILE",
                repeat=True,
                group=work,
                help="write answers to FILE, safely, and nothing to standard output",
            ),
            Option(
                "--resume", group=work, help="with -o: send only what FILE does not answer yet; retry failed requests"
            ),
            Option("--lines", group=work, help="each line of the input is a prompt, as plain text"),
            Option(
                "--max-failures",
                metavar="N",
                type=JOBS,
                group=work,
                help="stop after N failures (requests already running finish)",
            ),
            Option(
                "--progress",
                metavar="S",
                type=SECONDS,
                optional_value="10",
                group=work,
                help="report progress every S seconds (default 10), even when not on a terminal",
            ),
            *request_options("--option"),
            *connection_options(retry=BatchOptions.retry),
            Option("--raw-terminal", group=answers, help=RAW_TERMINAL.help),
        ],
        Operands("files", "FILE", "requests; - or none: standard input"),
        {**CONNECTION_SUGGESTIONS, **request_suggestions("--option")},
    )


JOBS = between(1, 1000)


def main(arguments: list[str], diagnostics: Diagnostics) -> int:
    return run(diagnostics, parser().parse(arguments, diagnostics, BatchOptions()))


def run(diagnostics: Diagnostics, options: BatchOptions) -> int:
    # The rest of the package is loaded now, so that --help and a wrong option answer at once.
    from ostream.batch.progress import Progress
    from ostream.batch.runner import BatchRunner

    output = _output(options.output)
    if options.resume and output is None:
        raise RequestError("--resume: needs the file of the answers", advice="add -o FILE")
    files = list(options.files) or ["-"]
    client = make_session(options)
    settings = _settings(options)
    report_unusual(client, diagnostics)
    progress = Progress(diagnostics, every=options.progress, shared=output is None and is_pipe(1))
    if progress.is_shown:
        progress.total = _count(files)
    with _answers(options, output, files, progress) as answers:
        if answers.dropped:
            diagnostics.note(f"{answers.name}: {answers.dropped:,} failures taken out, to be tried again")
        runner = BatchRunner(
            client,
            settings,
            answers,
            progress,
            files,
            jobs=options.jobs,
            keep_order=options.keep_order,
            as_text=options.lines,
            max_failures=options.max_failures,
            to_file=output is not None,
        )
        try:
            status = runner.run(diagnostics)
        finally:
            with progress.cleared():
                answers.sync()
        progress.end()
    if runner.interrupted:
        diagnostics.note("interrupted; " + ("--resume goes on" if output else "what was not asked has no line"))
        exit_by_signal(signal.SIGINT)
    return status


def _output(names: Sequence[str]) -> str | None:
    """The file of -o, which is not --option here, as it is of send."""
    for name in names:
        if re.fullmatch(r"[a-z_]+=[^/]*", name):
            advice = f"a model option is --option {name}, a file of that name ./{name}"
            raise RequestError(f"-o {name}: names the file of the answers", advice=advice)
    if len(names) > 1:
        raise RequestError("-o: given twice")
    return names[0] if names else None


def _settings(options: BatchOptions) -> Settings:
    from ostream.batch.jobs import Settings

    fields = common_fields(options)
    system = read_text(options.system, "--system")
    return Settings(options.model, os.environ.get("OLLAMA_MODEL"), options.generate, system, fields)


def _answers(
    options: BatchOptions, output: str | None, files: list[str], progress: Progress
) -> ContextManager[AnswerSink]:
    from ostream.batch.answer_file import StdoutSink, open_answers

    if output is not None:
        each = progress.known if progress.is_shown else None  # for the sum at the end
        return open_answers(output, options.resume, files, each)
    return contextlib.nullcontext(StdoutSink(Output(1, "standard output", options.raw_terminal)))


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
