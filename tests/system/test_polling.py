"""Waiting watches both ends: who reads our output may leave while the input is silent."""

from __future__ import annotations

import os
import pty
import socket
import threading
from pathlib import Path
from typing import Callable, Iterator

import pytest

from ostream.system import polling
from ostream.system.polling import READABLE, WRITABLE, ReaderGone, pollable_or_none

Ends = "tuple[int, Callable[[], None]]"


@pytest.fixture(name="silent")
def _silent() -> Iterator[int]:
    """A pipe on which nothing comes."""
    here, there = os.pipe()
    yield here
    os.close(here)
    os.close(there)


def _pipe() -> Ends:
    reader, writer = os.pipe()
    return writer, lambda: os.close(reader)


def _socketpair() -> Ends:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.close


def _pty() -> Ends:
    master, slave = pty.openpty()
    return slave, lambda: os.close(master)


OUTPUTS = [_pipe, _socketpair, _pty]


@pytest.mark.parametrize("make", OUTPUTS)
def test_a_reader_who_leaves_is_noticed_while_the_input_is_silent(make: Callable[[], Ends], silent: int) -> None:
    output, leave = make()
    try:
        assert pollable_or_none(output) == output
        threading.Timer(0.05, leave).start()
        with pytest.raises(ReaderGone):
            polling.wait_ready(silent, READABLE, output)
    finally:
        os.close(output)


@pytest.mark.parametrize("make", OUTPUTS)
def test_a_reader_who_leaves_is_noticed_while_nothing_is_waited_for_but_time(make: Callable[[], Ends]) -> None:
    output, leave = make()
    leave()
    try:
        with pytest.raises(ReaderGone):
            polling.wait_ready(None, 0, output)
    finally:
        os.close(output)


@pytest.mark.parametrize("make", OUTPUTS)
def test_a_reader_who_stays_does_not_wake_us(make: Callable[[], Ends], silent: int) -> None:
    output, leave = make()
    try:
        lefts = iter([0.01, 0.0])
        assert polling.wait_ready(silent, READABLE, output, lambda: next(lefts)) is False
    finally:
        leave()
        os.close(output)


def test_what_cannot_tell_that_its_reader_left_is_not_watched(tmp_path: Path) -> None:
    for name in (str(tmp_path / "file"), os.devnull):
        fd = os.open(name, os.O_RDWR | os.O_CREAT)
        try:
            assert pollable_or_none(fd) is None
        finally:
            os.close(fd)


def test_an_output_that_cannot_be_polled_is_left_alone(silent: int) -> None:
    closed = os.dup(silent)
    os.close(closed)
    lefts = iter([1.0, 0.0])
    assert polling.wait_ready(silent, READABLE, closed, lambda: next(lefts)) is False


def test_ready_is_data_or_the_end_or_room() -> None:
    reader, writer = os.pipe()
    try:
        assert polling.wait_ready(writer, WRITABLE)
        os.write(writer, b"x")
        assert polling.wait_ready(reader, READABLE)
        os.read(reader, 1)
    finally:
        os.close(writer)
    assert polling.wait_ready(reader, READABLE)
    os.close(reader)


def test_data_that_is_there_counts_when_the_time_is_over() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    assert polling.wait_ready(reader, READABLE, None, lambda: -1.0)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("left_s", [3e6, 1e300, float("inf")])
def test_more_time_than_a_poll_can_count_is_only_long(left_s: float) -> None:
    reader, writer = os.pipe()
    threading.Timer(0.05, os.write, (writer, b"x")).start()
    assert polling.wait_ready(reader, READABLE, None, lambda: left_s)
    os.close(reader)
    os.close(writer)


def test_a_long_time_is_waited_for_in_several_polls(monkeypatch: pytest.MonkeyPatch, silent: int) -> None:
    monkeypatch.setattr(polling, "LONGEST_POLL_S", 0.001)
    lefts = iter([1e6, 1e6 - 1, 1e6 - 2, 0.0])
    assert polling.wait_ready(silent, READABLE, None, lambda: next(lefts)) is False
    assert list(lefts) == []


def test_who_gives_the_time_may_end_the_waiting(silent: int) -> None:
    lefts = iter([0.001])

    def left_s() -> float:
        for left in lefts:
            return left
        raise TimeoutError

    with pytest.raises(TimeoutError):
        polling.wait_ready(silent, READABLE, None, left_s)
