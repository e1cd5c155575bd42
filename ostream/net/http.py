"""The response to a request: the HTTPResponse of http.client with its own code to read the body.

- A read returns the data that has arrived. It waits only if there is none.
- A body that ends properly is not proof of a complete answer: a failing server can end it properly. Only `"done": true`
  proves that the answer is complete.
- A connection whose response was read to its end is kept for the next request.
"""

from __future__ import annotations

import http.client
from functools import lru_cache

from ostream.errors import IncompleteStream, OstreamError, reason
from ostream.net.credentials import Credentials
from ostream.net.socket import BLOCK
from ostream.net.timeouts import Timeouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator

# Bytes allowed for a line with the size of an HTTP chunk and its extensions.
SIZE_LINE_LIMIT = 4 << 10
HEX_DIGITS = b"0123456789abcdefABCDEF"
_ORDINARY_STATUS = b"HTTP/1.1 200 OK\r\n"
LAST_HTTP_CHUNK = b"0\r\n\r\n"


class Response(http.client.HTTPResponse):
    """The response to a request. `blocks()` yields its body.

    Attributes:
        timeouts: the timeouts of the request.
        credentials: the credentials of the request.
        failure: after `blocks()`, the error that ended the body, or None. If the server closes the connection early
            without a reset, `failure` is None and `is_complete` is False.
        is_complete: after `blocks()`, True if the complete body has arrived, according to its HTTP framing. The answer
            in it may still be truncated.
    """

    fp: Any = None  # set here, because an exception of a signal handler may end __init__ before it sets fp
    timeouts: Timeouts
    credentials = Credentials({})
    failure: OstreamError | None = None
    is_complete = False
    # close() calls this with the bytes that the server still has to send before the connection can be used again, or
    # with None if the connection can't be used again.
    on_close: Callable[[bytes | None], None] | None = None
    _unread: bytes | None = None

    def _read_status(self) -> tuple[str, int, str]:
        """Read a status line. Report all 1xx statuses except 101 as 100, because http.client skips only 100."""
        version, status, phrase = super()._read_status()  # type: ignore[misc]
        return version, (100 if 101 < status < 200 else status), phrase

    def begin(self) -> None:
        """Read the status line and the headers.

        An ordinary head is parsed here: http.client uses the parser for email, which takes a fifth of the CPU time of a
        short request. Every other head is left to http.client.
        """
        is_ordinary = not self.headers and self._method != "HEAD"  # type: ignore[attr-defined]
        headers = _ordinary_headers(self.fp.peek(1)) if is_ordinary else None
        if headers is None:
            super().begin()
            return
        self.fp.readline()
        while len(self.fp.readline()) > len(b"\r\n"):
            pass
        self.code = self.status = 200
        self.reason = "OK"
        self.version = 11
        self.headers = self.msg = http.client.HTTPMessage()
        for name, value in headers.values():
            self.headers[name] = value
        self.chunked = "transfer-encoding" in headers
        self.chunk_left = None
        self.length = None if self.chunked else int(headers["content-length"][1])
        self.will_close = "close" in headers.get("connection", ("", ""))[1].lower()

    def close(self) -> None:
        """Close the response. Keep the connection for the next request if the body was read to its end."""
        self._release(self.is_complete)

    def finish(self) -> None:
        """Close the response of a complete answer. Keep the connection even if the end of the framing was not read."""
        self._release(True)

    def _release(self, may_keep: bool) -> None:
        on_close, self.on_close = self.on_close, None
        if self.fp and self.fp.closed:
            self.fp = None  # the garbage collector has closed it, so close() can't flush it
        super().close()
        if on_close:
            on_close(self._unread if may_keep and not self.failure else None)

    def blocks(self) -> Iterator[bytes]:
        """Yield the body without its HTTP framing, in blocks as they arrive.

        If the connection is lost, the framing is damaged or a timeout expires, the body ends and `failure` is set. The
        error is not raised, so that the caller can first process the last, partial line. Raises ReaderGone.
        """
        # http.client sets `length` to 0 if the status allows no body (204, 304), even if the headers announce chunks.
        chunked = self.chunked and self.length is None
        self.timeouts.received = 0
        try:
            for block in self._chunked_blocks() if chunked else self._plain_blocks():
                if self.timeouts.running == "first-byte":
                    self.timeouts.start("idle")
                self.timeouts.received += len(block)
                yield block
        except OstreamError as error:
            self.failure = error
        except OSError as error:
            self.failure = IncompleteStream(f"connection lost: {reason(error)}")

    def _plain_blocks(self) -> Iterator[bytes]:
        left = self.length  # None: the body ends when the connection is closed
        while self.fp and (left is None or left > 0):
            block = self.fp.read1(BLOCK)
            if not block:
                break
            if left is not None:
                excess = len(block) > left
                block = block[:left]
                left -= len(block)
                self._unread = None if left or excess else b""
            yield block
        self.is_complete = not left

    def _chunked_blocks(self) -> Iterator[bytes]:
        """Yield the body of a chunked response. Each block holds the data of all HTTP chunks that one read returned.

        The code of http.client takes four times as long and does not report how a body ended.
        """
        left = 0  # bytes of the current HTTP chunk that have not arrived
        size_line = b""  # the part of the next size line that has arrived
        while True:
            data = size_line + self.fp.read1(BLOCK)
            if not left and not size_line:
                # Usually, one complete HTTP chunk arrives. It is passed on without the code for the other cases.
                first, _, rest = data.partition(b"\r\n")
                if rest.endswith(b"\r\n") and len(rest) == _plain_size(first) + len(b"\r\n"):
                    self._unread = LAST_HTTP_CHUNK
                    yield rest[:-2]
                    continue
            self._unread = None
            if len(data) == len(size_line):
                return
            size_line = b""
            parts = []
            position = 0
            ending = ""
            line_end_due = False  # the line end after the data of an HTTP chunk has not arrived
            was_split = False
            while position < len(data):
                if not left and not was_split:
                    was_split = True
                    bodies, position = _split_chunks(data, position)
                    parts += bodies
                    line_end_due = line_end_due and not bodies
                elif not left:
                    end = data.find(b"\n", position)
                    if end < 0 or end - position > SIZE_LINE_LIMIT:
                        size_line = data[position:] if end < 0 else data[position:end]
                        break
                    size = _size(data[position:end])
                    position = end + 1
                    line_end_due = False
                    if size is None:
                        continue
                    if size <= 0:
                        ending = "damaged" if size else "proper"
                        break
                    left = size
                else:
                    part = data[position : position + left]
                    parts.append(part)
                    position += len(part)
                    left -= len(part)
                    if data.startswith(b"\r\n", position):
                        position += 2
                    else:
                        line_end_due = True
            if ending == "proper":
                self._unread = _rest(b"\r\n", data[position:])
            elif not left:
                self._unread = _rest(b"\r\n" * line_end_due + LAST_HTTP_CHUNK, size_line)
            block = b"".join(parts)
            if block:
                yield block
            if ending == "damaged" or len(size_line) > SIZE_LINE_LIMIT:
                raise IncompleteStream("invalid HTTP framing in the response")
            if ending:
                self.is_complete = True
                return


