"""The recording format: parse lines into exchanges, and write the lines of an exchange.

- An exchange is a request line followed by the lines of the response.
- The request line is `{"request":{"path":...,"body":...},"status":200,"content_type":...}`. If the method is not POST,
  `request` also has a `method`.
- The lines of the response are recorded as the server sent them. To the end of each line one key is added: `elapsed`,
  the nanoseconds since the request.
- If a line of the response is neither a chunk nor an error, that line and all later lines are recorded as the `partial`
  of one error line.
- Lines without a request line, as `send > FILE` writes them, answer any request to their endpoint.

Recordings are untrusted input: every field is checked.
"""

from __future__ import annotations

import re

from ostream.errors import INCOMPLETE, LENGTH, IncompleteStream, NotNDJSON, OstreamError
from ostream.protocol.error_lines import (
    CHUNK,
    MESSAGE,
    REQUEST,
    error_text,
    holds_answer,
    is_error,
    line_kind,
    line_status,
    response_error,
    trusted_status,
)
from ostream.protocol.json_codec import strict_decoder
from ostream.protocol.ndjson import decode_line, encode_line, is_partial_line
from ostream.protocol.request import CHAT, GENERATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable

NDJSON = "application/x-ndjson"
JSON = "application/json; charset=utf-8"

# How a recorded response ends: as HTTP requires, or with a lost connection. Faults add "reset" and "stall".
COMPLETE, TRUNCATED = "complete", "truncated"

# If a response is not NDJSON (for example, a web page), at most this many bytes of it are recorded.
TEXT_LIMIT = 1 << 20

_REQUEST_START = b'{"request"'
_STAMP = re.compile(rb',?"elapsed":(\d{1,19})\}\s*\Z')


def stamp(line: bytes, elapsed_ns: int) -> bytes:
    """Return `line` with `elapsed` as its last key.

    If the server has sent a key `elapsed` too, both are in the line, and JSON decoders use the last one. A line that
    does not end with } is returned unchanged.
    """
    body = line.rstrip()
    if not body.endswith(b"}"):
        return line
    comma = b"" if body[:-1].rstrip().endswith(b"{") else b","
    return b'%b%b"elapsed":%d}\n' % (body[:-1], comma, elapsed_ns)


def unstamp(line: bytes) -> tuple[bytes, int | None]:
    """Return a line as the server sent it, and its `elapsed` in nanoseconds, or None if `elapsed` was not recorded."""
    match = _STAMP.search(line)
    if not match:
        return line, None
    return line[: match.start()] + b"}\n", int(match[1])


def request_line(
    path: str, body: Any, status: int | None = None, content_type: str | None = None, method: str = "POST"
) -> bytes:
    """Return the line that begins an exchange. It contains no headers and therefore no credentials.

    `path`, `body` (decoded JSON) and `method` describe the request. `status` and `content_type` describe the response
    and are left out if they are None.
    """
    request = {"path": path, "body": body}
    line: dict[str, Any] = {"request": request if method == "POST" else {"method": method, **request}}
    if status is not None and status > 0:
        line["status"] = status
    if content_type is not None:
        line["content_type"] = content_type
    return encode_line(line)


def decode_body(body: bytes) -> Any:
    """Decode the JSON body of a request. Return {} for an empty body, and None for a body that is not JSON."""
    try:
        value = strict_decoder().decode(body.decode("utf-8", "replace")) if body else {}
        encode_line({"body": value})
    except (ValueError, RecursionError):
        return None
    return value


