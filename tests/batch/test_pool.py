"""The pool of threads: how many jobs at a time, in which order, and how it stops."""

from __future__ import annotations

import threading
import time
from typing import Iterator

import pytest

from ostream.batch.pool import WINDOW, Pool
from ostream.errors import RequestError
from ostream.system.polling import ReaderGone


def nothing() -> None:
    pass


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("threads", [1, 3, 50])
def test_every_job_is_processed_once(threads: int, in_order: bool) -> None:
    done: list[int] = []
    Pool(iter(range(500)), lambda job: job * 2, done.append, threads, in_order).run(nothing)
    assert (done if in_order else sorted(done)) == list(range(0, 1000, 2))


def test_jobs_are_read_when_a_thread_is_free() -> None:
    read: list[int] = []
    written: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            assert number - len(written) <= 3  # each thread has one, or waits for one
            yield number

    Pool(jobs(), lambda job: job, written.append, 3).run(nothing)
    assert len(read) == 100


def test_with_the_order_kept_results_wait_in_a_window() -> None:
    """The first job ends when all that may be begun before it are done."""
    begun: list[int] = []
    full = threading.Event()

    def process(job: int) -> int:
        begun.append(job)
        if len(begun) == WINDOW * 2:
            full.set()
        if job == 0:
            assert full.wait(30)
            time.sleep(0.1)  # a thread that takes more jobs would take them now
            assert len(begun) == WINDOW * 2
        return job

    done: list[int] = []
    Pool(iter(range(20)), process, done.append, 2, in_order=True).run(nothing)
    assert done == list(range(20))


def test_results_are_written_one_at_a_time() -> None:
    writing: list[int] = []

    def write(result: int) -> None:
        writing.append(result)
        time.sleep(0.001)
        assert writing == [result]
        writing.clear()

    Pool(iter(range(50)), lambda job: job, write, 10).run(nothing)


def test_stop_ends_the_wait_for_the_window() -> None:
    """The window is full, its oldest job runs, and a thread waits to begin the next."""
    begun: list[int] = []
    done: list[int] = []
    go = threading.Event()

    def process(job: int) -> int:
        begun.append(job)
        if job == 0:
            assert go.wait(30)
        return job

    def tick() -> None:
        if len(begun) == WINDOW * 2:
            pool.stop()
            go.set()

    pool = Pool(iter(range(100)), process, done.append, 2, in_order=True)
    pool.run(tick)
    assert done == list(range(WINDOW * 2))


@pytest.mark.parametrize("error", [ReaderGone(), ZeroDivisionError(), RequestError("no")])
@pytest.mark.parametrize("where", ["process", "write"])
def test_error_in_processing_or_writing_ends_the_run_at_once(where: str, error: Exception) -> None:
    never = threading.Event()

    def fail(job: int) -> int:
        if job == 3:
            raise error
        if job > 3:
            never.wait()
        return job

    def same(job: int) -> int:
        return job

    process, write = (fail, lambda result: None) if where == "process" else (same, fail)
    with pytest.raises(type(error)):
        Pool(iter(range(100)), process, write, 4).run(nothing)
    never.set()


def test_after_an_error_nothing_is_written() -> None:
    written: list[int] = []
    all_done = threading.Barrier(4)

    def process(job: int) -> int:
        all_done.wait(30)
        return job

    def write(result: int) -> None:
        written.append(result)
        raise ZeroDivisionError

    pool = Pool(iter(range(4)), process, write, 4)
    with pytest.raises(ZeroDivisionError):
        pool.run(nothing)
    while pool._alive:
        time.sleep(0.01)
    assert len(written) == 1


@pytest.mark.parametrize("error", [RequestError("no"), ZeroDivisionError()])
def test_error_of_the_input_is_raised_when_running_jobs_are_done(error: Exception) -> None:
    done: list[int] = []
    asked = threading.Event()

    def jobs() -> Iterator[int]:
        yield 1
        asked.set()
        raise error

    def process(job: int) -> int:
        assert asked.wait(30)
        return job

    with pytest.raises(type(error)):
        Pool(jobs(), process, done.append, 2).run(nothing)
    assert done == [1] or not isinstance(error, RequestError)  # a defect ends the run at once


@pytest.mark.parametrize("in_order", [False, True])
def test_job_without_a_result_is_not_written(in_order: bool) -> None:
    written: list[int] = []
    Pool(iter(range(20)), lambda job: job if job % 2 else None, written.append, 3, in_order).run(nothing)
    assert sorted(written) == list(range(1, 20, 2))


@pytest.mark.parametrize(("startable", "expected"), [(3, 3), (0, 1)])
def test_fewer_threads_do_all_the_work(startable: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []
    notes: list[tuple[int, str]] = []

    def limited(thread: threading.Thread) -> None:
        if len(started) == startable:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    written: list[int] = []
    Pool(
        *(iter(range(50)), lambda job: job, written.append, 8),
        on_fewer=lambda threads, why: notes.append((threads, why)),
    ).run(nothing)
    assert sorted(written) == list(range(50))
    assert notes == [(expected, "no more threads can be started")]


def test_threads_that_finish_before_the_last_start_fails_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def failing(thread: threading.Thread) -> None:
        if pool._started:
            while pool._alive == 2:
                time.sleep(0.01)
            raise RuntimeError("can't start new thread")
        start(thread)
        while not pool._started:
            time.sleep(0.01)

    monkeypatch.setattr(threading.Thread, "start", failing)
    pool = Pool(iter([1]), lambda job: job, lambda result: None, 2)
    pool.run(nothing)
    assert not pool._alive


@pytest.mark.parametrize("in_order", [False, True])
def test_out_of_memory_means_fewer_jobs_and_none_lost(in_order: bool) -> None:
    notes: list[tuple[int, str]] = []
    written: list[int] = []
    together = threading.Barrier(4)
    failed: list[int] = []

    def process(job: int) -> int:
        if job < 4:
            if job not in failed:
                together.wait(30)
            if job < 3 and job not in failed:
                failed.append(job)
                raise MemoryError
            while len(notes) < 3:
                time.sleep(0.01)
        return job

    Pool(iter(range(20)), process, written.append, 4, in_order, lambda *note: notes.append(note)).run(nothing)
    assert sorted(written) == list(range(20))
    assert sorted(notes) == [(1, "out of memory"), (2, "out of memory"), (3, "out of memory")]


def test_out_of_memory_in_the_last_thread_ends_the_run() -> None:
    def process(job: int) -> int:
        raise MemoryError

    with pytest.raises(MemoryError):
        Pool(iter(range(3)), process, lambda result: None, 2).run(nothing)
