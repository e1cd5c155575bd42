"""Relay a response of the server to standard output, line by line, and check whether the response is complete.

The exit status agrees with the exit status of the filters, because the same functions decode and classify the lines.
Lines that match the pattern of ordinary chunks are written without being decoded.
"""

from __future__ import annotations

from ostream.errors import IncompleteStream, LengthError, NotNDJSON, OstreamError, ResponseError, StreamTimeout
from ostream.protocol.chunk import content, thinking, tool_calls
from ostream.protocol.error_lines import ANSWER_KEYS, CHUNK, ERROR, KIND_KEYS, REQUEST, classify, response_error
from ostream.protocol.ndjson import decode_line, decode_server_lines, is_object_prefix, split_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Mapping

    from ostream.net.http import Response
    from ostream.protocol.accumulator import Accumulator
    from ostream.system.output import Output

# The server ends a stream without `"done":true` after the same token was sent this many times, or one more or less.
REPEATED_TOKENS = 30

# Bytes kept of each of the last lines. If the stream ends early, these lines may show the cause.
KEPT_BYTES = 4096

# The minimum size of a block, in bytes, whose lines are compared with the pattern of ordinary chunks. Compiling the
# pattern takes 0.7 ms, as long as decoding a thousand short lines, so smaller blocks are decoded instead.
SMALLEST_BLOCK = 2 << 10

EARLY_END = 'the stream ended early (no "done": true)'
PARTIAL_WRITTEN = "the partial answer was written"


