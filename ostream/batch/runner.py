"""Run a batch: send the planned requests, write the results, and stop early if necessary."""

from __future__ import annotations

import os
import signal
import time

from ostream.batch.backoff import SharedBackoff
from ostream.batch.pool import Pool
from ostream.batch.sender import Sender
from ostream.errors import OK, ConnectError, OstreamError, ResponseError, StreamTimeout, worst

# A session imports these modules at its first request. That would be in a thread, where the memory or the descriptors
# for an import may be missing, so they are imported here.
from ostream.net import connections, credentials, tls, transport  # noqa: F401
from ostream.net.timeouts import Timeouts
from ostream.system.polling import wait_ready
from ostream.system.process import exit_by_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from ostream.batch.failures import FailureReport
    from ostream.batch.jobs import Job
    from ostream.batch.plan import AnswerSink, Plan
    from ostream.batch.progress import Progress
    from ostream.batch.sender import Result, SendPolicy
    from ostream.net.session import Session

# Seconds to connect to the server for a probe, and again to wait for its answer.
_PROBE_S = 10.0
# Descriptors that one request may need: one for a socket, and two to be able to cancel a name lookup.
_DESCRIPTORS_PER_JOB = 3
# Descriptors for everything else: open files, the temporary file of a replacement, the resolver.
_OTHER_DESCRIPTORS = 8
# Seconds. If more pass between two ticks, which are TICK_S apart, the process was stopped (Ctrl-Z). Then this time
# without a byte does not show that the server is silent.
_STOPPED_S = 2.0
# Options that override a field of the rows and are not named --FIELD.
_OPTION_OF = {"model": "-m", "system": "-s", "format": "-f"}


class RunLimits:
    """The limits of a run.

    Arguments:
        jobs: how many requests run at a time.
        in_order: True to write answers in the order of the input.
        max_failures: stop after this many failures (None: no limit).
        stall_timeout: stop after this many seconds without a byte of any answer (0: no limit).
    """

    def __init__(
        self, jobs: int = 4, in_order: bool = False, max_failures: int | None = None, stall_timeout: float = 1800
    ) -> None:
        self.jobs = jobs
        self.in_order = in_order
        self.max_failures = max_failures
        self.stall_timeout = stall_timeout


