"""A Wakeup ends a wait from any thread or process that owns it, and from no other."""

from __future__ import annotations

import os
import select
import threading

import pytest

from ostream.system.polling import ReaderGone, wait_ready
from ostream.system.wakeup import Wakeup


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
