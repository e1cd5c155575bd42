"""A response of the server as chunks."""

from __future__ import annotations

from ostream.errors import ConnectError, IncompleteStream, NotNDJSON, OstreamError, reason
from ostream.protocol.accumulator import Accumulator
from ostream.protocol.chunk import AttrDict, Chunk, Message
from ostream.protocol.error_lines import is_error, response_error
from ostream.protocol.metrics import Metrics
from ostream.protocol.ndjson import decode_lines, is_torn, split_lines
from ostream.system.polling import ReaderGone
from ostream.system.wakeup import Wakeup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, Generator, Iterator

    from ostream.net.http import Response


class Stream:
    """The chunks of one response, as they come; the request is sent at the first `next()`.

    `message` and `response` hold what has come so far, and after the end the whole. Raises IncompleteStream when the
    stream ends without `done: true`. Closing it, also by leaving a `with`, closes the socket at once, and the server
    stops generating; any thread may do it, and one that waits in `next()` then comes to the end.
    """

    def __init__(self, post: Callable[[Wakeup], Response]) -> None:
        """`post` sends the request; it is given the event that stops it."""
        self._reading = _Reading()
        self._chunks = self._reading.chunks(post)

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        return next(self._chunks)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._reading.stop()
        try:
            self._chunks.close()
        except ValueError:
            pass  # another thread is in next(): it finds out by itself

    @property
    def message(self) -> Message:
        """Role, content, thinking and tool calls: ready to append to the next request's messages."""
        return Message(self._reading.so_far.message)

    @property
    def response(self) -> Chunk:
        """The last chunk with all text folded in, as `stream=False` would have given it."""
        return Chunk(self._reading.so_far.response)

    @property
    def metrics(self) -> Any:
        """What it cost: a dict of all that `stats --json` shows, None for what is not known; answers attributes too."""
        return AttrDict(self._reading.metrics.as_dict())

    def whole(self) -> Chunk:
        """Read to the end: the one object of `stream=False`, or the chunks of a server that streams all the same."""
        chunks = list(self)
        return chunks[0] if len(chunks) == 1 else self.response


class _Reading:
    """What a stream shares with the generator of its chunks, which does not hold the stream itself: so a stream that
    nobody holds any more, as after a `break`, is closed at once."""

    def __init__(self) -> None:
        self.so_far = Accumulator()
        self.metrics = Metrics()
        self.closed = False
        self.wakeup: Wakeup | None = None

    def stop(self) -> None:
        self.closed = True
        if self.wakeup:
            self.wakeup.wake()

    def chunks(self, post: Callable[[Wakeup], Response]) -> Generator[Chunk, None, None]:
        # Whoever waits for the server also watches an event of our own, which `close` sets.
        try:
            self.wakeup = Wakeup()
        except OSError as error:
            raise ConnectError(f"no descriptors left: {reason(error)}") from None
        with self.wakeup:
            if self.closed:
                return
            try:
                yield from self._until_done(post(self.wakeup))
            except ReaderGone:
                return

    def _until_done(self, response: Response) -> Iterator[Chunk]:
        try:
            yield from self._decode(response)
            if not self.so_far.done and not self.closed:
                raise response.failure or IncompleteStream("the stream ended without done: true")
        except OstreamError as error:
            if self.so_far.chunks:
                error.partial = Chunk(self.so_far.response)
            raise
        finally:
            response.close()

    def _decode(self, response: Response) -> Iterator[Chunk]:
        lineno = 0
        for lines in split_lines(response.blocks()):
            elapsed_ns = response.timeouts.elapsed_ns()
            chunks, damage = decode_lines(lines)
            for chunk in chunks:
                lineno += 1
                if chunk is None:
                    continue
                if "error" in chunk and is_error(chunk):
                    raise response_error(chunk)
                self.so_far.add(chunk)
                self.metrics.add(chunk, elapsed_ns)
                yield Chunk(chunk)
                if self.so_far.done or self.closed:
                    return
            if damage:
                if is_torn(damage.line):
                    return
                raise NotNDJSON(f"line {lineno + 1} of the answer: {damage}", damage.line, lineno + 1)