def _split_chunks(data: bytes, position: int) -> tuple[list[bytes], int]:
    """Return the data of the HTTP chunks that are complete in `data` from `position` on, and the position after them.

    This takes a fraction of the time of parsing them one by one. None is returned if one of them has an extension, a
    line end other than CR LF, or the size 0, or if its data contains CR LF.
    """
    fields = data[position:].split(b"\r\n")
    end = (len(fields) - 1) // 2 * 2
    bodies = fields[1:end:2]
    if [*map(len, bodies)] != [*map(_plain_size, fields[:end:2])]:
        return [], position
    return bodies, len(data) - len(b"\r\n".join(fields[end:]))


def _ordinary_headers(data: bytes) -> dict[str, tuple[str, str]] | None:
    """Return the headers in the complete head of an ordinary response, as {name in lower case: (name, value)}.

    Return None for any other head: the status is not 200, a header is repeated, folded or malformed, or the end of the
    body is announced neither by one Content-Length nor by HTTP chunks.
    """
    head, end, _ = data.partition(b"\r\n\r\n")
    if not end or not head.startswith(_ORDINARY_STATUS) or not head.isascii():
        return None
    lines = head[len(_ORDINARY_STATUS) :].decode().split("\r\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(": ")
        if not colon or not name.replace("-", "").isalnum() or not value.isprintable() or value.strip() != value:
            return None
        headers[name.lower()] = name, value
    length = headers.get("content-length", ("", ""))[1]
    encoding = headers.get("transfer-encoding")
    is_framed = encoding[1] == "chunked" and not length if encoding else length.isdecimal() and len(length) < 19
    return headers if is_framed and len(headers) == len(lines) else None


def _rest(expected: bytes, received: bytes) -> bytes | None:
    """Return the part of `expected` that follows `received`, or None if `expected` does not begin with `received`."""
    return expected[len(received) :] if expected.startswith(received) else None


@lru_cache(maxsize=1024)  # the HTTP chunks of a stream have only a few different sizes
def _size(line: bytes) -> int | None:
    """Parse a chunk-size line. Return None for an empty line, which follows chunk data, and -1 for a malformed line."""
    size = line.partition(b";")[0].strip()
    if not size:
        return None
    return -1 if len(size) > 16 or size.strip(HEX_DIGITS) else int(size, 16)


@lru_cache(maxsize=1024)
def _plain_size(line: bytes) -> int:
    """Parse a chunk-size line that has only hexadecimal digits. Return -1 for any other line and for the size 0."""
    return -1 if line.strip(HEX_DIGITS) or not 0 < len(line) <= 16 else int(line, 16) or -1
