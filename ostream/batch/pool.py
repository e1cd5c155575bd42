"""Threads that take jobs, do them and hand over what came of each, in any order or in that of the jobs.

A job is taken when a thread is free for it, so the jobs are read no faster than they are done.
"""

from __future__ import annotations

import threading
import time

from ostream.errors import OstreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator

    from ostream.net.timeouts import Timeouts

# How often the main thread looks after what must not wait for the next answer.
TICK_S = 0.5
# How soon a pause ends that nobody needs any more.
PAUSE_S = 0.25
# A pause that is longer by less is none that anybody has to be told of.
NEWS_S = 1.0
# With the order kept, so many jobs for each thread may be begun before the oldest is done.
WINDOW = 4


class Pool:
    """`do` is called in any of `threads` threads, `hand_over` with its results in one at a time.

    After `stop()` no job is begun, and `run` ends when those that were are done.
    """

    def __init__(
        self,
        jobs: Iterator[Any],
        do: Callable[[Any], Any],
        hand_over: Callable[[Any], None],
        threads: int,
        in_order: bool = False,
    ) -> None:
        self.stopping = False
        self._jobs = jobs
        self._do = do
        self._hand_over = hand_over
        self._threads = threads
        self._window = WINDOW * threads if in_order else None
        self._input = threading.Lock()
        self._output = threading.Lock()
        self._state = threading.Condition()
        self._ended = threading.Event()
        self._alive = threads
        self._running = 0
        self._begun = 0
        self._handed_over = 0
        self._waiting: dict[int, Any] = {}  # results whose turn has not come, with the order kept
        self._input_failure: OstreamError | None = None
        self._failure: BaseException | None = None

    def run(self, tick: Callable[[], None]) -> None:
        """Do all jobs; `tick` is called twice a second meanwhile, in this thread, where signals are handled.

        An error of the jobs themselves is raised when those that run are done, any other one at once.
        """
        for _ in range(self._threads):
            threading.Thread(target=self._work, daemon=True).start()
        while not self._ended.wait(TICK_S) and not self._has_stopped():
            tick()
        if self._failure or self._input_failure:
            raise self._failure or self._input_failure  # type: ignore[misc]

    def stop(self) -> None:
        """Begin no more jobs. May be called by a signal handler: no lock is taken."""
        self.stopping = True

    @property
    def running(self) -> int:
        return self._running

    def _has_stopped(self) -> bool:
        with self._state:
            return self.stopping and not self._running

    def _work(self) -> None:
        try:
            for number, job in iter(self._take, None):
                self._finish(number, self._do(job))
        except BaseException as error:
            self._failure = self._failure or error
            self._ended.set()
        finally:
            with self._state:
                self._alive -= 1
                if not self._alive:
                    self._ended.set()

    def _take(self) -> tuple[int, Any] | None:
        """The next job and its number; None when there is none to be begun."""
        with self._input:
            if self.stopping:
                return None
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
                self._begun += 1
                return self._begun - 1, job

    def _is_window_full(self) -> bool:
        return self._window is not None and self._begun - self._handed_over >= self._window

    def _finish(self, number: int, result: Any) -> None:
        with self._output:
            if self._failure:
                return  # the run is ending: nobody begins what may not come to its end
            try:
                self._give(number, result)
            except BaseException as error:
                self._failure = error
                raise
        with self._state:
            self._running -= 1
            if self._window is not None:
                self._state.notify()

    def _give(self, number: int, result: Any) -> None:
        """Hand over a result, or all whose turn has come."""
        if self._window is None:
            self._hand_over(result)
            return
        self._waiting[number] = result
        while self._handed_over in self._waiting:
            self._hand_over(self._waiting.pop(self._handed_over))
            self._handed_over += 1


class SharedBackoff:
    """A pause that all keep when one is told to try again later."""

    def __init__(self, reader_fd: int | None) -> None:
        self.over = False
        self._reader_fd = reader_fd
        self._lock = threading.Lock()
        self._until = 0.0

    def extend(self, seconds: float) -> bool:
        """SharedBackoff all for so long from now. Is that news, or did they have to wait that long anyway?"""
        now = time.monotonic()
        with self._lock:
            is_news = now >= self._until or now + seconds > self._until + NEWS_S
            self._until = max(self._until, now + seconds)
        return is_news

    def wait(self, timeouts: Timeouts) -> None:
        """Wait until nobody is held any more, as long as these timeouts allow."""
        while not self.over:
            left = self._until - time.monotonic()
            if left <= 0:
                return
            timeouts.pause(min(left, PAUSE_S), self._reader_fd)
