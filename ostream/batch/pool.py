"""A pool of threads that take jobs, process them, and write the results in any order or in the jobs' order.

A thread takes a job only when it is free, so the input is not read faster than it is processed.
"""

from __future__ import annotations

import threading

from ostream.errors import OstreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator

# Seconds between two calls of `tick`.
TICK_S = 0.5
# If results are written in order, at most this many jobs per thread are started before the oldest result is written.
WINDOW = 4


class Pool:
    """Processes jobs in several threads and writes the results.

    Arguments:
        jobs: an iterator of jobs.
        process: called with each job, in one of the threads; returns the result.
        write: called with each result that is not None, one at a time.
        threads: the number of threads.
        in_order: True to write the results in the order of the jobs.
        on_fewer: called with the number of remaining threads and the reason, if the system can't start all threads or a
            thread runs out of memory.
    """

    def __init__(
        self,
        jobs: Iterator[Any],
        process: Callable[[Any], Any],
        write: Callable[[Any], None],
        threads: int,
        in_order: bool = False,
        on_fewer: Callable[[int, str], None] = lambda threads, why: None,
    ) -> None:
        self.stopping = False
        self._jobs = jobs
        self._process = process
        self._write = write
        self._threads = threads
        self._window = WINDOW * threads if in_order else None
        self._on_fewer = on_fewer
        self._input = threading.Lock()
        self._output = threading.Lock()
        self._state = threading.Condition()
        self._ended = threading.Event()
        self._alive = threads
        self._running = 0
        self._started = 0
        self._written = 0
        self._waiting: dict[int, Any] = {}  # with `in_order`: results to write after an older one
        self._returned: list[tuple[int, Any]] = []  # jobs that threads gave back when they ran out of memory
        self._input_failure: OstreamError | None = None
        self._failure: BaseException | None = None

    def run(self, tick: Callable[[], None]) -> None:
        """Process all jobs. `tick` is called twice a second in the calling thread, which also handles signals.

        If the iterator of jobs raises OstreamError, that error is raised here when the running jobs are done. Any other
        error is raised at once.
        """
        for started in range(self._threads):
            try:
                threading.Thread(target=self._work, daemon=True).start()
            except (RuntimeError, MemoryError):
                self._run_with(started)
                break
        while not self._ended.wait(TICK_S) and not self._has_stopped():
            tick()
        if self._failure or self._input_failure:
            raise self._failure or self._input_failure  # type: ignore[misc]

    def stop(self) -> None:
        """Start no more jobs; `run` returns when the running jobs are done.

        Takes no lock, so a signal handler may call it.
        """
        self.stopping = True

    @property
    def running(self) -> int:
        """The number of jobs being processed."""
        return self._running

    def _run_with(self, started: int) -> None:
        """Continue with the `started` threads. If there are none, process the jobs in the calling thread."""
        self._on_fewer(max(started, 1), "no more threads can be started")
        with self._state:
            self._alive -= self._threads - max(started, 1)
            if not self._alive:
                self._ended.set()
        if not started:
            self._work()

    def _has_stopped(self) -> bool:
        with self._state:
            return self.stopping and not self._running

    def _work(self) -> None:
        is_counted = True
        try:
            for number, job in iter(self._take, None):
                try:
                    result = self._process(job)
                except MemoryError:
                    if not self._is_returned(number, job):
                        raise
                    is_counted = False
                    return
                self._finish(number, result)
        except BaseException as error:
            self._failure = self._failure or error
            self._ended.set()
        finally:
            with self._state:
                self._alive -= is_counted
                if not self._alive:
                    self._ended.set()

    def _is_returned(self, number: int, job: Any) -> bool:
        """Leave the job to another thread and return True. Return False if there is no other thread.

        After True, the calling thread must end, so that less memory is needed.
        """
        with self._state:
            others = self._alive - 1
            if not others:
                return False
            self._alive = others
            self._returned.append((number, job))
            self._running -= 1
        self._on_fewer(others, "out of memory")
        return True

    def _take(self) -> tuple[int, Any] | None:
        """Return the number of the next job and the job, or None if no more job is to be started."""
        with self._input:
            if self.stopping:
                return None
            with self._state:
                if self._returned:
                    self._running += 1
                    return self._returned.pop()
            try:
                job = next(self._jobs, None)
            except OstreamError as error:
                self._input_failure = error
                self.stop()
                return None
            with self._state:
                while self._is_window_full() and not self.stopping:
                    self._state.wait(TICK_S)
                if job is None or self.stopping:
                    return None
                self._running += 1
                self._started += 1
                return self._started - 1, job

    def _is_window_full(self) -> bool:
        return self._window is not None and self._started - self._written >= self._window

    def _finish(self, number: int, result: Any) -> None:
        with self._output:
            if self._failure:
                return  # the process may exit soon, in the middle of this write
            try:
                self._write_or_keep(number, result)
            except BaseException as error:
                self._failure = error
                raise
        with self._state:
            self._running -= 1
            if self._window is not None:
                self._state.notify()

    def _write_or_keep(self, number: int, result: Any) -> None:
        if self._window is None:
            if result is not None:
                self._write(result)
            return
        self._waiting[number] = result
        while self._written in self._waiting:
            result = self._waiting.pop(self._written)
            if result is not None:
                self._write(result)
            self._written += 1