class AnswerRecorder:
    """Convert the lines of a response to the lines of a recording while the response arrives.

    `mask` masks credentials. It is applied to everything except the chunks of an answer.
    """

    def __init__(self, mask: Callable[[bytes], bytes] = bytes) -> None:
        self.is_done = False  # the last line had "done": true or was an error
        self.has_failed = False  # an error status, an error line, or a line that is not a chunk has arrived
        self._mask = mask
        self._text: bytearray | None = None
        self._is_partial = False  # the response ended inside a line

    def line(self, line: bytes, elapsed_ns: int) -> bytes:
        """Return the line to record for one line of the response, or b"" if nothing is to be recorded now.

        b"" is returned for a blank line. It is also returned for the first line that is neither a chunk nor an error,
        and for all later lines; `end` returns their text. `elapsed_ns` is the nanoseconds since the request.
        """
        if self._text is None:
            try:
                chunk = decode_line(line)
            except NotNDJSON:
                chunk = {"request": None}
                self._is_partial = is_partial_line(line) and not self.has_failed
            if chunk is None:
                return b""
            if _reads_back(chunk):
                failed = is_error(chunk)
                self.has_failed |= failed
                self.is_done = chunk.get("done") is True or failed
                if self.has_failed or not holds_answer(chunk):
                    line = self._mask(line)
                return stamp(line if line.endswith(b"\n") else line + b"\n", elapsed_ns)
            self._text = bytearray()
            self.has_failed, self.is_done = True, is_error(chunk)
        self._text += self._mask(line)[: TEXT_LIMIT - len(self._text)]
        return b""

    def end(self, elapsed_ns: int, failure: OstreamError | None = None) -> bytes:
        """Return the last line to record: an error line with `failure` and with the text that `line` has collected.

        `failure` is the error that ended the response. Return b"" if there is neither a failure nor such text.
        """
        if failure is None and self._text is None:
            return b""
        if failure is None and self._is_partial:
            failure = IncompleteStream("the stream ended inside a line of the answer")
        failure = failure or OstreamError("the rest of the response is not NDJSON")
        failure.partial = None if self._text is None else bytes(self._text)
        return stamp(self._mask(encode_line(failure.error_line())), elapsed_ns)


def _reads_back(chunk: dict[str, Any]) -> bool:
    """True if `parse` will treat this line from a server as part of the response, not as a line that ostream added."""
    if is_error(chunk):
        return trusted_status(chunk) is None
    return line_kind(chunk) == CHUNK


class RecordedExchange:
    """One recorded request and its response.

    Attributes:
        method, path: the HTTP method and the path of the request.
        body: the decoded JSON body of the request, or None if it was not JSON.
        any_body: true if the request was not recorded. The exchange then answers a request with any body.
        status, content_type: the HTTP status and the content type of the response.
        lines: the lines of the response, each with the nanoseconds between the request and its arrival.
        ending: COMPLETE, TRUNCATED, or how an injected fault ends the response: "reset" or "stall".
        where: the file and the line where the exchange begins.
    """

    def __init__(
        self,
        path: str,
        body: Any = None,
        status: int = 200,
        content_type: str = NDJSON,
        method: str = "POST",
        any_body: bool = False,
    ) -> None:
        self.method = method
        self.path = path
        self.body = body
        self.any_body = any_body
        self.status = status
        self.content_type = content_type
        self.lines: list[tuple[bytes, int]] = []
        self.is_text = False  # the last item of `lines` is text that is not NDJSON
        self.ending = COMPLETE
        self.is_done = False  # the last line had "done": true or was an error
        self.response_model: str | None = None
        self.where = ""

    @property
    def model(self) -> str | None:
        """The model in the request. If the request contains none, the model in the response, or None."""
        requested = self.body.get("model") if isinstance(self.body, dict) else None
        return requested if isinstance(requested, str) else self.response_model

    @property
    def elapsed_ns(self) -> int:
        """The arrival time of the last line, in nanoseconds since the request; 0 if there is no line."""
        return self.lines[-1][1] if self.lines else 0

    def add(self, line: bytes, chunk: dict[str, Any]) -> None:
        """Append a line of the response, as it is in the recording. `chunk` is the decoded line."""
        self.is_done = chunk.get("done") is True or is_error(chunk)
        line, elapsed_ns = unstamp(line)
        if elapsed_ns is None:
            elapsed_ns = self.elapsed_ns
        if self.response_model is None and isinstance(chunk.get("model"), str):
            self.response_model = chunk["model"]
        if is_error(chunk) and trusted_status(chunk) is not None:
            self._add_client_error(chunk, elapsed_ns)
        else:
            self.lines.append((line, elapsed_ns))

    def _add_client_error(self, chunk: dict[str, Any], elapsed_ns: int) -> None:
        """Restore what the server sent, and how the response ended, from an error line that send or record wrote."""
        code: Any = chunk.get("status_code")
        if type(code) is not int or not 400 <= code <= 599:
            code = 0
        error = {"error": error_text(chunk["error"])}
        partial = chunk.get("partial")
        if isinstance(partial, str):
            self.is_text = True
            self.lines.append((partial.encode("utf-8", "replace"), elapsed_ns))
            if line_status(chunk) >= INCOMPLETE:
                self.ending = TRUNCATED
        elif code and not self.lines:
            self.status, self.content_type = code, JSON
            self.lines.append((encode_line(error), elapsed_ns))
        elif code:
            self.lines.append((encode_line({**error, "StatusCode": code}), elapsed_ns))
        elif line_status(chunk) < INCOMPLETE or line_status(chunk) == response_error(chunk).exit_status:
            self.lines.append((encode_line(error), elapsed_ns))
        else:
            self.ending = TRUNCATED


