"""Recordings: the line grammar read as exchanges, and which of them answers a request. Nothing in one is trusted.

An exchange is a request line, `{"request":{"path":...,"body":...},"status":200,"content_type":...}`, and the lines of
the response as they came, each with `elapsed` (ns since the request) as its textual last key. `request` has a `method`
if that is not POST. From the first line on that is not one of an answer's, the rest stands in the `partial` of an error
line. Lines without a request line, as `send > FILE` writes them, answer any request to their endpoint.
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
    trusted_status,
)
from ostream.protocol.ndjson import decode_line, encode_line, is_torn, strict
from ostream.protocol.request import CHAT, GENERATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable

NDJSON = "application/x-ndjson"
JSON = "application/json; charset=utf-8"

# Text that is no NDJSON is a page for a person; more of it than this is not kept.
TEXT_LIMIT = 1 << 20

_REQUEST = b'{"request"'
_STAMP = re.compile(rb',?"elapsed":(\d{1,19})\}\s*\Z')


def stamp(line: bytes, elapsed_ns: int) -> bytes:
    """A line with `elapsed` as its last key, spliced in behind what the server sent; a line that has it stays."""
    body = line.rstrip()
    if not body.endswith(b"}") or _STAMP.search(body):
        return line
    comma = b"" if body[:-1].rstrip().endswith(b"{") else b","
    return b'%b%b"elapsed":%d}\n' % (body[:-1], comma, elapsed_ns)


def request_line(
    path: str, body: Any, status: int | None = None, content_type: str | None = None, method: str = "POST"
) -> bytes:
    """The line that begins an exchange; without credentials."""
    request = {"path": path, "body": body}
    line: dict[str, Any] = {"request": request if method == "POST" else {"method": method, **request}}
    if status is not None and status > 0:
        line["status"] = status
    if content_type is not None:
        line["content_type"] = content_type
    return encode_line(line)


def unstamp(line: bytes) -> tuple[bytes, int | None]:
    """A line as the server sent it, and its `elapsed`."""
    match = _STAMP.search(line)
    if not match:
        return line, None
    return line[: match.start()] + b"}\n", int(match[1])


def decode_body(body: bytes) -> Any:
    """What a request asks: the JSON in its body, an empty object when there is none, None for what is not JSON."""
    try:
        value = strict.decode(body.decode("utf-8", "replace")) if body else {}
        encode_line({"body": value})
    except (ValueError, RecursionError):
        return None
    return value


class AnswerRecorder:
    """Turns the lines of an answer, as they come, into those of a recording."""

    def __init__(self) -> None:
        self.is_over = False  # its done has come, or its error
        self._text: bytearray | None = None

    def line(self, line: bytes, elapsed_ns: int) -> bytes:
        if self._text is None:
            try:
                chunk = decode_line(line)
            except NotNDJSON:
                chunk = {"request": None}
            if chunk is None:
                return b""
            if _is_of_an_answer(chunk):
                self.is_over = chunk.get("done") is True or is_error(chunk)
                return stamp(line if line.endswith(b"\n") else line + b"\n", elapsed_ns)
            self._text = bytearray()
        self._text += line[: TEXT_LIMIT - len(self._text)]
        return b""

    def end(self, elapsed_ns: int, failure: OstreamError | None = None) -> bytes:
        """What remains to be written: the failure that ended the answer, or what was no line of one."""
        if failure is None and self._text is None:
            return b""
        failure = failure or OstreamError("what follows is not NDJSON")
        failure.partial = None if self._text is None else bytes(self._text)
        return stamp(encode_line(failure.error_line()), elapsed_ns)


def _is_of_an_answer(chunk: dict[str, Any]) -> bool:
    """Would this line of a server be read back as one? It may look like a line of ours, which would mean another."""
    if is_error(chunk):
        return trusted_status(chunk) is None
    return line_kind(chunk) == CHUNK


class RecordedExchange:
    """One recorded answer: `lines` to send, each with its `elapsed_ns`, and then its `ending`.

    That is end (the proper one), cut (a broken connection), or what a fault makes of it: reset or stall.
    """

    def __init__(
        self, path: str, body: Any = None, status: int = 200, content_type: str = NDJSON, method: str = "POST"
    ) -> None:
        self.method = method
        self.path = path
        self.body = body  # None: any
        self.status = status
        self.content_type = content_type
        self.lines: list[tuple[bytes, int]] = []
        self.is_text = False  # the last of the lines is not one
        self.ending = "end"
        self.is_over = False  # its done has come, or its error
        self.model: str | None = None

    def add(self, line: bytes, chunk: dict[str, Any]) -> None:
        self.is_over = chunk.get("done") is True or is_error(chunk)
        line, elapsed_ns = unstamp(line)
        if elapsed_ns is None:
            elapsed_ns = self.elapsed_ns
        if self.model is None and isinstance(chunk.get("model"), str):
            self.model = chunk["model"]
        if is_error(chunk) and trusted_status(chunk) is not None:
            self._add_our_error(chunk, elapsed_ns)
        else:
            self.lines.append((line, elapsed_ns))

    @property
    def elapsed_ns(self) -> int:
        """When the last line came."""
        return self.lines[-1][1] if self.lines else 0

    def _add_our_error(self, chunk: dict[str, Any], elapsed_ns: int) -> None:
        """An error line that send wrote stands for what the server did: a status, a line, or a broken connection."""
        code: Any = chunk.get("status_code")
        if type(code) is not int or not 400 <= code <= 599:
            code = 0
        error = {"error": error_text(chunk["error"])}
        partial = chunk.get("partial")
        if isinstance(partial, str):
            self.is_text = True
            self.lines.append((partial.encode("utf-8", "replace"), elapsed_ns))
            if line_status(chunk) >= INCOMPLETE:
                self.ending = "cut"
        elif code and not self.lines:
            self.status, self.content_type = code, JSON
            self.lines.append((encode_line(error), elapsed_ns))
        elif code:
            self.lines.append((encode_line({**error, "StatusCode": code}), elapsed_ns))
        elif line_status(chunk) < INCOMPLETE:
            self.lines.append((encode_line(error), elapsed_ns))
        else:
            self.ending = "cut"


def parse(lines: Iterable[bytes], where: str) -> list[RecordedExchange]:
    """The exchanges of one file; an answer that ends inside its last line is cut. Raises NotNDJSON, naming file and
    line."""
    exchanges: list[RecordedExchange] = []
    current: RecordedExchange | None = None
    for lineno, line in enumerate(lines, 1):
        try:
            chunk = decode_line(line)
        except NotNDJSON as error:
            if current is None or not is_torn(line):
                raise NotNDJSON(f"{where}:{lineno}: {error}", line, lineno) from None
            # Who recorded was killed while it wrote: a line of this answer, or the request line of the next.
            if not (current.is_over or line.startswith(_REQUEST) or _REQUEST.startswith(line)):
                current.ending = "cut"
            break
        if chunk is None:
            continue
        if is_error(chunk):
            if trusted_status(chunk) == LENGTH:
                continue  # a verdict of ours on an answer that was whole
        elif line_kind(chunk) == REQUEST:
            current = _begin(chunk)
            exchanges.append(current)
            continue
        elif line_kind(chunk) == MESSAGE:
            continue
        if current is None or (current.body is None and current.is_over):
            # An error line does not tell its endpoint; send asks /api/chat unless told otherwise.
            current = RecordedExchange(CHAT if "message" in chunk or is_error(chunk) else GENERATE)
            exchanges.append(current)
        current.add(line, chunk)
    return exchanges


def _begin(line: dict[str, Any]) -> RecordedExchange:
    request = line["request"] if isinstance(line["request"], dict) else {}
    path, status, content_type = request.get("path"), line.get("status"), line.get("content_type")
    body, method = request.get("body"), request.get("method")
    return RecordedExchange(
        path if isinstance(path, str) else CHAT,
        body if isinstance(body, dict) else {},
        status if type(status) is int and 200 <= status <= 599 else 200,
        content_type if isinstance(content_type, str) and re.fullmatch(r"[ -~]{1,200}", content_type) else NDJSON,
        method if isinstance(method, str) else "POST",
    )


class Recordings:
    """The exchanges to answer from.

    A request gets the exchange with its method, path and body, else one of its path that answers any body: the next of
    them each time and the last one for ever. Else it gets the next of its path that has not been used.
    """

    def __init__(self, exchanges: list[RecordedExchange]) -> None:
        self.exchanges = exchanges
        self._used: set[int] = set()

    def find(self, path: str, body: Any, method: str = "POST") -> RecordedExchange | None:
        all_pairs = enumerate(self.exchanges)
        of_path = [pair for pair in all_pairs if (pair[1].method, pair[1].path) == (method, path)]
        same = [pair for pair in of_path if _same(pair[1].body, body)]
        same = same or [pair for pair in of_path if pair[1].body is None]
        unused = [pair for pair in same or of_path if pair[0] not in self._used]
        for index, exchange in unused or same[-1:]:
            self._used.add(index)
            return exchange
        return None

    @property
    def model(self) -> str | None:
        """The model that the first exchange was asked for, or answered by."""
        for exchange in self.exchanges:
            asked = (exchange.body or {}).get("model")
            if isinstance(asked, str) or exchange.model:
                return asked if isinstance(asked, str) else exchange.model
        return None


def _same(recorded: Any, asked: Any) -> bool:
    """Equal as JSON; to stream is the default, and may be said or not."""
    if not isinstance(recorded, dict) or not isinstance(asked, dict):
        return False
    return {"stream": True, **recorded} == {"stream": True, **asked}
