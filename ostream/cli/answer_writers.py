"""Write responses as objects or rows, one for each response, whether or not `send` has rejected it afterwards."""

from __future__ import annotations

from ostream.errors import EMPTY, LENGTH, OstreamError
from ostream.protocol.ndjson import encode_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Protocol

    from ostream.cli.filter_input import FilterInput

    Chunk = Dict[str, Any]

    class Writer(Protocol):
        """Writes JSON objects or CSV rows for responses and failures."""

        def add(self, last: Chunk, text: str, problem: OstreamError | None, failed: Chunk | None) -> None: ...
        def write(self, source: FilterInput) -> None: ...
        def finish(self, source: FilterInput) -> None: ...


class JSONWriter:
    """Writes one JSON object for each response, with its text and with its id if the response has one."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lines: list[bytes] = []

    def add(self, last: Chunk, text: str, problem: OstreamError | None, failed: Chunk | None) -> None:
        if last:
            identity = {"id": last["id"]} if "id" in last else {}
            self._lines.append(encode_line({**identity, self._what: text}))

    def write(self, source: FilterInput) -> None:
        source.output.write_lines(b"".join(self._lines))
        self._lines = []

    def finish(self, source: FilterInput) -> None:
        self.write(source)


class RejectionMerger:
    """Passes responses and failures to a writer, and combines a response with the error line that rejects it.

    `send --fail-on-empty` and `--fail-on-length` write this error line after a complete answer. A response that may be
    rejected is held until the next response or failure. An answer of batch has an id, and is never held.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._held: tuple[Chunk, str, OstreamError | None] | None = None

    def add(self, last: Chunk, text: str, problem: OstreamError | None, failed: Chunk | None) -> None:
        self._add_held(None)
        may_be_rejected = problem is not None or last.get("done_reason") == "length"
        if failed is None and "id" not in last and may_be_rejected:
            self._held = last, text, problem
        else:
            self._writer.add(last, text, problem, failed)

    def reject(self, failed: Chunk) -> bool:
        """Combine a failure without a response with the response before it. Return False if it is not about that."""
        if self._held is None or "id" in failed or failed["exit_status"] not in (EMPTY, LENGTH):
            return False
        self._add_held(failed)
        return True

    def write(self, source: FilterInput) -> None:
        self._writer.write(source)

    def finish(self, source: FilterInput) -> None:
        self._add_held(None)
        self._writer.finish(source)

    def _add_held(self, failed: Chunk | None) -> None:
        if self._held is not None:
            self._writer.add(*self._held, failed)
            self._held = None
