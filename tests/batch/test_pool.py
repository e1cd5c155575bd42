"""Threads that do jobs: how many at a time, in which order, and how they stop."""

from __future__ import annotations

import threading
import time
from typing import Any, Iterator

import pytest

from ostream.batch.pool import NEWS_S, WINDOW, Pool, SharedBackoff
from ostream.errors import RequestError, StreamTimeout
from ostream.net.timeouts import Timeouts
from ostream.system.polling import ReaderGone


def nothing() -> None:
    pass


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("threads", [1, 3, 50])
def test_every_job_is_done_once(threads: int, in_order: bool) -> None:
    done: list[int] = []
    Pool(iter(range(500)), lambda job: job * 2, done.append, threads, in_order).run(nothing)
    assert (done if in_order else sorted(done)) == list(range(0, 1000, 2))


@pytest.mark.parametrize("in_order", [False, True])
def test_no_job_no_work(in_order: bool) -> None:
    Pool(iter(()), pytest.fail, pytest.fail, 4, in_order).run(nothing)


def test_so_many_at_a_time() -> None:
    """All threads are at work at once: each waits for the others."""
    together = threading.Barrier(5)
    Pool(iter(range(20)), lambda job: together.wait(30), lambda result: None, 5).run(nothing)


def test_jobs_are_read_as_they_are_needed() -> None:
    read: list[int] = []
    handed_over: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            assert number - len(handed_over) <= 3  # each thread has one, or waits for one
            yield number

    Pool(jobs(), lambda job: job, handed_over.append, 3).run(nothing)
    assert len(read) == 100


def test_with_the_order_kept_only_so_many_wait_for_the_oldest() -> None:
    """The first job ends when all that may be begun before it are done."""
    begun: list[int] = []
    full = threading.Event()

    def do(job: int) -> int:
        begun.append(job)
        if len(begun) == WINDOW * 2:
            full.set()
        if job == 0:
            assert full.wait(30)
            time.sleep(0.1)  # whoever took more would do it now
            assert len(begun) == WINDOW * 2
        return job

    done: list[int] = []
    Pool(iter(range(20)), do, done.append, 2, in_order=True).run(nothing)
    assert done == list(range(20))


def test_results_are_handed_over_one_at_a_time() -> None:
    at_work: list[int] = []

    def hand_over(result: int) -> None:
        at_work.append(result)
        time.sleep(0.001)
        assert at_work == [result]
        at_work.clear()

    Pool(iter(range(50)), lambda job: job, hand_over, 10).run(nothing)


@pytest.mark.parametrize("in_order", [False, True])
def test_after_a_stop_what_runs_is_finished_and_nothing_begun(in_order: bool) -> None:
    done: list[int] = []
    both = threading.Barrier(2)

    def do(job: int) -> int:
        both.wait(30)
        pool.stop()
        return job

    pool = Pool(iter(range(100)), do, done.append, 2, in_order)
    pool.run(nothing)
    assert sorted(done) == [0, 1]
    assert pool.running == 0


def test_a_stop_does_not_wait_for_the_input() -> None:
    never = threading.Event()

    def jobs() -> Iterator[int]:
        yield 1
        never.wait()

    def tick() -> None:
        if done:
            pool.stop()

    done: list[int] = []
    pool = Pool(jobs(), lambda job: job, done.append, 2)
    pool.run(tick)
    assert done == [1]
    never.set()


def test_a_stop_ends_the_wait_for_the_oldest() -> None:
    """The window is full, its oldest job runs, and a thread waits to begin the next."""
    begun: list[int] = []
    done: list[int] = []
    go = threading.Event()

    def do(job: int) -> int:
        begun.append(job)
        if job == 0:
            assert go.wait(30)
        return job

    def tick() -> None:
        if len(begun) == WINDOW * 2:
            pool.stop()
            go.set()

    pool = Pool(iter(range(100)), do, done.append, 2, in_order=True)
    pool.run(tick)
    assert done == list(range(WINDOW * 2))