class BatchRunner:
    """One run of a batch.

    `reader_fd` is the descriptor of stdout, or None if it is not watched. Raises ReaderGone when the program that reads
    stdout closes the pipe. `interrupted` is the number of the signal that ended the run early, or 0.
    """

    def __init__(
        self,
        session: Session,
        sink: AnswerSink,
        progress: Progress,
        failures: FailureReport,
        policy: SendPolicy,
        limits: RunLimits,
        reader_fd: int | None = None,
    ) -> None:
        self.interrupted = 0
        self._sink = sink
        self._progress = progress
        self._limits = limits
        self._reader_fd = reader_fd
        self._on_terminal = reader_fd is not None and os.isatty(1)
        self._status = OK
        self._overridden: set[str] = set()
        self._is_stop_reported = False
        self._failures = failures
        jobs = self._affordable_jobs(limits.jobs)
        self._backoff = SharedBackoff(
            jobs, policy.patience, lambda: session.is_server_up(Timeouts(_PROBE_S, _PROBE_S, _PROBE_S, 2 * _PROBE_S))
        )
        self._sender = Sender(session, self._backoff, policy, self._note_pause, progress.trace, reader_fd)
        self._jobs = jobs
        self._pause_noted = 0.0

    def run(self, plan: Plan) -> int:
        """Send all jobs of the plan, write the results and return the exit status. Raises OstreamError, ReaderGone."""
        self._pool = Pool(
            self._begun(plan.jobs()),
            self._sender.process,
            self._write,
            self._jobs,
            self._limits.in_order,
            lambda jobs, why: self._progress.note(f"{why}; {jobs:,} request(s) at a time"),
        )
        self._progress.running = lambda: self._pool.running
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._interrupt)
        self._ticked = time.monotonic()
        self._pool.run(self._tick)
        self._report_stop()
        return self._status

    def _begun(self, jobs: Iterator[Job]) -> Iterator[Job]:
        for job in jobs:
            for name in job.overridden:
                if name not in self._overridden:
                    self._overridden.add(name)
                    option = _OPTION_OF.get(name, f"--{name.replace('_', '-')}")
                    self._progress.note(f"{option} replaces the {name} given in the rows (first: {job.where})")
            if not job.failure:
                self._progress.begin()
                self._sender.last_activity = time.monotonic()
            yield job

    def _tick(self) -> None:
        if self._reader_fd is not None:
            wait_ready(None, 0, self._reader_fd, lambda: 0)
        self._sink.sync()
        self._report_stop()
        self._progress.tick()
        waiting = self._backoff.report()
        if waiting and not self._pool.stopping:
            self._progress.note(waiting)
        if self._backoff.failure:
            self._pool.stop()
        now = time.monotonic()
        pause, self._ticked = now - self._ticked, now
        if pause > _STOPPED_S:
            self._sender.last_activity += pause
        stall = self._limits.stall_timeout
        if stall and self._backoff.running and now - self._sender.last_activity > stall:
            raise StreamTimeout(
                f"no byte was received on any connection for {stall:,.0f} s",
                "stall",
                advice="; ".join(filter(None, ("is the server stuck? (--stall-timeout)", self._how_to_resume()))),
            )

    def _report_stop(self) -> None:
        """Report once why the run ends early."""
        failure = self._backoff.failure
        if self._is_stop_reported or not (self.interrupted or failure):
            return
        self._is_stop_reported = True
        if self.interrupted or not failure:
            self._progress.note(f"finishing {self._pool.running} running requests; interrupt again to stop at once")
        else:
            self._failures.drop_held()
            self._status = worst(self._status, failure.exit_status)
            self._progress.print_failure(OstreamError(f"{failure}", advice=self._how_to_resume()), "stopped: ")

    def _how_to_resume(self) -> str:
        return "run it again later with --resume" if self._sink.name != "standard output" else ""

    def _interrupt(self, number: int, _frame: object) -> None:
        signal.signal(number, exit_by_signal)
        self.interrupted = number
        self._stop()

    def _stop(self) -> None:
        """Start no more requests, and end all waits for a busy or unreachable server."""
        self._pool.stop()
        self._backoff.stop()

    def _note_pause(self, text: str) -> None:
        """Report a retry. If another retry was reported within the last second, report this one only with -v."""
        now = time.monotonic()
        is_news, self._pause_noted = now - self._pause_noted > 1, now
        (self._progress.note if is_news else self._progress.trace)(text)

    def _affordable_jobs(self, jobs: int) -> int:
        """Return `jobs`, or fewer if the limit of open files does not allow so many requests at a time."""
        try:
            import resource

            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            used = len(os.listdir("/dev/fd"))
        except (ImportError, OSError):
            return jobs
        affordable = max(1, (limit - used - _OTHER_DESCRIPTORS) // _DESCRIPTORS_PER_JOB)
        if limit == resource.RLIM_INFINITY or affordable >= jobs:
            return jobs
        self._progress.note(f"only {limit:,} files may be open (ulimit -n); {affordable:,} request(s) at a time")
        return affordable

    def _write(self, result: Result) -> None:
        job, line, answer = result
        if self._on_terminal:
            with self._progress.cleared():
                self._sink.write(line)
        else:
            self._sink.write(line)
        if not isinstance(answer, OstreamError):
            self._progress.add(answer)
            self._failures.succeeded()
            return
        self._status = worst(self._status, answer.exit_status)
        if self._pool.stopping and self._backoff.failure:
            self._progress.fail(answer, str(answer))
            return
        why = self._failures.add(job, answer)
        if why is None and not job.failure and not self._backoff.had_success and _is_wrong_server(answer):
            self._failures.drop_held()
            why = OstreamError(str(answer), advice=answer.advice)
        if self._pool.stopping:
            return
        if why:
            self._progress.print_failure(why, "stopped: ")
            self._stop()
        elif self._limits.max_failures and self._progress.failures >= self._limits.max_failures:
            self._progress.note(f"stopped after {self._limits.max_failures:,} failure(s) (--max-failures)")
            self._stop()


def _is_wrong_server(error: OstreamError) -> bool:
    """True for a failure that every request to this address would have: no connection, or not an Ollama server."""
    if isinstance(error, ResponseError) and error.status_code != -1:
        return 300 <= error.status_code < 400 or (
            error.status_code in (404, 405) and "model" not in error.error.lower()
        )
    return isinstance(error, ConnectError)
