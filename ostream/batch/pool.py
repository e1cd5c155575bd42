"""A pool of threads that take jobs, process them and write the results, in any order or in that of the jobs.

A job is taken when a thread is free for it, so the input is read no faster than it is processed.
"""

from __future__ import annotations

import threading

from ostream.errors import OstreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator

# Seconds between two calls of `tick`.
TICK_S = 0.5
# With the order kept, so many jobs for each thread may be started before the oldest is done.
WINDOW = 4


class Pool:
    """Calls `process` for each job in one of `threads` threads, and `write` with one result at a time.

    A result of None is not written. `on_fewer` is called once with the number of threads and the reason, if the system
    does not give as many threads or as much memory as needed.
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
        self._waiting: dict[int, Any] = {}  # results that wait for an older one, with the order kept
        self._returned: list[tuple[int, Any]] = []  # jobs of threads that were out of memory
        self._input_failure: OstreamError | None = None
        self._failure: BaseException | None = None

    def run(self, tick: Callable[[], None]) -> None:
        """Process all jobs. `tick` is called twice a second in this thread, which also handles signals.

        An error of the jobs' iterator is raised when the running jobs are done, any other error at once.
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
        """Start no more jobs; `run` returns when the running ones are done. Takes no lock, for signal handlers."""
        self.stopping = True

    @property
    def running(self) -> int:
        """The number of jobs being processed."""
        return self._running

    def _run_with(self, started: int) -> None:
        """Go on with the threads there are; this thread works itself if there is no other."""
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
        """Leave a job to the other threads, if there are any. This thread ends, so that less memory is needed."""
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
        """Return the next job and its number; None when there is none to start."""
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
                return  # the run is ending, and a line might not be written completely
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
