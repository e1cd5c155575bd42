"""A test that replays recordings."""

from __future__ import annotations

from typing import Iterator

from ostream import chat
from ostream.testing import ReplayServer, record_once, replay


def server() -> Iterator[ReplayServer]:
    with replay("answers.ndjson", strict=True, faults=["status:503@1"]) as server:
        yield server


def test_answer(server: ReplayServer) -> None:
    answer = chat("m").message.content
    assert answer and server.requests[0].method == "POST" and server.url.startswith("http") and server.model


@replay("answers.ndjson")
def test_decorated() -> None:
    with record_once("more.ndjson", refresh=True) as server:
        assert server.port
