"""Report the failures of a run: the first of each kind, the others as a count; and notice mistakes that concern all."""

from __future__ import annotations

import threading

from ostream.batch.progress import without_numbers
from ostream.batch.responses import FormatError
from ostream.errors import (
    EmptyError,
    IncompleteStream,
    LengthError,
    OstreamError,
    RequestError,
    ResponseError,
    StreamTimeout,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.batch.jobs import Job
    from ostream.batch.progress import Progress

# So many failures for one reason, with no success before them, stop the run.
EARLY = 10
_UNUSABLE = "unusable"


class FailureReport:
    """Prints failures as they occur. The first ones are held back while all have one reason.

    `had_success`: an earlier run has had a success, so no mistake can concern all requests.
    """

    def __init__(self, progress: Progress, had_success: bool) -> None:
        self._progress = progress
        self._is_early = not had_success
        self._held: list[tuple[OstreamError, str]] = []
        self._reason = ""
        self._is_stopped = False
        self._lock = threading.RLock()  # rows are reported by the thread that reads the input

    def succeeded(self) -> None:
        """Note that a request was answered."""
        if self._is_early:
            with self._lock:
                self._is_early = False
                self._print_held()

    def add(self, job: Job, error: OstreamError) -> OstreamError | None:
        """Report a failure. Return the reason to stop the run, if all failures so far have the same one."""
        with self._lock:
            return self._add(job, error)

    def add_row(self, job: Job, error: OstreamError) -> None:
        """Report a row that is not sent, and for which no line is written. It never stops the run."""
        with self._lock:
            prefix, text = _split(job, error)
            self._progress.fail(error, text)
            self._progress.print_failure(OstreamError(text, advice=error.advice), prefix)

    def _add(self, job: Job, error: OstreamError) -> OstreamError | None:
        prefix, text = _split(job, error)
        self._progress.fail(error, text)
        message = OstreamError(text, advice=error.advice)
        reason = _shared_reason(job, error, text)
        if self._is_stopped and reason == self._reason:
            return None
        if not self._is_early or not reason or (self._held and reason != self._reason):
            self._is_early = False
            self._print_held()
            self._progress.print_failure(message, prefix)
            return None
        self._reason = reason
        self._held.append((message, prefix))
        if len(self._held) < EARLY:
            return None
        what = "rows can't be used" if reason == _UNUSABLE else "requests failed"
        self._is_stopped = True
        first, prefix = self._held[0]
        self._held = []
        place = prefix if reason == _UNUSABLE else ""
        return OstreamError(f"the first {EARLY} {what}: {place}{first}", advice=first.advice)

    def drop_held(self) -> None:
        """Forget what is held back: the run stops, and its own message has the reason."""
        self._held = []
        self._is_stopped = True

    def finish(self) -> None:
        """Print what was held back."""
        self._print_held()

    def _print_held(self) -> None:
        held, self._held = self._held, []
        for message, prefix in held:
            self._progress.print_failure(message, prefix)


def _split(job: Job, error: OstreamError) -> tuple[str, str]:
    """Return the place or id of a failure, for the front of its message, and the message without it."""
    prefix = f"{job.where}: " if job.failure else f"id {job.key.decode()}: "
    text = str(error)
    if text.startswith(prefix):
        text = text[len(prefix) :]
    return ("" if job.id is None else prefix), text


def _shared_reason(job: Job, error: OstreamError, text: str) -> str:
    """Return a name of the reason if it may concern all requests, or ""."""
    if job.id is None:
        return ""
    if job.failure:
        return _UNUSABLE if isinstance(error, RequestError) else ""
    if isinstance(error, (FormatError, LengthError, EmptyError, StreamTimeout)):
        return ""
    code = error.status_code if isinstance(error, ResponseError) else type(error).__name__
    if isinstance(error, IncompleteStream) and not error.retryable:
        return ""
    return f"{code} {without_numbers(text)}"
