"""Define the command-line options of batch."""

from __future__ import annotations

from ostream.cli import RAW_TERMINAL_HELP
from ostream.cli.options import (
    CONNECTION_SUGGESTIONS,
    ConnectionOptions,
    RequestOptions,
    connection_options,
    request_options,
    request_suggestions,
)
from ostream.cli.parser import Operands, Option, Parser
from ostream.cli.value_types import SECONDS, ValueType, between

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence


class BatchOptions(RequestOptions, ConnectionOptions):
    """Option values of batch, with their defaults; times are in seconds."""

    files: Sequence[str] = ()
    input = ""  # "" means NDJSON
    prompt: str | None = None
    id: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    jobs = 4
    keep_order = False
    output: Sequence[str] = ()
    resume = False
    changed = "keep"
    max_failures: int | None = None
    patience: float = 600
    stall_timeout: float = 1800
    progress: float | None = None
    dry_run = False
    stream = False
    tools: str | None = None
    raw: bool | None = None
    template: str | None = None
    fail_on_length = False
    fail_on_empty = False
    raw_terminal = False
    retry = 3


def _seconds_or_none(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError
    return value


def _choice(*choices: str) -> ValueType:
    def convert(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return ValueType(convert, " or ".join(choices))


JOBS = between(1, 1000)
SECONDS_OR_NONE = ValueType(_seconds_or_none, "a number of seconds, 0 or more")


def parser() -> Parser:
    work, table, request, answers = "work", "input", "request", "answers"
    return Parser(
        "batch",
        "[-m MODEL] [-j N] [-o FILE [--resume]] [options] [FILE ...]",
        "A source (streaming): writes each answer as soon as it is complete. Memory: one answer per job, and 20 bytes "
        "per id.",
        "Send the requests of NDJSON files, N at a time, and print one line for each: the server's complete answer "
        "with the request's id, or an error line. A request is a body with messages or a prompt, a JSON string (a "
        "prompt), a request line of 'send --dry-run', or a record of an OpenAI batch file. Prompts are also made from "
        "lines of text, the rows of a CSV file, or files. Ctrl-C once: finish running requests; twice: stop at once.",
        [
            "batch -m qwen3 -j 8 -o answers.ndjson --resume requests.ndjson",
            "batch --csv --prompt 'Praise? {text}' -o answers.ndjson --resume reviews.csv",
        ],
        [
            Option("-j", "--jobs", metavar="N", type=JOBS, group=work, help="requests at a time (default: 4)"),
            Option("-k", "--keep-order", group=work, help="write answers in input order (buffers up to 4*N)"),
            Option(
                *("-o", "--output"),
                metavar="FILE",
                repeat=True,
                group=work,
                help="write answers to FILE (crash-safe) instead of standard output",
            ),
            Option(
                "--resume", group=work, help="with -o: send only what FILE does not answer yet; retry failed requests"
            ),
            Option(
                "--changed",
                metavar="keep|resend",
                type=_choice("keep", "resend"),
                choices=("keep", "resend"),
                group=work,
                help="requests that changed since they were answered: keep the answer (default), or send them again "
                "and move the old answers to FILE.replaced",
            ),
            Option(
                "--max-failures",
                metavar="N",
                type=JOBS,
                group=work,
                help="stop after N failures, once the running requests have finished",
            ),
            Option(
                "--patience",
                metavar="S",
                type=SECONDS_OR_NONE,
                group=work,
                help="stop when a busy or unreachable server has not answered for S seconds (default: 600; 0: count it "
                "as a failure of each request)",
            ),
            Option(
                "--stall-timeout",
                metavar="S",
                type=SECONDS_OR_NONE,
                group=work,
                help="stop when no byte was received on any connection for S seconds (default: 1800; 0: no limit)",
            ),
            Option(
                "--progress",
                metavar="S",
                type=SECONDS,
                optional_value="10",
                group=work,
                help="print a progress line every S seconds (without S: 10); default: one line that is rewritten on a "
                "terminal, one line a minute elsewhere",
            ),
            Option(
                "--dry-run",
                group=work,
                help="print the request lines that would be sent, with the counts on stderr; send and change nothing",
            ),
            Option(
                "--lines", dest="input", const="lines", exclusive="input", group=table, help="each line is a prompt"
            ),
            Option(
                "--csv",
                dest="input",
                const="csv",
                exclusive="input",
                group=table,
                help="make a prompt from each row of a CSV file (with a header row), using the template in --prompt",
            ),
            Option(
                "--files",
                dest="input",
                const="files",
                exclusive="input",
                group=table,
                help="each FILE is a prompt, or an image to send with --prompt; the file name is the id",
            ),
            Option(
                "--prompt",
                metavar="TEXT",
                group=table,
                help="prompt with fields: {COLUMN} of --csv, {text} and {name} of --files; {{ is a literal brace; "
                "@FILE reads it from FILE",
            ),
            Option("--id", metavar="COLUMN", group=table, help="column with the id (default: the row's position)"),
            Option(
                "--delimiter",
                metavar="C",
                group=table,
                help="column delimiter (default: comma; semicolon or tab if the header row has one and no comma)",
            ),
            Option("--encoding", metavar="NAME", group=table, help="encoding of the CSV file (default: utf-8)"),
            *request_options("--option"),
            Option("--tools", metavar="FILE", group=request, help="tool schemas for chat requests, a JSON array"),
            Option("--raw", group=request, help="with -g: send the prompt without the model's template"),
            Option("--template", metavar="TEXT", group=request, help="with -g: template; @FILE reads it from FILE"),
            Option(
                "--stream",
                group=request,
                help="request streamed answers, so that proxies and --idle-timeout notice that an answer is being "
                "generated",
            ),
            *connection_options(retry=BatchOptions.retry),
            Option(
                "--fail-on-length",
                group=answers,
                help="treat an answer truncated by a length limit as a failure (status 4)",
            ),
            Option("--fail-on-empty", group=answers, help="treat an answer without text as a failure (status 5)"),
            Option("--raw-terminal", group=answers, help=RAW_TERMINAL_HELP),
        ],
        Operands("files", "FILE", "requests; - or none: standard input"),
        {**CONNECTION_SUGGESTIONS, **request_suggestions("--option")},
    )
