"""The response to a request, as an iterator of chunks that any thread can close.

A lock decides which thread owns a running stream: a thread in `next()`, or a thread that closes the connection.
`close()` never waits for it, so a signal handler may call it: the thread in `next()` wakes and closes the connection.
"""

from __future__ import annotations

import os
from _thread import RLock, allocate_lock  # importing threading would take longer
from operator import length_hint

from ostream.errors import ConnectError, IncompleteStream, NotNDJSON, OstreamError, explain, reason
from ostream.protocol.accumulator import Accumulator
from ostream.protocol.chunk import content
from ostream.protocol.error_lines import is_error, response_error
from ostream.protocol.ndjson import decode_server_lines, is_object_prefix, split_lines
from ostream.protocol.objects import Chunk, Message, ResponseMetrics, wrap_chunk
from ostream.system.polling import ReaderGone
from ostream.system.wakeup import Wakeup

TYPE_CHECKING: bool = False  # with the annotation, jedi reads the block below
if TYPE_CHECKING:
    from typing import Any, Callable, Generic, Iterator

    from typing_extensions import TypeVar

    from ostream.net.http import Response
    from ostream.protocol.metrics import Metrics

    C = TypeVar("C", bound=Chunk, default=Any)

    class _Generic(Generic[C]): ...
else:
    C = None

    class _Generic:
        """Allows annotations such as Stream[ChatResponse] at run time, as typing.Generic does."""

        __slots__ = ()

        def __class_getitem__(cls, _):
            return cls


