"""Send one job, retry it if that may help, and turn the response into an output line.

A request is sent again after these failures:
- The server is busy, or it is unreachable after the first success of the run: until the run's patience is used up (see
  `backoff`). With a patience of 0, this counts as a temporary failure.
- Another temporary failure: at most `retry` times.
- The answer does not have the format that the request asks for: without a pause, at most `retry` times, but only
  once if the model would give the same answer again.
"""

from __future__ import annotations

import contextlib
import time

from ostream.batch.jobs import Job
from ostream.batch.responses import (
    FormatError,
    answer_line,
    check_answer,
    complete_answer,
    failure_line,
    measurable,
)
from ostream.errors import ConnectError, IncompleteStream, NotNDJSON, OstreamError, ResponseError, StreamTimeout
from ostream.net.retry import pause_before, retry_after_s
from ostream.protocol.ndjson import LINE_LIMIT, decode_line, encode_line
from ostream.protocol.response_lines import is_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Tuple, Union

    from ostream.batch.backoff import SharedBackoff
    from ostream.net.http import Response
    from ostream.net.session import Session
    from ostream.net.timeouts import Timeouts
    from ostream.system.polling import Reader

    # A job, its output line, and the answer or the failure in this line.
    Result = Tuple[Job, bytes, Union[dict[str, Any], OstreamError]]

# A request is tried at most this many times if its connection breaks, because the request may make the server crash.
# If an idle connection turns out to be closed, the request is sent again on a new one; both count as one try.
MOST_TRIES = 3
# A request that is rejected as busy more often than this, while other requests are answered, has failed.
MOST_REJECTIONS = 20
# Bytes at the end of the data that are searched for `"done":true`. The last line of a stream is seldom longer.
_LAST_BYTES = 64 << 10
# A Retry-After longer than this (almost ten years) is shortened, because time.localtime() fails for huge numbers.
_LONGEST_PAUSE_S = 3e8

BUSY, REFUSED, LOST, OTHER = "busy", "refused", "lost", "other"


class LostAnswer(IncompleteStream):
    """The connection ended in the middle of an answer."""


class SendPolicy:
    """How many times requests are sent again, and which complete answers count as failures.

    Arguments:
        retry: how many times a request is sent again after a temporary failure or an answer in a wrong format.
        patience: seconds to wait for a busy or unreachable server (0: do not wait).
        fail_on_length: True if an answer that a length limit truncated is a failure.
        fail_on_empty: True if an empty answer is a failure.
    """

    def __init__(
        self, retry: int = 3, patience: float = 600, fail_on_length: bool = False, fail_on_empty: bool = False
    ) -> None:
        self.retry = retry
        self.patience = patience
        self.fail_on_length = fail_on_length
        self.fail_on_empty = fail_on_empty


class Sender:
    """Sends jobs. All threads share one sender.

    `last_activity` is the latest time.monotonic() at which a request began or data of an answer arrived.
    """

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
        """Send a job, with retries. Return the job, its output line, and the answer or the failure.

        Return None if the run stopped before the job was sent.
        """
        try:
            if job.failure:
                raise job.failure
            return _Attempts(job, self).run()
        except OstreamError as error:
            self._session.mask_error(error)
            return job, failure_line(job, error), error

    def attempt(self, job: Job, body: bytes, timeouts: Timeouts) -> Result:
        """Send a job once and return its result. Raises OstreamError."""
        self._trace(f"id {job.key.decode()}: POST {job.path}, {len(body):,} bytes")
        response = self._session.post_once(job.path, body, timeouts, self._reader)
        try:
            data = self._read(response)
            answer = self._answer(job, response, data, timeouts)
            request_id = response.credentials.mask(response.getheader("X-Request-Id", ""))
        finally:
            response.close()
        self._backoff.succeeded()
        try:
            check_answer(job, answer, self._policy.fail_on_length, self._policy.fail_on_empty)
        except OstreamError as error:
            error.partial = encode_line(answer)[:-1] if b"\n" in data else data
            raise
        replaced = answer.keys() & {"id", "custom_id", "body_sha256", "row_sha256"}
        if replaced and not job.openai:
            self._trace(f"id {job.key.decode()}: {', '.join(sorted(replaced))} of the server's answer replaced")
        return job, answer_line(job, answer, data, response.status, request_id), measurable(answer)

    def _read(self, response: Response) -> bytes:
        blocks: list[bytes] = []
        size = 0
        last = b""
        self.last_activity = time.monotonic()
        for block in response.blocks():
            self.last_activity = time.monotonic()
            blocks.append(block)
            size += len(block)
            if size > LINE_LIMIT:
                raise ResponseError(f"the answer is longer than {LINE_LIMIT:,} bytes", response.status)
            last = (last + block)[-_LAST_BYTES:]
            if response.timeouts.running != "linger" and _has_done(last):
                response.timeouts.start("linger")
            last = last[last.rfind(b"\n") + 1 :]  # scanning a line again for each block would take quadratic time
        return b"".join(blocks)

    def _answer(self, job: Job, response: Response, data: bytes, timeouts: Timeouts) -> dict[str, Any]:
        is_late = timeouts.running == "linger"
        timeouts.start("decode")  # while the answer is decoded, only the total time is limited
        may_be_indented = job.body.get("stream") is not True or is_json(response.getheader("Content-Type"))
        try:
            return complete_answer(job.path, data, timeouts.left, may_be_indented)
        except IncompleteStream as error:
            # The way in which the body ended matters only if the answer is not complete.
            failure = error if is_late else response.failure or error
            if isinstance(failure, IncompleteStream) and not response.is_complete:
                failure = LostAnswer(failure.error, advice=failure.advice)
            failure.partial = error.partial
            raise failure from None


def _has_done(data: bytes) -> bool:
    """Return True if a line of `data` is a chunk with `"done":true`."""
    for line in data.split(b"\n") if b'"done"' in data else ():
        if b'"done"' in line and b"true" in line:
            with contextlib.suppress(NotNDJSON):
                if (decode_line(line) or {}).get("done") is True:
                    return True
    return False


class _Attempts:
    """The attempts to send one job."""

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
                self._sender._session.mask_error(error)
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
        """Return True if a failed request is to be sent again. If a pause is needed, it applies to all requests."""
        if isinstance(error, FormatError):
            # No pause: the server is not the cause of the failure.
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
        self._sender._note(f"{error}; retry {self._tries} of {self._policy.retry} in {pause:.1f} s")
        self._backoff.pause(pause)
        return True

    def _is_sent_when_free(self, error: OstreamError) -> bool:
        self._renew()
        # If another request succeeded in the meantime, the server rejects this request and not all requests.
        self._rejections += self._backoff.successes != self._successes_seen
        self._successes_seen = self._backoff.successes
        if self._rejections > MOST_REJECTIONS:
            return False
        self._backoff.busy(error, min(retry_after_s(error), _LONGEST_PAUSE_S))
        return True

    def _renew(self) -> None:
        """Restart the total time of the request: time when a server is busy or unreachable does not count."""
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
