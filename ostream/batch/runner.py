"""The work of batch: requests read, sent and answered, and what came of it all."""

from __future__ import annotations

import os
import signal

from ostream.batch.jobs import Job, answer_line, answer_of, failure_line, job_of, measurable
from ostream.batch.pool import Pool, SharedBackoff
from ostream.errors import OK, IncompleteStream, InputError, NotNDJSON, OstreamError, RequestError, ResponseError, worst
from ostream.net.timeouts import Timeouts
from ostream.protocol.ndjson import LINE_LIMIT, split_lines
from ostream.system.diagnostics import Diagnostics
from ostream.system.input import input_name, open_input, read_blocks
from ostream.system.polling import pollable_or_none
from ostream.system.process import exit_by_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Tuple, Union

    from ostream.batch.answer_file import AnswerFile, StdoutSink
    from ostream.batch.jobs import Settings
    from ostream.batch.progress import Progress
    from ostream.net.http import Response
    from ostream.net.session import Session

    AnswerSink = Union[AnswerFile, StdoutSink]
    # The line of a job, and the answer on it or the failure.
    Result = Tuple[Job, bytes, Union[dict[str, Any], OstreamError]]


class BatchRunner:
    """The requests of the files, sent, and what came of them."""

    def __init__(
        self,
        client: Session,
        settings: Settings,
        answers: AnswerSink,
        progress: Progress,
        files: list[str],
        *,
        jobs: int,
        keep_order: bool,
        as_text: bool,
        max_failures: int | None,
        to_file: bool,
    ) -> None:
        self.interrupted = False
        self._client = client
        self._settings = settings
        self._answers = answers
        self._progress = progress
        self._files = files
        self._as_text = as_text
        self._max_failures = max_failures
        self._status = OK
        self._seen = False  # there was a request
        # With a file of their own nobody reads the answers meanwhile.
        self._reader_fd = None if to_file else pollable_or_none(1)
        self._on_terminal = self._reader_fd is not None and os.isatty(1)
        self._backoff = SharedBackoff(self._reader_fd)
        self._pool = Pool(self._jobs(), self._send, self._write, jobs, keep_order)

    def run(self, diagnostics: Diagnostics) -> int:
        said = False

        def tick() -> None:
            nonlocal said
            if self.interrupted and not said:
                said = True
                self._progress.note(f"finishing {self._pool.running} requests that run; once more: stop now")
            self._answers.sync()
            self._progress.tick()

        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._interrupt)
        if "-" in self._files and os.isatty(0):
            diagnostics.note("reading requests from the terminal; end them with Ctrl-D")
        self._pool.run(tick)
        if not self._seen and not self.interrupted and self._status == OK:
            raise IncompleteStream(f"{', '.join(map(input_name, self._files))}: no request in it")
        return self._status

    def _interrupt(self, number: int, _frame: object) -> None:
        signal.signal(number, exit_by_signal)
        self.interrupted = True
        self._stop()

    def _stop(self) -> None:
        """Begin nothing more, nor wait for better times."""
        self._pool.stop()
        self._client.retry = 0
        self._backoff.over = True

    def _jobs(self) -> Iterator[Job]:
        """What there is to be done; an input that can't be read is a job that has failed."""
        number = 0
        for name in self._files:
            try:
                for lineno, line in enumerate(self._lines(name), 1):
                    where = f"{input_name(name)}:{lineno}"
                    job = job_of(line, number, self._settings, self._as_text)
                    number += 1
                    if job is None:
                        self._progress.skip()
                        continue
                    self._seen = True
                    if self._as_text and number == 1 and line.lstrip().startswith(b'{"'):
                        self._progress.note(f"{where}: is JSON, and sent as text; without --lines it is a request")
                    if job.failure:
                        job.failure = RequestError(f"{where}: {job.failure}", advice=job.failure.advice)
                        yield job
                    elif self._is_new(job, where):
                        yield job
                    else:
                        self._progress.skip()
            except (InputError, NotNDJSON) as error:
                job = Job()
                job.failure = error
                yield job

    def _lines(self, name: str) -> Iterator[bytes]:
        fd = open_input(name)
        try:
            for lines in split_lines(read_blocks(fd, input_name(name), self._reader_fd)):
                yield from lines
        except NotNDJSON as error:
            raise NotNDJSON(f"{input_name(name)}: {error}", error.line) from None
        finally:
            if fd:
                os.close(fd)

    def _is_new(self, job: Job, where: str) -> bool:
        known = self._answers.known
        if known is None:
            return True
        try:
            return known.add(job.key, job.body_sha256)
        except ValueError:
            raise RequestError(
                f"{where}: id {job.key.decode()}: asked before with another body, here or in {self._answers.name}; "
                "nothing behind this line is asked",
                advice="the id is the line's number: add new prompts at the end, or write to a new file"
                if self._as_text
                else "give each request an id of its own, and the same input and options when you resume",
            ) from None

    def _send(self, job: Job) -> Result:
        """Send a request; its line, and the answer or the failure."""
        try:
            if job.failure:
                raise job.failure
            self._backoff.wait(Timeouts())
            self._progress.trace(f"id {job.key.decode()}: POST {job.path}, {len(job.body):,} bytes")
            response = self._client.post(job.path, job.body, reader=self._reader_fd, hold=self._wait)
            try:
                data, answer = _answer(job, response)
                request_id = response.getheader("X-Request-Id", "")
                return job, answer_line(job, answer, data, response.status, request_id), measurable(answer)
            finally:
                response.close()
        except OstreamError as error:
            self._client.mask_error(error)
            return job, failure_line(job, error), error

    def _wait(self, seconds: float, timeouts: Timeouts, text: str) -> None:
        """Let all wait before a request is sent again. That is said once; what befell the others, to who asks."""
        say = self._progress.note if self._backoff.extend(seconds) else self._progress.trace
        say(text)
        self._backoff.wait(timeouts)

    def _write(self, result: Result) -> None:
        job, line, answer = result
        if self._on_terminal:
            with self._progress.cleared():
                self._answers.write(line)
        else:
            self._answers.write(line)
        if not isinstance(answer, OstreamError):
            self._progress.add(answer)
            return
        self._status = worst(self._status, answer.exit_status)
        self._progress.fail(answer, "" if job.failure else f"id {job.key.decode()}: ")
        if self._max_failures and self._progress.failures >= self._max_failures and not self._pool.stopping:
            self._progress.note(f"{self._max_failures} failures: no more requests are sent")
            self._stop()


def _answer(job: Job, response: Response) -> tuple[bytes, dict[str, Any]]:
    """The body of an answer, and the whole answer in it; how a body ended counts only when it is not whole."""
    blocks: list[bytes] = []
    size = 0
    for block in response.blocks():
        blocks.append(block)
        size += len(block)
        if size > LINE_LIMIT:
            raise ResponseError(f"an answer of more than {LINE_LIMIT:,} bytes", response.status)
    data = b"".join(blocks)
    try:
        return data, answer_of(job.path, data)
    except IncompleteStream as error:
        failure = response.failure or error
        failure.partial = error.partial
        raise failure from None
