"""The recording format: read lines as exchanges, and write the lines of an exchange.

An exchange is a request line, `{"request":{"path":...,"body":...},"status":200,"content_type":...}`, followed by the
lines of the response as the server sent them, each with `elapsed` (nanoseconds since the request) as its textual last
key. `request` has a `method` unless that is POST. From the first line on that is not a chunk, the rest of the response
is the `partial` of an error line. Lines without a request line, as `send > FILE` writes them, answer any request to
their endpoint. Recordings are untrusted input: every field is checked.
"""

from __future__ import annotations

import re

from ostream.errors import INCOMPLETE, LENGTH, NotNDJSON, OstreamError
from ostream.protocol.error_lines import (
    CHUNK,
    MESSAGE,
    REQUEST,
    error_text,
    is_error,
    line_kind,
    line_status,
    response_error,
    trusted_status,
)
from ostream.protocol.ndjson import decode_line, encode_line, is_torn, strict
from ostream.protocol.request import CHAT, GENERATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable

NDJSON = "application/x-ndjson"
JSON = "application/json; charset=utf-8"

# How a recorded response ends: by HTTP's rules, or with a broken connection. Faults add "reset" and "stall".
COMPLETE, TRUNCATED = "complete", "truncated"

# Bytes kept of a response that is not NDJSON, such as a web page.
TEXT_LIMIT = 1 << 20

_REQUEST_START = b'{"request"'
_STAMP = re.compile(rb',?"elapsed":(\d{1,19})\}\s*\Z')


def stamp(line: bytes, elapsed_ns: int) -> bytes:
    """Return `line` with `elapsed` as its last key; of a server's own key of that name the value is then not used."""
    body = line.rstrip()
    if not body.endswith(b"}"):
        return line
    comma = b"" if body[:-1].rstrip().endswith(b"{") else b","
    return b'%b%b"elapsed":%d}\n' % (body[:-1], comma, elapsed_ns)


def unstamp(line: bytes) -> tuple[bytes, int | None]:
    """Return a line as the server sent it, and its `elapsed` in nanoseconds (None if it has none)."""
    match = _STAMP.search(line)
    if not match:
        return line, None
    return line[: match.start()] + b"}\n", int(match[1])


def request_line(
    path: str, body: Any, status: int | None = None, content_type: str | None = None, method: str = "POST"
) -> bytes:
    """Return the line that begins an exchange. It holds no headers, so no credentials."""
    request = {"path": path, "body": body}
    line: dict[str, Any] = {"request": request if method == "POST" else {"method": method, **request}}
    if status is not None and status > 0:
        line["status"] = status
    if content_type is not None:
        line["content_type"] = content_type
    return encode_line(line)


def decode_body(body: bytes) -> Any:
    """Decode the JSON body of a request: an empty object if there is no body, None if it is not JSON."""
    try:
        value = strict.decode(body.decode("utf-8", "replace")) if body else {}
        encode_line({"body": value})
    except (ValueError, RecursionError):
        return None
    return value


class AnswerRecorder:
    """Turn the lines of a response, as they arrive, into the lines of a recording."""

    def __init__(self) -> None:
        self.is_done = False  # the last line was a `"done": true` or an error
        self.has_failed = False  # an error line, or a line that is not NDJSON, was recorded
        self._text: bytearray | None = None

    def line(self, line: bytes, elapsed_ns: int) -> bytes:
        """Return what to record for one line of the response; b"" for a blank line and for text, which `end` adds."""
        if self._text is None:
            try:
                chunk = decode_line(line)
            except NotNDJSON:
                chunk = {"request": None}
            if chunk is None:
                return b""
            if _reads_back(chunk):
                failed = is_error(chunk)
                self.has_failed |= failed
                self.is_done = chunk.get("done") is True or failed
                return stamp(line if line.endswith(b"\n") else line + b"\n", elapsed_ns)
            self._text = bytearray()
            self.has_failed = True
        self._text += line[: TEXT_LIMIT - len(self._text)]
        return b""

    def end(self, elapsed_ns: int, failure: OstreamError | None = None) -> bytes:
        """Return the last line to record, or b"": the failure that ended the response, and the text in it."""
        if failure is None and self._text is None:
            return b""
        failure = failure or OstreamError("what follows is not NDJSON")
        failure.partial = None if self._text is None else bytes(self._text)
        return stamp(encode_line(failure.error_line()), elapsed_ns)


def _reads_back(chunk: dict[str, Any]) -> bool:
    """True if `parse` reads this line of a server as part of a response, and not as a line written by ostream."""
    if is_error(chunk):
        return trusted_status(chunk) is None
    return line_kind(chunk) == CHUNK


class RecordedExchange:
    """One recorded request and its response.

    `body` is the decoded JSON of the request, None if it was not JSON; with `any_body` the request was not recorded,
    and the response answers any body. `lines` holds each line with its elapsed time in nanoseconds, `ending` is
    COMPLETE, TRUNCATED or that of a fault, and `where` names the file and line where the exchange begins.
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
        self.is_text = False  # the last of the lines is not NDJSON
        self.ending = COMPLETE
        self.is_done = False  # the last line was a `"done": true` or an error
        self.response_model: str | None = None
        self.where = ""

    @property
    def model(self) -> str | None:
        """The model that was requested, else the one that answered."""
        requested = self.body.get("model") if isinstance(self.body, dict) else None
        return requested if isinstance(requested, str) else self.response_model

    @property
    def elapsed_ns(self) -> int:
        """When the last line arrived, in nanoseconds since the request."""
        return self.lines[-1][1] if self.lines else 0

    def add(self, line: bytes, chunk: dict[str, Any]) -> None:
        """Append a line of the recording; `chunk` is its decoded object."""
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
        """Convert an error line written by send or record back to what the server did."""
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
    """Return the exchanges of a recording whose lines are `lines` and whose name is `where`.

    A response that ends inside its last line is truncated. Raises NotNDJSON, with file and line number.
    """
    exchanges: list[RecordedExchange] = []
    current: RecordedExchange | None = None
    for lineno, line in enumerate(lines, 1):
        try:
            chunk = decode_line(line)
        except NotNDJSON as error:
            if current is None or not is_torn(line):
                raise NotNDJSON(f"{where}:{lineno}: {error}", line, lineno) from None
            # The writer was killed inside a line of this response, or inside the next request line.
            if not (current.is_done or line.startswith(_REQUEST_START) or _REQUEST_START.startswith(line)):
                current.ending = TRUNCATED
            break
        if chunk is None:
            continue
        kind = line_kind(chunk)
        if kind == MESSAGE or (is_error(chunk) and trusted_status(chunk) == LENGTH):
            continue  # the second: --fail-on-length rejected a response that was complete
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
    """Return an exchange without lines, from a request line; invalid fields get defaults."""
    request = line["request"] if isinstance(line["request"], dict) else {}
    path, status, content_type = request.get("path"), line.get("status"), line.get("content_type")
    method = request.get("method")
    return RecordedExchange(
        path if isinstance(path, str) else CHAT,
        request.get("body", {}),
        status if type(status) is int and 200 <= status <= 599 else 200,
        content_type if isinstance(content_type, str) and re.fullmatch(r"[ -~]{1,200}", content_type) else NDJSON,
        method if isinstance(method, str) else "POST",
    )
