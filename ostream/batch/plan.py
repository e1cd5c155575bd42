"""Decide which requests of the input are sent, and in which order, given the answers that exist already."""

from __future__ import annotations

import contextlib
import os
import tempfile
from bisect import bisect_right

from ostream.batch.jobs import Job, key_of
from ostream.batch.positions import PositionMatcher
from ostream.batch.resume_index import CHANGED, CONFLICT, FAILED_BEFORE, NEW, REPEATED, SAME
from ostream.errors import OK, USAGE, OstreamError, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Callable, Iterator, Sequence, Union

    from ostream.batch.answer_file import AnswerFile, StdoutSink
    from ostream.batch.inputs import RequestReader

    AnswerSink = Union[AnswerFile, StdoutSink]

# Jobs to be sent later are kept in memory up to this size in bytes, then in a temporary file.
_SPOOL_BYTES = 16 << 20
# A message names at most this many changed requests and counts the others.
_NAMED = 5


class Plan:
    """Yields the jobs to send: new jobs while the input is read, then jobs that failed before or have changed.

    If a request has changed since it was answered, it keeps its answer. With `resend`, the old answer is moved to
    FILE.replaced and the request is sent again.

    Arguments:
        reader: reads the rows of the input.
        sink: the file of answers, or standard output.
        resend: True to send changed requests again.
        has_positions: True if the id of every row is its position. Then, if a row has moved, its answer gets the new
            position as its id.
        on_skip: called for each row that is not sent.
        report: called with a row and an error if an earlier row has the same id and a different request. Called only if
            the answers go to a file; the file gets no line about the row.
    """

    def __init__(
        self,
        reader: RequestReader,
        sink: AnswerSink,
        resend: bool,
        has_positions: bool,
        on_skip: Callable[[], None],
        report: Callable[[Job, OstreamError], object],
    ) -> None:
        self.status = OK
        self.requests = 0  # rows that are requests, sent or not
        self.answered = 0
        self.repeated = 0
        self.failed_before = 0
        self._changed: list[Job] = []  # the first _NAMED changed requests
        self._changed_count = 0
        self._gone = 0
        self._reader = reader
        self._sink = sink
        self._resend = resend
        self._has_positions = has_positions
        self._on_skip = on_skip
        self._report = report
        self._later = _Spool()
        self._matcher: PositionMatcher | None = None
        self._is_matching = False
        self._unanswered: set[int] = set()
        self._obsolete: dict[bytes, bool] = {}
        self._keeps: set[int] = set()  # numbers of the changed rows that keep their answer

    @property
    def files(self) -> Sequence[str]:
        """The names of the input files."""
        return self._reader.files

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs to send, and a job with a `failure` for each row that can't be sent. Raises OutputError."""
        with contextlib.closing(self._later):
            for job in self._reader.jobs():
                if job is None:
                    self._on_skip()
                    continue
                self.requests += job.id is not None
                if job.failure or self._is_due_now(job):
                    yield job
            yield from self._jobs_for_later()

    def _jobs_for_later(self) -> Iterator[Job]:
        if self._is_matching:
            self._settle_positions()
        else:
            self._gone = self._sink.index.unseen
            if self._obsolete:
                self._rewrite(self._obsolete, {})
        for job in self._later:
            if job.number in self._keeps:
                self._on_skip()
            else:
                yield job

    def _is_due_now(self, job: Job) -> bool:
        """Return True if a row is to be sent now. A row to be sent later is added to `_later`."""
        if self._is_matching:
            self._match(job)
            return False
        number = job.number or 0
        state, earlier = self._sink.index.look_up(job.key, job.body_sha256, number)
        if state == SAME:
            self.answered += 1
            self._on_skip()
            return False
        if self._has_positions and (state == CHANGED or (state in (NEW, FAILED_BEFORE) and self._is_elsewhere(job))):
            # Rows were edited or moved. From this row on, answers are matched by request, not by position.
            self._matcher = self._matcher or PositionMatcher(self._positions(number))
            self._matcher.forget_before(number)
            self._is_matching = True
            self._match(job)
            return False
        if state == NEW:
            return True
        if state == FAILED_BEFORE:
            self.failed_before += 1
            self._later.add(job)
            return False
        if state == CONFLICT:
            return self._is_conflict_reported(job, earlier)
        if state == REPEATED:
            self.repeated += 1
        else:
            self._add_changed(job)
            if self._resend:
                self._obsolete[job.key] = True
                self._later.add(job)
                return False
        self._on_skip()
        return False

    def _is_conflict_reported(self, job: Job, earlier: int) -> bool:
        """Handle a second, different request for an id. Return True if it gets an error line.

        If the answers go to standard output, it gets an error line, so that later stages of the pipeline see the
        failure. If they go to a file, `report` is called instead.
        """
        job.failure = RequestError(
            f"{job.where}: id {job.key.decode()} has another request at {self._where(earlier)}",
            advice="give each request a unique id",
        )
        if self._sink.name == "standard output":
            return True
        self.status = USAGE
        self._on_skip()
        self._report(job, job.failure)
        return False

    def _where(self, number: int) -> str:
        """Return the file and line of an earlier row."""
        starts = self._reader.starts
        begin, name = starts[max(0, bisect_right(starts, (number, "\U0010ffff")) - 1)]
        return self._reader.where(name, number - begin)

    def _add_changed(self, job: Job) -> None:
        self._changed_count += 1
        if len(self._changed) < _NAMED:
            self._changed.append(job)
        if not self._resend:
            self.status = USAGE

    def _positions(self, begin: int) -> Iterator[tuple[int, str]]:
        return self._sink.positions(begin)  # type: ignore[union-attr]

    def _is_elsewhere(self, job: Job) -> bool:
        """True if an answer at another position answers the request of this row."""
        if not self._sink.index.unseen:
            return False
        self._matcher = self._matcher or PositionMatcher(self._positions(job.number or 0))
        return self._matcher.has(job.body_sha256)

    def _match(self, job: Job) -> None:
        assert self._matcher and job.number is not None
        if self._matcher.claim(job.number, job.body_sha256):
            self.answered += 1
            self._on_skip()
        else:
            self._unanswered.add(job.number)
            self._later.add(job)

    def _settle_positions(self) -> None:
        assert self._matcher
        moved, changed, gone = self._matcher.settle(self._unanswered)
        rows = set(changed.values())
        if rows:
            for job in self._later:
                if job.number in rows:
                    self._add_changed(job)
        self._gone = len(gone)
        # If the row of an answer is gone, the answer must not keep an id that is now the position of a different row.
        obsolete = [position for position in gone if position < self._reader.rows]
        if self._resend:
            obsolete += changed
        else:
            self._keeps = rows
            moved.update({position: row for position, row in changed.items() if position != row})
        if obsolete or moved:
            self._rewrite(dict.fromkeys(map(key_of, obsolete), True), {key_of(old): new for old, new in moved.items()})

    def _rewrite(self, obsolete: dict[bytes, bool], renumbered: dict[bytes, int]) -> None:
        self._sink.rewrite(obsolete, renumbered)  # type: ignore[union-attr]

    def problems(self) -> Iterator[OstreamError]:
        """Yield an error if changed requests were not sent again."""
        if self._changed_count and not self._resend:
            them = "it" if self._changed_count == 1 else "them"
            other = "use another -o FILE for another model, or " if self._has_other_model() else "use "
            yield RequestError(self._changed_text(), advice=f"{other}--changed=resend to send {them} again")

    def notes(self) -> Iterator[str]:
        """Yield notes about changed requests, answers without a request, repeated rows and skipped lines."""
        name = self._sink.name
        if self._changed_count and self._resend:
            yield f"{self._changed_text()}; earlier answers are in {name}.replaced"
        if self._gone:
            moved = getattr(self._sink, "moved", 0) - (self._changed_count if self._resend else 0)
            end = f"; moved to {name}.replaced: {moved:,}" if moved > 0 else ""
            yield f"{name}: answers whose request is not in this input: {self._gone:,}{end}"
        if self.repeated:
            yield f"rows with the id and request of an earlier row, sent once: {self.repeated:,}"
        if self._reader.skipped:
            yield f"skipped lines that are not requests: {self._reader.skipped:,}"

    def _changed_text(self) -> str:
        ids = ", ".join(job.key.decode() for job in self._changed)
        more = f" and {self._changed_count - _NAMED:,} more" if self._changed_count > _NAMED else ""
        what = "request changed since it was" if self._changed_count == 1 else "requests changed since they were"
        return f"{self._changed_count:,} {what} answered (id {ids}{more}){self._cause()}"

    def _has_other_model(self) -> bool:
        return bool(self._sink.model) and self._changed[0].body.get("model") != self._sink.model

    def _cause(self) -> str:
        """Return a text to append to a message if an option, not the rows, caused the changes; else ""."""
        if self._has_other_model():
            return f": the model was {self._sink.model}, and is {self._changed[0].body.get('model')} now"
        if self._changed_count > 1 and not self.answered:
            return ": all of them, so an option such as -m, -s, --option, -f or --prompt changed"
        return ""


class _Spool:
    """The jobs to be sent later, in a temporary file if they need more than _SPOOL_BYTES."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def add(self, job: Job) -> None:
        if self._file is None:
            self._file = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115
        self._file.seek(0, os.SEEK_END)
        self._file.write(job.dump())

    def __iter__(self) -> Iterator[Job]:
        if self._file is not None:
            self._file.seek(0)
            yield from map(Job.load, self._file)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
