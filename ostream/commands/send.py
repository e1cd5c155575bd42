"""send: one request, and the server's NDJSON as it comes."""

from __future__ import annotations

import os
import stat

from ostream.commands.arguments import Parser
from ostream.commands.asking import (
    add_connection_arguments,
    add_request_arguments,
    client_of,
    say_what_is_unusual,
)
from ostream.errors import ClockError, IncompleteStream, LengthError, NotNDJSON, OstreamError, ResponseError
from ostream.failure import is_error, response_error
from ostream.ndjson import decode_line, encode_line, is_torn, split_lines
from ostream.output import Output
from ostream.recording import request_line, stamp
from ostream.stdio import Messages
from ostream.wait import watchable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

    from ostream.client import Client
    from ostream.transport import Response

# After done, what still comes must come within this many seconds: the answer is complete.
LINGER = 1.0


def parser() -> Parser:
    parser = Parser(
        "send",
        "[-m MODEL] [options] [WORD ... | -]",
        "A source: streaming, a line is written as soon as it comes; memory: one line.",
        "Send a prompt to an Ollama server and print its NDJSON answer. The words are the prompt; a word '-' stands\n"
        "for standard input, in that place. Without words, standard input is the prompt; with words and no '-' it is\n"
        "never read.",
        [
            "send -m qwen3 'Why is the sky blue?' | extract-content",
            "git diff | send -m qwen3 'Write a commit message:' - | extract-content",
        ],
    )
    add = add_request_arguments(parser, "-o", "--option").add_argument
    add("-i", "--image", metavar="FILE", action="append", default=[], help="an image; may be repeated; '-' is stdin")
    add("--no-stream", dest="stream", action="store_false", default=None, help="one object, when the answer is whole")
    add("--load", action="store_true", help="no prompt: load the model")
    add("--unload", action="store_true", help="no prompt: unload the model")
    add("--body", metavar="FILE", help="the request body as JSON; words are added to it, options override its fields")
    add("--dry-run", action="store_true", help="print the request, with secrets masked, and send nothing")
    add = parser.add_argument_group("only with --generate").add_argument
    add("--raw", action="store_true", default=None, help="use the prompt as it is, without the model's template")
    add("--suffix", metavar="TEXT", help="the text after the gap to fill in")
    add("--template", metavar="TEXT", help="a template instead of the model's; @FILE reads it")
    add_connection_arguments(parser)
    add = parser.add_argument_group("the answer").add_argument
    add("--stamp", action="store_true", help="record: a request line first, and elapsed (ns since then) on each line")
    add("--fail-on-length", action="store_true", help="an answer cut by a limit is a failure: status 4")
    add("--raw-terminal", action="store_true", help="let control characters reach the terminal")
    parser.add_argument("words", nargs="*", metavar="WORD", help="the prompt")
    return parser


def main(arguments: list[str], messages: Messages) -> int:
    values = parser().parse(arguments, messages)
    return run(messages, **values)


def run(messages: Messages, **values: Any) -> int:
    # The rest of the package is loaded now, so that --help and a wrong option answer at once.
    from ostream.commands.ask import ask, uses_of_stdin
    from ostream.request import encode_body

    path, body = ask(messages, values)
    data = encode_body(body)
    client = client_of(values)
    out = Output(1, "standard output", values["raw_terminal"])
    if values["dry_run"]:
        out.lines(encode_line(_request_line(client, path, body)))
        return 0
    say_what_is_unusual(client, messages)
    if values["words"] and not uses_of_stdin(values) and _is_pipe(0) and os.isatty(2):
        messages.note("standard input was not read; put - where it belongs")
    messages.trace(f"POST {client.host.url}{path}, {len(data):,} bytes")
    try:
        response = client.post(path, data, watch=watchable(1), note=messages.note)
    except OstreamError as error:
        if values["stamp"]:
            out.lines(request_line(path, body, getattr(error, "status_code", None)))
        raise
    messages.trace(f"{response.status} {response.getheader('Content-Type', 'without a type')}")
    try:
        if values["stamp"]:
            out.lines(request_line(path, body, response.status, response.getheader("Content-Type")))
        # If this fails, the filter behind us has an unfinished line of text on the terminal.
        messages.mid_line = _is_pipe(1)
        return forward(response, out, values["fail_on_length"], values["stamp"])
    finally:
        response.close()


def _request_line(client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    masked = dict.fromkeys(client.headers, "***")
    return {"request": {"url": client.host.url + path, "path": path, "headers": masked, "body": body}}


def _is_pipe(fd: int) -> bool:
    return stat.S_ISFIFO(os.fstat(fd).st_mode)


def forward(response: Response, out: Output, fail_on_length: bool = False, stamped: bool = False) -> int:
    """Write the lines of an answer as they come, whole lines only; the exit status, or the failure raised.

    What came is written before a failure is raised. The first `done: true` completes the answer.
    """

    def write(lines: list[bytes]) -> None:
        if stamped:
            elapsed_ns = response.clocks.elapsed_ns()
            lines = [stamp(line, elapsed_ns) for line in lines]
        out.lines(b"".join(lines))

    begun = False  # a response has begun, and its done has not come
    complete = False
    cut_by_limit = False
    lineno = 0
    for lines in _lines(response):
        if _all_ordinary(lines):
            begun = True
            lineno += len(lines)
            write(lines)
            continue
        ready: list[bytes] = []
        failure: OstreamError | None = None
        for line in lines:
            lineno += 1
            try:
                chunk = decode_line(line)
            except NotNDJSON as error:
                failure = _damage(error, response, line, lineno)
                break
            if chunk is not None and is_error(chunk):
                failure = response_error(chunk)
                break
            ready.append(line if line.endswith(b"\n") else line + b"\n")
            if chunk is not None and "request" not in chunk and "role" not in chunk:
                begun = chunk.get("done") is not True
                cut_by_limit = cut_by_limit or chunk.get("done_reason") == "length"
                if not begun and not complete:
                    complete = True
                    response.clocks.expire_in(LINGER)
        write(ready)
        if failure:
            raise failure
    if begun and complete and isinstance(response.failure, ClockError):
        raise IncompleteStream("what came after done: true was cut off", advice="the answer before it is whole")
    if begun or not complete:
        raise response.failure or IncompleteStream(
            "the stream ended without done: true" if begun else "the answer is empty",
            advice="what came has been written; the answer is not whole" if begun else "",
        )
    if cut_by_limit and fail_on_length:
        raise LengthError("the answer was cut by a limit (done_reason: length)", advice="raise num_predict or num_ctx")
    return 0


def _lines(response: Response) -> Iterator[list[bytes]]:
    try:
        yield from split_lines(response.blocks())
    except NotNDJSON as error:
        raise ResponseError(f"the answer: {error}", response.status) from None


def _all_ordinary(lines: list[bytes]) -> bool:
    """Are all these lines chunks before the last, to be passed on unread?

    A last member `,"done":false}` stands at the top of the object: nothing can follow its brace.
    """
    return all(line.endswith(b',"done":false}\n') and b'"error"' not in line for line in lines)


def _damage(error: NotNDJSON, response: Response, line: bytes, lineno: int) -> OstreamError:
    """A line that does not decode: a tail that was cut off, or an answer that isn't NDJSON."""
    failure: OstreamError
    if is_torn(line):
        failure = response.failure or IncompleteStream(f"the stream was cut inside line {lineno} of the answer")
    else:
        failure = ResponseError(f"line {lineno} of the answer: {error}", response.status)
    failure.partial = line[: 1 << 20]
    return failure