class Stream(_Generic[C]):
    """The chunks of one response. Each chunk is available as soon as it arrives.

    `chat` and `generate` return a Stream if `stream=True`. The request is sent at the first `next()`. A Stream is an
    iterator and a context manager. It is closed at the end of the `with` block, or when its last reference is dropped.

    `next()` and a `for` loop raise
        ResponseError: the server rejected the request or reported an error;
        IncompleteStream: the response ended without `"done": true`; `.partial` is the part that arrived;
        ConnectError, StreamTimeout: no connection, or a time limit was exceeded;
        NotNDJSON: the server sent a line that is not a JSON object;
        RuntimeError: another thread is waiting in `next()`, or the stream was started before a fork.
    After an error, or after `close()`, `next()` raises StopIteration.
    """

    # Set here, because __del__ reads them, and an exception of a signal handler may end __init__ at its first line.
    _wakeup: Wakeup | None = None
    _response: Response | None = None

    def __init__(
        self,
        post: Callable[[Wakeup], Response],
        chunk_class: type[C],
        model: str = "",
        host: str = "",
        metrics: Metrics | None = None,
    ) -> None:
        """Not public: call `chat` or `generate`. `post` sends the request; setting its Wakeup ends the wait."""
        self._post, self._chunk_class = post, chunk_class
        self._model, self._host = model, host
        self._owner = allocate_lock()
        self._closed = False
        self._lines: Iterator[list[bytes]] | None = None
        self._lineno = self._pid = self._elapsed_ns = 0
        # What follows the current block, if that is known: the end of the response, or the error to raise.
        self._ended = False
        self._failure: OstreamError | None = None
        # The chunks of the current block, an iterator over those not returned yet, and how many have been accumulated.
        self._block: list[dict[str, Any]] = []
        self._rest = iter(self._block)
        self._folded = 0
        self._folding = RLock()  # a signal handler may read `message` while it is being computed
        self._accumulator = Accumulator()
        self._metrics = metrics  # None if they are not needed

    def __iter__(self) -> Iterator[C]:
        return self

    def __next__(self) -> C:
        return wrap_chunk(self._chunk_class, self._next_decoded())

    def _next_decoded(self) -> dict[str, Any]:
        """Return the next chunk as a plain dict."""
        if self._closed:
            raise StopIteration
        for chunk in self._rest:  # the lock is needed only to read the next block
            return chunk
        if not self._owner.acquire(False):
            raise RuntimeError("another thread is reading this stream; let one thread read it and pass the chunks on")
        try:
            while True:
                for chunk in self._rest:
                    return chunk
                self._next_block()
        finally:
            self._owner.release()
            if self._closed:
                self._release()  # close() was called while this thread was in here

    def __enter__(self) -> Stream[C]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # No reference is left, so no thread can be in next() and the lock is not needed.
        self._close_connection()

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            advice = (
                f"; use final().{name}{', or text_stream' if name == 'text' else ''}" if hasattr(Chunk, name) else ""
            )
            raise AttributeError(f"'Stream' object has no attribute {name!r}{advice}")

    def __repr__(self) -> str:
        if self._failure:
            state = "failed"
        elif self._is_complete:
            state = "complete"
        else:
            state = "closed" if self._closed else "open" if self._lines else "not started"
        return f"<Stream model={self._model!r} host={self._host!r}: {state}>"

    def close(self) -> None:
        """Close the connection, which makes the server stop generating.

        Any thread and any signal handler may call it, at any time and more than once. A thread that waits in `next()`
        gets StopIteration. `message`, `response` and `metrics` keep the part that arrived.
        """
        self._closed, wakeup = True, self._wakeup
        if wakeup:
            wakeup.wake()
        self._release()

    def _release(self) -> None:
        """Close the connection. If a thread is in `next()`, that thread closes it instead."""
        if self._owner.acquire(False):
            try:
                self._close_connection()
            finally:
                self._owner.release()

    def _close_connection(self) -> None:
        response, self._response, wakeup, self._wakeup = self._response, None, self._wakeup, None
        if response:
            (response.finish if self._ended and not self._failure else response.close)()
        if wakeup:
            wakeup.close()

    @property
    def text_stream(self) -> Iterator[str]:
        """The text of the answer as it arrives, in fragments that are not empty. Thinking is left out.

        Raises the same errors as `next()`.
        """
        while True:
            try:
                text = content(self._next_decoded())
            except StopIteration:
                return
            if text:
                yield text

    def final(self) -> C:
        """Read the rest of the stream and return the complete response, as `stream=False` returns it.

        The response includes the chunks that were read before. Raises the same errors as `next()`, and IncompleteStream
        if the stream was closed or failed before its end.
        """
        for _ in self:
            pass
        if not self._is_complete:
            raise explain(IncompleteStream("the stream was closed before its end", self._partial()))
        if self._accumulator.chunks == 1:
            return wrap_chunk(self._chunk_class, self._block[0])
        return self.response

    @property
    def message(self) -> Message:
        """The message so far (role, content, thinking, tool calls), to append to the messages of the next request."""
        self._fold()
        return wrap_chunk(Chunk, {"message": self._accumulator.message})["message"]  # type: ignore[no-any-return]

    @property
    def response(self) -> C:
        """The response so far, as `stream=False` would return it: the last chunk, with the text of all chunks."""
        self._fold()
        return wrap_chunk(self._chunk_class, self._accumulator.response)

    @property
    def metrics(self) -> ResponseMetrics:
        """The counts, durations (nanoseconds) and rates (tokens per second) so far. None if a value is not known."""
        self._fold()
        return ResponseMetrics(self._metrics.as_dict() if self._metrics else ())

    @property
    def _is_complete(self) -> bool:
        return self._ended and not self._failure and not length_hint(self._rest)

    def _partial(self) -> C | None:
        response = self.response
        return response if self._accumulator.chunks else None

    def _fold(self) -> None:
        """Add the returned chunks to the message and the metrics. A call per block is faster than one per chunk."""
        with self._folding:
            returned = len(self._block) - length_hint(self._rest)
            chunks, self._folded = self._block[self._folded : returned], returned
            if chunks:
                self._accumulator.add_all(chunks)
                if self._metrics:
                    self._metrics.add_all(chunks, self._elapsed_ns)

    def _next_block(self) -> None:
        """Read the next block when this one was returned completely. Raises StopIteration or an error at the end."""
        self._fold()
        if self._closed:
            raise StopIteration
        if self._ended:
            self._closed = True
            if self._failure:
                self._failure.partial = self._partial()
                raise explain(self._failure)
            raise StopIteration
        try:
            block = self._read_block()
        except ReaderGone:
            block = []  # close() ended the wait
        except OstreamError as error:
            block, self._ended, self._failure = [], True, error
        except BaseException:
            # Ctrl-C, or an exception of a signal handler: the rest of the response can't be read.
            self._ended, self._failure = True, IncompleteStream("reading the stream was interrupted")
            self._close_connection()
            raise
        with self._folding:
            # In this order, nothing is added twice if a signal handler interrupts here and reads `message`.
            self._rest, self._block, self._folded = iter(block), block, 0
        if self._ended:
            if self._failure and self._response:
                self._response.credentials.mask_error(self._failure)
            self._close_connection()

    def _read_block(self) -> list[dict[str, Any]]:
        """Return the chunks in the next lines that arrive. Sets `_ended` if no more follow, `_failure` for an error."""
        if self._lines is None:
            self._start()
        elif os.getpid() != self._pid:
            raise RuntimeError("this stream was started by the parent process; a forked child cannot read it")
        response = self._response
        if self._closed or response is None or self._lines is None:
            raise ReaderGone
        for lines in self._lines:
            self._elapsed_ns = response.timeouts.elapsed_ns()
            decoded, damage = decode_server_lines(lines)
            if damage and not self._lineno and lines[0].strip() == b"{":
                from ostream.protocol.response_lines import read_indented

                decoded, damage = decode_server_lines(read_indented(lines, self._lines))
            chunks = self._check(decoded)
            if not self._ended and damage:
                self._end(damage)
            if chunks or self._ended:
                return chunks
        self._ended, self._failure = True, self._early_end()
        return []

    def _early_end(self) -> OstreamError:
        failure = self._response and self._response.failure
        return failure or IncompleteStream('the stream ended early (no "done": true)')

    def _start(self) -> None:
        self._pid = os.getpid()
        try:
            self._wakeup = wakeup = Wakeup()
        except OSError as error:
            advice = "close other streams or raise 'ulimit -n'"
            raise ConnectError(f"no descriptors left: {reason(error)}", advice=advice) from None
        if self._closed:  # close() was called before the Wakeup existed
            raise ReaderGone
        self._response = response = self._post(wakeup)
        self._lines = split_lines(response.blocks())

    def _check(self, decoded: list[dict[str, Any] | None]) -> list[dict[str, Any]]:
        """Return the chunks among decoded lines, up to the chunk that ends the response. Drop the lines after it."""
        for index, chunk in enumerate(decoded):
            if chunk and "error" in chunk and is_error(chunk):  # None is a blank line
                self._ended, self._failure = True, response_error(chunk)
                decoded = decoded[:index]
                break
            if chunk and chunk.get("done") is True:
                self._ended = True
                decoded = decoded[: index + 1]
                break
        self._lineno += len(decoded)
        return [chunk for chunk in decoded if chunk is not None] if None in decoded else decoded  # type: ignore[return-value]

    def _end(self, damage: NotNDJSON) -> None:
        """End the stream at a line that can't be decoded. A truncated object means that the rest is missing."""
        lineno = self._lineno + 1
        failure = NotNDJSON(f"line {lineno} of the response: {damage}", damage.line, lineno)
        self._ended, self._failure = True, self._early_end() if is_object_prefix(damage.line) else failure
