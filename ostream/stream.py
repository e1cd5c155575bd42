"""A response of the server as chunks."""

from __future__ import annotations

from ostream.chunk import Chunk, Message, Object
from ostream.errors import IncompleteStream, NotNDJSON, OstreamError
from ostream.failure import is_error, response_error
from ostream.message import Accumulator
from ostream.metrics import Metrics
from ostream.ndjson import decode_line, is_torn, split_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, Generator, Iterator

    from ostream.transport import Response


class Stream:
    """The chunks of one response, as they come; the request is sent at the first `next()`.

    `message` and `response` hold what has come so far, and after the end the whole. Raises IncompleteStream when the
    stream ends without `done: true`. Closing it, also by leaving a `with`, closes the socket at once, and the server
    stops generating.
    """

    def __init__(self, post: Callable[[], Response]) -> None:
        self._post = post
        self._so_far = Accumulator()
        self._metrics = Metrics()
        self._chunks: Generator[Chunk, None, None] = self._read()

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
        self._chunks.close()

    @property
    def message(self) -> Message:
        """Role, content, thinking and tool calls: ready to append to the next request's messages."""
        return Message(self._so_far.message)

    @property
    def response(self) -> Chunk:
        """The last chunk with all text folded in, as `stream=False` would have given it."""
        return Chunk(self._so_far.response)

    @property
    def metrics(self) -> Any:
        """What it cost: a dict of all that `stats --json` shows, None for what is not known; answers attributes too."""
        return Object(self._metrics.as_dict())

    def whole(self) -> Chunk:
        """Read to the end: the one object of `stream=False`, or the chunks of a server that streams all the same."""
        chunks = list(self)
        return chunks[0] if len(chunks) == 1 else self.response

    def _read(self) -> Generator[Chunk, None, None]:
        response = self._post()
        try:
            yield from self._decode(response)
            if not self._so_far.done:
                raise response.failure or IncompleteStream("the stream ended without done: true")
        except OstreamError as error:
            if self._so_far.chunks:
                error.partial = self.response
            raise
        finally:
            response.close()

    def _decode(self, response: Response) -> Iterator[Chunk]:
        lineno = 0
        for lines in split_lines(response.blocks()):
            elapsed_ns = response.clocks.elapsed_ns()
            for line in lines:
                lineno += 1
                try:
                    chunk = decode_line(line)
                except NotNDJSON as error:
                    if is_torn(line):
                        return
                    raise NotNDJSON(f"line {lineno} of the answer: {error}", line, lineno) from None
                if chunk is None:
                    continue
                if is_error(chunk):
                    raise response_error(chunk)
                self._so_far.add(chunk)
                self._metrics.add(chunk, elapsed_ns)
                yield Chunk(chunk)
                if self._so_far.done:
                    return
