"""Send one job, again where that may help, and turn the response into an output line.

What is sent again: busy and unreachable servers, within the patience of the run (see `backoff`); other temporary
failures, and all of them before the first success, at most `retry` times; answers that break the request's format, at
once, at most `retry` times, or once if the model would repeat itself.
"""

from __future__ import annotations

import time

from ostream.batch.jobs import Job
from ostream.batch.responses import (
    PARTIAL_LIMIT,
    FormatError,
    answer_line,
    check_answer,
    complete_answer,
    failure_line,
    measurable,
)
from ostream.errors import ConnectError, IncompleteStream, OstreamError, ResponseError, StreamTimeout
from ostream.net.retry import pause_before, retry_after_s
from ostream.protocol.ndjson import LINE_LIMIT, encode_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Tuple, Union

    from ostream.batch.backoff import SharedBackoff
    from ostream.net.http import Response
    from ostream.net.session import Session
    from ostream.net.timeouts import Timeouts
    from ostream.system.polling import Reader

    # A job with its output line, and the answer or the failure on it.
    Result = Tuple[Job, bytes, Union[dict[str, Any], OstreamError]]

# A request whose connection breaks is tried at most so often: it may be what makes the server crash. A try may send it
# twice, if the server closed a kept connection.
MOST_TRIES = 3
# A request that is turned away so often while others are answered has failed.
MOST_REJECTIONS = 20
# A Retry-After beyond ten years is no number to count with.
_LONGEST_PAUSE_S = 3e8

BUSY, REFUSED, LOST, OTHER = "busy", "refused", "lost", "other"


class LostAnswer(IncompleteStream):
    """The connection ended in the middle of an answer."""


class SendPolicy:
    """How often requests are sent again, and which complete answers count as failures."""

    def __init__(
        self, retry: int = 3, patience: float = 600, fail_on_length: bool = False, fail_on_empty: bool = False
    ) -> None:
        self.retry = retry
        self.patience = patience
        self.fail_on_length = fail_on_length
        self.fail_on_empty = fail_on_empty


class Sender:
    """Sends jobs; one for all threads. `last_activity` is when the latest byte of any answer was received."""

    def __init__(
        self,
        session: Session,
        backoff: SharedBackoff,
        policy: SendPolicy,
        note: Callable[[str], None],
        trace: Callable[[str], None],
        reader: Reader | None = None,
    ) -> None:
        self.last_activity = time.monotonic()
        self._session = session
        self._backoff = backoff
        self._policy = policy
        self._note = note
        self._trace = trace
        self._reader = reader

    def process(self, job: Job) -> Result | None:
        """Send a job and return its line with the answer or the failure; None if the run stopped before that."""
        try:
            if job.failure:
                raise job.failure
            return _Attempts(job, self).run()
        except OstreamError as error:
            self._session.mask_error(error)
            return job, failure_line(job, error), error

    def attempt(self, job: Job, body: bytes, timeouts: Timeouts) -> Result:
        """Send a job once. Raises OstreamError."""
        self._trace(f"id {job.key.decode()}: POST {job.path}, {len(body):,} bytes")
        response = self._session.post_once(job.path, body, timeouts, self._reader)
        try:
            data = self._read(response)
            answer = self._answer(job, response, data, timeouts)
            request_id = response.getheader("X-Request-Id", "")
        finally:
            response.close()
        self._backoff.succeeded()
        try:
            check_answer(job, answer, self._policy.fail_on_length, self._policy.fail_on_empty)
        except OstreamError as error:
            error.partial = (encode_line(answer)[:-1] if b"\n" in data else data)[:PARTIAL_LIMIT]
            raise
        replaced = answer.keys() & {"id", "custom_id", "body_sha256", "row_sha256"}
        if replaced and not job.openai:
            self._trace(f"id {job.key.decode()}: {', '.join(sorted(replaced))} of the server's answer replaced")
        return job, answer_line(job, answer, data, response.status, request_id), measurable(answer)

    def _read(self, response: Response) -> bytes:
        blocks: list[bytes] = []
        size = 0
        self.last_activity = time.monotonic()
        for block in response.blocks():
            self.last_activity = time.monotonic()
            blocks.append(block)
            size += len(block)
            if size > LINE_LIMIT:
                raise ResponseError(f"the answer is longer than {LINE_LIMIT:,} bytes", response.status)
        return b"".join(blocks)

    def _answer(self, job: Job, response: Response, data: bytes, timeouts: Timeouts) -> dict[str, Any]:
        timeouts.start("decode")  # only the total time counts while the answer is decoded
        try:
            return complete_answer(job.path, data, timeouts.left)
        except IncompleteStream as error:
            # How a body ended counts only if the answer in it is not complete.
            failure = response.failure or error
            if isinstance(failure, IncompleteStream) and not response.is_complete:
                failure = LostAnswer(failure.error, advice=failure.advice)
            failure.partial = error.partial
            raise failure from None


