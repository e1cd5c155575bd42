"""A wait ends when a descriptor is ready, the time is over, our reader leaves, or a Wakeup is woken."""

from __future__ import annotations

import os
import pty
import select
import socket
import threading
from pathlib import Path
from typing import Callable, Iterator

import pytest

from ostream.system import polling
from ostream.system.polling import READABLE, WRITABLE, ReaderGone, pollable_or_none, wait_any, wait_ready
from ostream.system.wakeup import Wakeup

Ends = "tuple[int, Callable[[], None]]"


@pytest.fixture(name="both", params=["poll", "select"])
def _both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "select":
        monkeypatch.delattr(select, "poll")


@pytest.fixture(name="pipe")
def _pipe_ends() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def _pipe() -> Ends:
    reader, writer = os.pipe()
    return writer, lambda: os.close(reader)


def _socketpair() -> Ends:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.close


def _pty() -> Ends:
    master, slave = pty.openpty()
    return slave, lambda: os.close(master)


@pytest.mark.parametrize("make", [_pipe, _socketpair, _pty])
def test_a_reader_that_leaves_ends_the_wait_and_one_that_stays_does_not(
    make: Callable[[], Ends], pipe: tuple[int, int]
) -> None:
    output, leave = make()
    try:
        assert pollable_or_none(output) == output
        assert not wait_ready(pipe[0], READABLE, output, iter([0.01, 0.0]).__next__)
        threading.Timer(0.05, leave).start()
        with pytest.raises(ReaderGone):
            wait_ready(pipe[0], READABLE, output)
        with pytest.raises(ReaderGone):
            wait_ready(None, 0, output)
    finally:
        os.close(output)


def test_files_and_devices_are_not_watched(tmp_path: Path) -> None:
    for name in (str(tmp_path / "file"), os.devnull):
        fd = os.open(name, os.O_RDWR | os.O_CREAT)
        try:
            assert pollable_or_none(fd) is None
        finally:
            os.close(fd)


def test_an_output_that_cannot_be_polled_is_ignored(pipe: tuple[int, int]) -> None:
    closed = os.dup(pipe[0])
    os.close(closed)
    assert not wait_ready(pipe[0], READABLE, closed, iter([1.0, 0.0]).__next__)


@pytest.mark.usefixtures("both")
def test_ready_is_room_to_write_or_data_or_the_end() -> None:
    reader, writer = os.pipe()
    try:
        assert wait_any({reader: READABLE, writer: WRITABLE}) == [writer]
        os.write(writer, b"x")
        assert wait_any({reader: READABLE, writer: WRITABLE}) == [reader, writer]
        os.read(reader, 1)
    finally:
        os.close(writer)
    assert wait_ready(reader, READABLE)
    os.close(reader)


@pytest.mark.usefixtures("both")
def test_data_counts_when_the_time_is_over_even_if_that_raises(pipe: tuple[int, int]) -> None:
    """As after Ctrl-Z: the process was stopped for longer than its timeout, and data arrived in that time."""

    def left_s() -> float:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        wait_ready(pipe[0], READABLE, None, left_s)
    os.write(pipe[1], b"x")
    assert wait_ready(pipe[0], READABLE, None, left_s)
    assert wait_ready(pipe[0], READABLE, None, lambda: -1.0)


@pytest.mark.usefixtures("both")
def test_without_a_descriptor_a_wait_is_a_sleep() -> None:
    assert not wait_ready(None, 0, None, iter([0.01, 0.0]).__next__)


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("left_s", [3e6, 1e300, float("inf")])
def test_more_time_than_poll_can_count_is_a_long_wait(left_s: float, pipe: tuple[int, int]) -> None:
    threading.Timer(0.05, os.write, (pipe[1], b"x")).start()
    assert wait_ready(pipe[0], READABLE, None, lambda: left_s)


@pytest.mark.usefixtures("both")
def test_a_long_wait_is_made_of_several(monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]) -> None:
    monkeypatch.setattr(polling, "LONGEST_POLL_S", 0.001)
    lefts = iter([1e6, 1e6 - 1, 1e6 - 2, 0.0])
    assert not wait_ready(pipe[0], READABLE, None, lambda: next(lefts))
    assert list(lefts) == []


@pytest.fixture(name="wakeup", params=["poll", "select"])
def _wakeup(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Wakeup:
    if request.param == "select":
        monkeypatch.delattr(select, "poll")
    return Wakeup()


def test_wake_ends_a_wait_in_another_thread(wakeup: Wakeup) -> None:
    with wakeup:
        assert not wakeup.is_set
        assert not wait_ready(None, 0, wakeup, iter([0.01, 0.0]).__next__)
        threads = [threading.Timer(0.05, wakeup.wake) for _ in range(4)]
        for thread in threads:
            thread.start()
        with pytest.raises(ReaderGone):
            wait_ready(None, 0, wakeup, lambda: 20)
        for thread in threads:
            thread.join()
        assert wakeup.is_set
        with pytest.raises(ReaderGone):
            wait_ready(None, 0, wakeup)
    assert wakeup.fileno() == -1
    wakeup.wake()


def test_a_forked_child_does_not_wake_its_parent_and_does_not_keep_it_from_waking(wakeup: Wakeup) -> None:
    with wakeup, Wakeup() as may_exit:
        child = os.fork()
        if not child:
            wakeup.wake()
            os._exit(not wakeup.is_set)
        assert os.waitpid(child, 0)[1] == 0
        assert not wait_ready(None, 0, wakeup, iter([0.0]).__next__)
        child = os.fork()
        if not child:
            os.read(may_exit.fileno(), 1)
            os._exit(0)
        wakeup.wake()
        with pytest.raises(ReaderGone):
            wait_ready(None, 0, wakeup, lambda: 20)
        may_exit.wake()
        os.waitpid(child, 0)