class Relay:
    """Writes the lines of responses to `out`, and raises an error for each response that failed.

    `note` is called with a message if the server may have truncated the prompt of a complete answer. `fail_on_length`
    rejects an answer that a length limit truncated; `fail_on_empty` rejects an answer that has no text, tool
    call or image. `stamped` adds the time since the request, in nanoseconds, to each line.
    """

    def __init__(
        self,
        out: Output,
        note: Callable[[str], None],
        fail_on_length: bool = False,
        fail_on_empty: bool = False,
        stamped: bool = False,
    ) -> None:
        self._out = out
        self._note = note
        self._fail_on_length = fail_on_length
        self._fail_on_empty = fail_on_empty
        self._stamped = stamped

    def relay(
        self,
        response: Response,
        body: Mapping[str, Any],
        answer: Accumulator | None = None,
        arrived: Callable[[], None] = lambda: None,
    ) -> None:
        """Write complete lines as they arrive, then raise an OstreamError if the response failed.

        `body` is the body of the request. The chunks up to the first `"done":true` are added to `answer`, if given.
        `arrived` is called once, before the first line is written.
        """
        self._response = response
        self._answer = answer
        self._open = False  # a chunk has arrived, but no "done":true after it
        self._complete = False
        self._truncated = False
        self._has_text = not self._fail_on_empty  # or a tool call or an image; True without --fail-on-empty
        self._has_thinking = False
        self._last_chunk: dict[str, Any] = {}
        self._recent: list[bytes] = []
        self._last_line = b""
        lineno = 0
        for lines in _lines(response, unstreamed=body.get("stream") is False):
            if not lineno:
                arrived()
            block = b"".join(lines)
            if answer is None and self._has_text and _are_ordinary(block):
                self._open = True
                self._write(lines, block)
            else:
                self._decode(lines, lineno)
            # What is needed only at the end is done after the lines were written, so that it does not delay them.
            lineno += len(lines)
            recent = [line for line in lines[-REPEATED_TOKENS:] if line.strip()]
            self._last_line = recent[-1] if recent else self._last_line
            self._recent += [line[:KEPT_BYTES] for line in recent]
            del self._recent[:-REPEATED_TOKENS]
        self._check_end(body)

    def _write(self, lines: list[bytes], block: bytes) -> None:
        """Write `lines`; `block` contains the same lines, joined."""
        if self._stamped:
            from ostream.recording.format import stamp

            elapsed_ns = self._response.timeouts.elapsed_ns()
            block = b"".join([stamp(line, elapsed_ns) for line in lines])
        self._out.write_lines(block)

    def _decode(self, lines: list[bytes], lineno: int) -> None:
        """Write the lines before the first error line or unusable line, then raise the failure of that line.

        `lineno` is the number of lines that arrived before `lines`.
        """
        decoded, damage = decode_server_lines(lines)
        failure: OstreamError | None = None
        accepted = 0
        chunks = []
        for line, chunk in zip(lines, decoded):
            if chunk is not None:
                kind, read = (CHUNK, chunk) if chunk.keys().isdisjoint(KIND_KEYS) else classify(chunk)
                if kind == ERROR:
                    failure = response_error(read)
                elif kind == REQUEST:
                    failure = self._bad_line("not a chunk but a request line", line, lineno + accepted + 1)
                elif kind == CHUNK:
                    chunks.append(chunk)
                if failure:
                    break
                if chunk.keys().isdisjoint(ANSWER_KEYS):
                    lines[accepted] = self._response.credentials.mask_bytes(line)
            accepted += 1
        if damage and not failure:
            failure = self._damage(damage, lines[accepted], lineno + accepted + 1)
        ready = lines[:accepted]
        if ready and not ready[-1].endswith(b"\n"):
            ready[-1] += b"\n"
        if ready:
            self._write(ready, b"".join(ready))
        for chunk in chunks:
            self._take(chunk)
        if failure:
            raise failure

    def _take(self, chunk: dict[str, Any]) -> None:
        self._open = chunk.get("done") is not True
        self._last_chunk = chunk
        self._truncated = self._truncated or chunk.get("done_reason") == "length"
        if self._answer is not None and not self._complete:
            self._answer.add(chunk)
        if not self._has_text:
            from ostream.protocol.emptiness import has_image

            self._has_text = bool(content(chunk).strip() or tool_calls(chunk) or has_image(chunk))
            self._has_thinking = self._has_thinking or bool(thinking(chunk))
        if not self._open and not self._complete:
            self._complete = True
            self._response.timeouts.start("linger")

    def _bad_line(self, what: str, line: bytes, lineno: int) -> OstreamError:
        failure = ResponseError(f"line {lineno} of the answer: {what}", self._response.status)
        failure.partial = line
        return failure

    def _damage(self, error: NotNDJSON, line: bytes, lineno: int) -> OstreamError:
        """Return the failure for a line that can't be decoded: a truncated stream, or a response that is not NDJSON."""
        if not is_object_prefix(line):
            return self._bad_line(str(error), line, lineno)
        failure = self._response.failure or IncompleteStream(f"the stream ended inside line {lineno} of the answer")
        failure.partial = line
        return failure

    def _check_end(self, body: Mapping[str, Any]) -> None:
        failure = self._response.failure
        if self._open and self._complete and isinstance(failure, StreamTimeout):
            raise IncompleteStream(
                'the server sent more data after "done": true and did not end the response',
                advice="the answer before that data is complete",
            )
        if failure and (self._open or not self._complete):
            raise failure
        if self._open:
            raise self._early_end()
        if not self._complete:
            raise IncompleteStream("the response contains no chunk" if self._recent else "the response is empty")
        if self._truncated and self._fail_on_length:
            raise LengthError(
                "the answer was truncated by a length limit (done_reason: length)",
                advice="raise --option num_predict=N or num_ctx=N",
            )
        if not self._has_text:
            self._raise_if_empty()
        self._note_truncated_prompt(body)

    def _raise_if_empty(self) -> None:
        from ostream.protocol.emptiness import empty_error

        failure = empty_error(self._last_chunk, self._has_thinking)
        if failure:
            raise failure

    def _early_end(self) -> OstreamError:
        """Return the failure for a stream without `"done":true`. Its last lines may show the cause."""
        tokens = [_token(line) for line in self._recent]
        if len(tokens) == REPEATED_TOKENS and all(tokens) and len({str(token).strip() for token in tokens}) == 1:
            return IncompleteStream(
                f'the server stopped after {REPEATED_TOKENS} equal tokens (no "done": true)',
                advice="the same request would fail again: change the prompt, or try --option repeat_penalty=1.2",
            )
        if tokens[-1] is None:
            # Credentials are masked in the complete line, because a part of a credential would not be recognised.
            last = self._response.credentials.mask_bytes(self._last_line).decode("utf-8", "replace").strip()
            return IncompleteStream(f"{EARLY_END}; its last line is {last[:300]}", advice=PARTIAL_WRITTEN)
        return IncompleteStream(EARLY_END, advice=PARTIAL_WRITTEN)

    def _note_truncated_prompt(self, body: Mapping[str, Any]) -> None:
        count = self._last_chunk.get("prompt_eval_count")
        options = body.get("options")
        num_ctx = options.get("num_ctx") if isinstance(options, dict) else None
        if not isinstance(count, int) or (num_ctx is None and count < 1024):
            return  # nothing to report, so the module for the exact check need not be loaded
        from ostream.protocol.metrics import is_prompt_truncated, truncation_warning

        if is_prompt_truncated(count, num_ctx, body.get("truncate")):
            self._note(truncation_warning(count))


def _are_ordinary(block: bytes) -> bool:
    if len(block) < SMALLEST_BLOCK:
        return False
    from ostream.protocol.line_pattern import are_ordinary

    return are_ordinary(block)


def _lines(response: Response, unstreamed: bool) -> Iterator[list[bytes]]:
    try:
        lines = split_lines(response.blocks())
        content_type = response.getheader("Content-Type")
        if unstreamed or content_type != "application/x-ndjson":
            from ostream.protocol.response_lines import is_json, join_indented

            lines = join_indented(lines) if unstreamed or is_json(content_type) else lines
        yield from lines
    except NotNDJSON as error:
        raise ResponseError(f"the answer: {error}", response.status) from None


def _token(line: bytes) -> str | None:
    """Return the text and thinking of the chunk on a line; None if the line is not a chunk."""
    try:
        chunk = decode_line(line)
    except NotNDJSON:
        return None
    if not chunk or not ("message" in chunk or "response" in chunk):
        return None
    return content(chunk) + thinking(chunk)