class _Attempts:
    """The attempts at one job."""

    def __init__(self, job: Job, sender: Sender) -> None:
        self._job = job
        self._sender = sender
        self._backoff = sender._backoff
        self._policy = sender._policy
        self._timeouts = sender._session.new_timeouts()
        self._tries = 0
        self._losses = 0
        self._rejections = 0
        self._mismatches = 0
        self._successes_seen = -1

    def run(self) -> Result | None:
        body = self._job.encode()
        failure: OstreamError | None = None
        while self._backoff.enter():
            try:
                return self._sender.attempt(self._job, body, self._timeouts)
            except OstreamError as error:
                failure = error
                if getattr(error, "status_code", -1) == 504 and not self._job.body.get("stream"):
                    error.advice = "with --stream, a proxy's read timeout applies to each part of the answer"
                if self._backoff.stopped or not self._is_sent_again(error):
                    raise
            finally:
                self._backoff.leave()
        if failure:
            raise failure
        return None

    def _is_sent_again(self, error: OstreamError) -> bool:
        """Decide whether a failed request is sent again, and let it or all wait before that."""
        if isinstance(error, FormatError):
            # At once: the server is not the reason.
            self._mismatches += 1
            return self._mismatches <= (min(1, self._policy.retry) if _is_fixed(self._job) else self._policy.retry)
        kind = _kind(error)
        if self._policy.patience and kind == BUSY:
            return self._is_sent_when_free(error)
        if self._policy.patience and kind in (REFUSED, LOST) and self._backoff.had_success:
            self._losses += kind == LOST
            self._renew()
            if self._losses >= MOST_TRIES:
                return False
            self._backoff.unreachable(error)
            return True
        pause = pause_before(error, self._tries, self._policy.retry)
        if pause is None:
            return False
        self._tries += 1
        self._sender._note(f"{error}; try {self._tries} of {self._policy.retry} in {pause:.1f} s")
        self._backoff.pause(pause)
        return True

    def _is_sent_when_free(self, error: OstreamError) -> bool:
        self._renew()
        # A success of another request shows that it is this one that the server does not take.
        self._rejections += self._backoff.successes != self._successes_seen
        self._successes_seen = self._backoff.successes
        if self._rejections > MOST_REJECTIONS:
            return False
        self._backoff.busy(error, min(retry_after_s(error), _LONGEST_PAUSE_S))
        return True

    def _renew(self) -> None:
        """Begin the request's total time anew: the time for which a server is busy or unreachable does not count."""
        self._timeouts = self._sender._session.new_timeouts()


def _kind(error: OstreamError) -> str:
    status = getattr(error, "status_code", -1)
    if status in (429, 503):
        return BUSY
    if status in (502, 504) or status >= 520 or isinstance(error, LostAnswer):
        return LOST
    if isinstance(error, ConnectError) or (isinstance(error, StreamTimeout) and error.timeout == "connect"):
        return REFUSED
    return LOST if isinstance(error, IncompleteStream) and error.retryable else OTHER


def _is_fixed(job: Job) -> bool:
    """True if the model would give the same answer again."""
    options = job.body.get("options")
    options = options if isinstance(options, dict) else job.body
    return options.get("seed") is not None or options.get("temperature") == 0