@pytest.mark.parametrize("error", [ReaderGone(), ZeroDivisionError(), RequestError("no")])
@pytest.mark.parametrize("where", ["do", "hand over"])
def test_an_error_of_the_work_ends_it_at_once(where: str, error: Exception) -> None:
    never = threading.Event()

    def fail(job: int) -> int:
        if job == 3:
            raise error
        if job > 3:
            never.wait()
        return job

    def same(job: int) -> int:
        return job

    do, hand_over = (fail, lambda result: None) if where == "do" else (same, fail)
    with pytest.raises(type(error)):
        Pool(iter(range(100)), do, hand_over, 4).run(nothing)
    never.set()


def test_after_an_error_nothing_more_is_handed_over() -> None:
    handed_over: list[int] = []
    all_done = threading.Barrier(4)

    def do(job: int) -> int:
        all_done.wait(30)
        return job

    def hand_over(result: int) -> None:
        handed_over.append(result)
        raise ZeroDivisionError

    pool = Pool(iter(range(4)), do, hand_over, 4)
    with pytest.raises(ZeroDivisionError):
        pool.run(nothing)
    while pool._alive:
        time.sleep(0.01)
    assert len(handed_over) == 1


def test_an_error_of_the_jobs_ends_it_when_what_runs_is_done() -> None:
    done: list[int] = []
    asked = threading.Event()

    def jobs() -> Iterator[int]:
        yield 1
        asked.set()
        raise RequestError("no")

    def do(job: int) -> int:
        assert asked.wait(30)
        return job

    with pytest.raises(RequestError, match="no"):
        Pool(jobs(), do, done.append, 2).run(nothing)
    assert done == [1]


def test_a_bug_in_the_jobs_is_raised() -> None:
    def jobs() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Pool(jobs(), lambda job: job, lambda result: None, 2).run(nothing)


def test_somebody_looks_after_the_rest_meanwhile() -> None:
    ticks: list[Any] = []
    enough = threading.Event()

    def tick() -> None:
        ticks.append(threading.current_thread())
        enough.set()

    Pool(iter([1]), lambda job: enough.wait(30), lambda result: None, 1).run(tick)
    assert ticks[0] is threading.main_thread()


def test_one_who_must_wait_holds_all() -> None:
    hold = SharedBackoff(None)
    begin = time.monotonic()
    hold.wait(Timeouts())  # nobody has been told to wait
    hold.extend(0.6)
    hold.extend(0.1)  # the longer pause counts
    hold.wait(Timeouts())
    assert time.monotonic() - begin >= 0.6


def test_that_all_wait_is_news_once() -> None:
    hold = SharedBackoff(None)
    assert hold.extend(60)
    assert not hold.extend(60)
    assert not hold.extend(0.1)
    assert hold.extend(60 + 2 * NEWS_S)
    assert not hold.extend(60)


def test_of_all_who_fail_at_once_one_brings_news() -> None:
    hold = SharedBackoff(None)
    together = threading.Barrier(16)
    news: list[bool] = []

    def fail() -> None:
        together.wait(30)
        news.append(hold.extend(60))

    threads = [threading.Thread(target=fail) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(news) == 1


def test_that_they_wait_again_is_news_again() -> None:
    hold = SharedBackoff(None)
    hold.extend(0.01)
    hold.wait(Timeouts())
    assert hold.extend(0.01)


def test_a_hold_keeps_to_the_clocks() -> None:
    hold = SharedBackoff(None)
    hold.extend(600)
    with pytest.raises(StreamTimeout, match="max-time"):
        hold.wait(Timeouts(max_time=0.1))


def test_a_hold_ends_when_nobody_needs_it() -> None:
    hold = SharedBackoff(None)
    hold.extend(600)
    thread = threading.Thread(target=hold.wait, args=(Timeouts(),))
    thread.start()
    hold.over = True
    thread.join(30)
    assert not thread.is_alive()
