"""Report the failures of a run: print the first few of each kind and count the others.

Also detect mistakes that make all requests fail, such as a wrong model name.
"""

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

# The run stops after this many failures with the same reason and no success.
EARLY = 10
_UNUSABLE = "unusable"


class FailureReport:
    """Prints failures as they occur.

    Until the first success, failures are held back while all of them have the same reason. When EARLY failures are held
    back, the run stops and one message is printed instead.

    `had_success` is True if an earlier run had a success. Then no failure is held back, because a mistake
    cannot concern all requests.
    """

    def __init__(self, progress: Progress, had_success: bool) -> None:
        self._progress = progress
        self._is_early = not had_success
        self._held: list[tuple[OstreamError, str]] = []
        self._reason = ""
        self._is_stopped = False
        self._lock = threading.RLock()  # `add_row` is called by the thread that reads the input, `add` by others

    def succeeded(self) -> None:
        """Record that a request was answered, and print the failures that were held back."""
        if self._is_early:
            with self._lock:
                self._is_early = False
                self._print_held()

    def add(self, job: Job, error: OstreamError) -> OstreamError | None:
        """Report a failure. Return an error to stop the run with, or None to continue.

        The run stops when the first EARLY failures have the same reason.
        """
        with self._lock:
            return self._add(job, error)

    def add_row(self, job: Job, error: OstreamError) -> None:
        """Report a row that is not sent and gets no output line. This never stops the run."""
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
        """Discard the failures that are held back, because the message about the end of the run gives their reason."""
        self._held = []
        self._is_stopped = True

    def finish(self) -> None:
        """Print the failures that are still held back."""
        self._print_held()

    def _print_held(self) -> None:
        held, self._held = self._held, []
        for message, prefix in held:
            self._progress.print_failure(message, prefix)


def _split(job: Job, error: OstreamError) -> tuple[str, str]:
    """Return the prefix of a failure's message (its location or id), and the message without the prefix."""
    prefix = f"{job.where}: " if job.failure else f"id {job.key.decode()}: "
    text = str(error)
    if text.startswith(prefix):
        text = text[len(prefix) :]
    return ("" if job.id is None else prefix), text


def _shared_reason(job: Job, error: OstreamError, text: str) -> str:
    """Return a name for the reason of a failure if all requests may fail for this reason, else ""."""
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
