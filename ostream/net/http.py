"""The answer to a request, as http.client has it, and its body without the framing.

- A read gives what is there and never waits for more.
- How a body ended proves nothing: several failures of a server end it properly. Only `done` does.
"""

from __future__ import annotations

import http.client
from functools import lru_cache

from ostream.errors import IncompleteStream, OstreamError, reason
from ostream.net.socket import BLOCK
from ostream.net.timeouts import Timeouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

# An HTTP chunk's size with its extensions; http.client allows 64 KiB for a header line.
SIZE_LINE_LIMIT = 4 << 10
HEX_DIGITS = b"0123456789abcdefABCDEF"


class Response(http.client.HTTPResponse):
    """The answer to a request; `blocks()` is its body."""

    timeouts: Timeouts
    failure: OstreamError | None = None
    is_whole = False  # its framing came to its end, or it has none; what it says may still be cut

    def _read_status(self) -> tuple[str, int, str]:
        """http.client skips 100 only; every 1xx but 101 says that the answer is still to come."""
        version, status, phrase = super()._read_status()  # type: ignore[misc]
        return version, (100 if 101 < status < 200 else status), phrase

    def blocks(self) -> Iterator[bytes]:
        """The body without its framing, in blocks as they come, to wherever it ends.

        `failure` says then what ended it: a broken connection, damaged framing or a clock; None if it seemed proper.
        It is not raised here, so that a reader gets the last unfinished line too. ReaderGone is raised.
        """
        # An answer that has no body, by its status, has none whatever its headers say.
        chunked = self.chunked and self.length is None
        self.timeouts.received = 0
        try:
            for block in self._chunked_blocks() if chunked else self._plain_blocks():
                if self.timeouts.clock == "first-byte":
                    self.timeouts.start("idle")
                self.timeouts.received += len(block)
                yield block
        except OstreamError as error:
            self.failure = error
        except OSError as error:
            self.failure = IncompleteStream(f"the connection broke: {reason(error)}")

    def _plain_blocks(self) -> Iterator[bytes]:
        left = self.length  # None: to the end of the connection
        while self.fp and (left is None or left > 0):
            block = self.fp.read1(BLOCK if left is None else min(BLOCK, left))
            if not block:
                break
            if left is not None:
                left -= len(block)
            yield block
        self.is_whole = not left

    def _chunked_blocks(self) -> Iterator[bytes]:
        """All of what one read gave of several HTTP chunks as one block; http.client's own way costs four times the
        time, and hides how a body ended."""
        left = 0  # of the HTTP chunk that has begun
        size_line = b""  # of the next one, as far as it has come
        while True:
            data = size_line + self.fp.read1(BLOCK)
            if len(data) == len(size_line):
                return
            size_line = b""
            parts = []
            position = 0
            ending = ""
            while position < len(data):
                if not left:
                    end = data.find(b"\n", position)
                    if end < 0 or end - position > SIZE_LINE_LIMIT:
                        size_line = data[position:] if end < 0 else data[position:end]
                        break
                    size = _size(data[position:end])
                    position = end + 1
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
            block = b"".join(parts)
            if block:
                yield block
            if ending == "damaged" or len(size_line) > SIZE_LINE_LIMIT:
                raise IncompleteStream("the HTTP framing of the answer is damaged")
            if ending:
                self.is_whole = True
                return


@lru_cache(maxsize=1024)  # the chunks of an answer have few sizes
def _size(line: bytes) -> int | None:
    """The size that a line of the framing says, -1 if it is damaged; None for the line end behind the data."""
    size = line.partition(b";")[0].strip()
    if not size:
        return None
    return -1 if len(size) > 16 or size.strip(HEX_DIGITS) else int(size, 16)