def parse(lines: Iterable[bytes], where: str) -> list[RecordedExchange]:
    """Return the exchanges of a recording.

    `lines` are the lines of the recording. `where` is its name for messages. If the recording ends inside a line of a
    response, that response is TRUNCATED. Raises NotNDJSON, with the name and the line number, if a line is not a JSON
    object.
    """
    exchanges: list[RecordedExchange] = []
    current: RecordedExchange | None = None
    for lineno, line in enumerate(lines, 1):
        try:
            chunk = decode_line(line)
        except NotNDJSON as error:
            if current is None or not is_partial_line(line):
                raise NotNDJSON(f"{where}:{lineno}: {error}", line, lineno) from None
            # The writer was killed while writing this line. The line is part of this response, or it is the request
            # line of the next exchange.
            if not (current.is_done or line.startswith(_REQUEST_START) or _REQUEST_START.startswith(line)):
                current.ending = TRUNCATED
            break
        if chunk is None:
            continue
        kind = line_kind(chunk)
        if kind == MESSAGE or (is_error(chunk) and trusted_status(chunk) == LENGTH):
            continue  # LENGTH: --fail-on-length rejected a response that was complete
        if kind == REQUEST:
            current = _begin(chunk)
        elif current is None or (current.any_body and current.is_done):
            # An error line does not name its endpoint; send uses /api/chat by default.
            is_chat = "message" in chunk or is_error(chunk)
            current = RecordedExchange(CHAT if is_chat else GENERATE, any_body=True)
        else:
            current.add(line, chunk)
            continue
        current.where = f"{where}:{lineno}"
        exchanges.append(current)
        if kind != REQUEST:
            current.add(line, chunk)
    return exchanges


def _begin(line: dict[str, Any]) -> RecordedExchange:
    """Return an exchange without lines, made from a request line. Defaults replace invalid fields."""
    request = line["request"] if isinstance(line["request"], dict) else {}
    path, status, content_type = request.get("path"), line.get("status"), line.get("content_type")
    method = request.get("method")
    return RecordedExchange(
        path if isinstance(path, str) else CHAT,
        request.get("body", {}),
        status if type(status) is int and (status == 101 or 200 <= status <= 599) else 200,
        content_type if isinstance(content_type, str) and re.fullmatch(r"[ -~]{1,200}", content_type) else NDJSON,
        method if isinstance(method, str) else "POST",
    )
