"""An answer of the server to standard output: line by line as it comes, and told whether it is whole."""

from __future__ import annotations

from ostream.errors import IncompleteStream, LengthError, NotNDJSON, OstreamError, ResponseError, StreamTimeout
from ostream.protocol.error_lines import is_error, response_error
from ostream.protocol.ndjson import decode_line, is_torn, split_lines
from ostream.recording.format import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from ostream.net.http import Response
    from ostream.protocol.accumulator import Accumulator
    from ostream.system.output import Output

# After done, what still comes must come within this many seconds: the answer is complete.
LINGER = 1.0


def relay_response(
    response: Response,
    out: Output,
    fail_on_length: bool = False,
    stamped: bool = False,
    answer: Accumulator | None = None,
) -> None:
    """Write the lines of an answer as they come, whole lines only, and raise what went wrong.

    What came is written before a failure is raised. The first `done: true` completes the answer, which is collected
    in `answer`.
    """

    def write(lines: list[bytes]) -> None:
        if stamped:
            elapsed_ns = response.timeouts.elapsed_ns()
            lines = [stamp(line, elapsed_ns) for line in lines]
        out.write_lines(b"".join(lines))

    begun = False  # a response has begun, and its done has not come
    complete = False
    cut_by_limit = False
    lineno = 0
    for lines in _lines(response):
        if answer is None and _are_ordinary(lines):
            begun = True
            lineno += len(lines)
            write(lines)
            continue
        ready: list[bytes] = []
        failure: OstreamError | None = None
        for line in lines:
            lineno += 1
            if answer is None and _are_ordinary([line]):
                begun = True
                ready.append(line)
                continue
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
                if answer is not None and not complete:
                    answer.add(chunk)
                cut_by_limit = cut_by_limit or chunk.get("done_reason") == "length"
                if not begun and not complete:
                    complete = True
                    response.timeouts.expire_in(LINGER)
        write(ready)
        if failure:
            raise failure
    if begun and complete and isinstance(response.failure, StreamTimeout):
        raise IncompleteStream("what came after done: true was cut off", advice="the answer before it is whole")
    if begun or not complete:
        raise response.failure or IncompleteStream(
            "the stream ended without done: true" if begun else "the answer is empty",
            advice="what came has been written; the answer is not whole" if begun else "",
        )
    if cut_by_limit and fail_on_length:
        raise LengthError("the answer was cut by a limit (done_reason: length)", advice="raise num_predict or num_ctx")


def _lines(response: Response) -> Iterator[list[bytes]]:
    try:
        yield from split_lines(response.blocks())
    except NotNDJSON as error:
        raise ResponseError(f"the answer: {error}", response.status) from None


def _are_ordinary(lines: list[bytes]) -> bool:
    """Are these lines chunks before the last, to be passed on unread? Each line alone says so, whatever came with it.

    A last member `,"done":false}` stands at the top of the object: nothing can follow its brace. All lines are looked
    at together, as there is one line end in each.
    """
    block = b"".join(lines)
    return (
        block.count(b',"done":false}\n') == len(lines)
        and block.startswith(b"{")
        and block.count(b"\n{") == len(lines) - 1
        and b'"error"' not in block
    )


def _damage(error: NotNDJSON, response: Response, line: bytes, lineno: int) -> OstreamError:
    """A line that does not decode: a tail that was cut off, or an answer that isn't NDJSON."""
    failure: OstreamError
    if is_torn(line):
        failure = response.failure or IncompleteStream(f"the stream was cut inside line {lineno} of the answer")
    else:
        failure = ResponseError(f"line {lineno} of the answer: {error}", response.status)
    failure.partial = line[: 1 << 20]
    return failure
