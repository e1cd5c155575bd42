"""The example that hands a stream to asyncio: its answer, its errors, and that leaving early hangs up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from examples.from_asyncio import stream_chat
from ostream import IncompleteStream, content
from ostream.recording.http_server import RequestHandler
from tests.process import ROOT, sh
from tests.server import body_of, send_lines, serve

HI = b'{"model":"m","message":{"role":"assistant","content":"hi"},"done":false}\n'
PATIENCE_S = 20


async def read(enough: int = 1000) -> list[Any]:
    answer = stream_chat("m", "hello")
    chunks = []
    try:
        async for chunk in answer:
            chunks.append(chunk)
            if len(chunks) == enough:
                break
    finally:
        await answer.aclose()  # type: ignore[attr-defined]
    return chunks


def test_it_prints_the_answer() -> None:
    recording = ROOT / "examples" / "recordings" / "sky.ndjson"
    done = sh(f"replay {recording} -- python3 {ROOT}/examples/from_asyncio.py qwen3 'Why is the sky blue?'")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == sh(f"extract-content -n {recording}").stdout + b"\n"


def test_two_answers_come_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    both_here = threading.Barrier(2)
    lines = body_of("chat-stream").splitlines(keepends=True)

    def respond(exchange: RequestHandler) -> None:
        both_here.wait(PATIENCE_S)
        send_lines(*lines)(exchange)

    async def two() -> Any:
        return await asyncio.gather(read(), read())

    with serve(respond) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        one, other = asyncio.run(two())
    assert one == other
    assert "".join(map(content, one)).startswith("The sky")


def test_what_goes_wrong_is_raised_in_the_coroutine(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(send_lines(HI)) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        with pytest.raises(IncompleteStream):
            asyncio.run(read())


def test_leaving_early_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    left = threading.Event()

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        exchange.chunk(HI)
        with contextlib.suppress(ConnectionError):
            exchange.connection.recv(1)  # nothing comes: it returns when the client has left
        left.set()

    with serve(respond) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        assert len(asyncio.run(read(enough=1))) == 1
        assert left.wait(PATIENCE_S)
