"""The response to a request: http.client's, with a reader of its own for the body.

- A read returns what has arrived and never waits for more.
- How a body ends proves nothing: a server that fails can end it properly. Only `"done": true` proves completeness.
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
    from typing import Callable, Iterator

# Longest line with the size of an HTTP chunk and its extensions; http.client allows 64 KiB for a header line.
SIZE_LINE_LIMIT = 4 << 10
HEX_DIGITS = b"0123456789abcdefABCDEF"
LAST_HTTP_CHUNK = b"0\r\n\r\n"


class Response(http.client.HTTPResponse):
    """The response to a request; `blocks()` is its body.

    `timeouts` and `credentials` are those of the request. After `blocks()`, `failure` is what ended the body, None if
    it ended properly, and `is_complete` is true if the HTTP framing was complete; the answer in it may be truncated
    all the same.
    """

    timeouts: Timeouts
    credentials = Credentials({})
    failure: OstreamError | None = None
    is_complete = False
    # Called by close() with the bytes that the server must still send before the connection can be used again, or with
    # None if it cannot.
    on_close: Callable[[bytes | None], None] | None = None
    _unread: bytes | None = None

    def _read_status(self) -> tuple[str, int, str]:
        """Let http.client skip every 1xx response but 101; by itself it skips 100 only."""
        version, status, phrase = super()._read_status()  # type: ignore[misc]
        return version, (100 if 101 < status < 200 else status), phrase

    def close(self) -> None:
        """Close the connection, or keep it for the next request if the body was read to its end."""
        self._release(self.is_complete)

    def finish(self) -> None:
        """As `close`, but keep the connection also if only the end of the framing is unread: the answer is complete."""
        self._release(True)

    def _release(self, may_keep: bool) -> None:
        on_close, self.on_close = self.on_close, None
        super().close()
        if on_close:
            on_close(self._unread if may_keep and not self.failure else None)

    def blocks(self) -> Iterator[bytes]:
        """Yield the body without its framing, in blocks as they arrive, up to wherever it ends.

        A lost connection, damaged framing or a timeout ends it too and is then in `failure`. It is not raised, so that
        the caller gets the last unfinished line. Raises ReaderGone.
        """
        # A response that has no body by its status has none, whatever its headers are.
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
        left = self.length  # None: to the end of the connection
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
        """Yield all that one read returned of several HTTP chunks as one block.

        http.client takes four times as long, and hides how a body ended.
        """
        left = 0  # of the HTTP chunk that has begun
        size_line = b""  # of the next one, as far as it has arrived
        while True:
            data = size_line + self.fp.read1(BLOCK)
            self._unread = None
            if len(data) == len(size_line):
                return
            size_line = b""
            parts = []
            position = 0
            ending = ""
            line_end_due = False  # after the data of an HTTP chunk
            while position < len(data):
                if not left:
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


def _rest(expected: bytes, received: bytes) -> bytes | None:
    """Return what must follow `received` to make `expected`, None if nothing can."""
    return expected[len(received) :] if expected.startswith(received) else None


@lru_cache(maxsize=1024)  # a stream has HTTP chunks of few sizes
def _size(line: bytes) -> int | None:
    """Parse a chunk-size line. Returns None for the line end after chunk data, -1 if malformed."""
    size = line.partition(b";")[0].strip()
    if not size:
        return None
    return -1 if len(size) > 16 or size.strip(HEX_DIGITS) else int(size, 16)
