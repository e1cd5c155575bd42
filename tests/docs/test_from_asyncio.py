"""The example that hands streams to asyncio: answers, errors, cancellation and back-pressure."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any, Callable

import pytest

from examples.from_asyncio import MOST_WAITING, stream_chat
from ostream import Client, IncompleteStream
from ostream.recording.http_server import RequestHandler
from tests.process import ROOT, sh
from tests.server import send_lines, serve

HI = b'{"model":"m","message":{"role":"assistant","content":"hi"},"done":false}\n'
PATIENCE_S = 60


async def read(client: Client, enough: int = 1000) -> list[Any]:
    chunks = []
    async with contextlib.AsyncExitStack() as stack:
        answer = stream_chat(client, "m", [{"role": "user", "content": "hello"}], options={"seed": 1})
        stack.push_async_callback(answer.aclose)
        async for chunk in answer:
            chunks.append(chunk)
            if len(chunks) == enough:
                break
    return chunks


def test_it_prints_the_answer() -> None:
    recording = ROOT / "examples" / "recordings" / "sky.ndjson"
    done = sh(
        f"replay -q --match path {recording} -- python3 {ROOT}/examples/from_asyncio.py qwen3 'Why is the sky blue?'"
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == sh(f"extract-content -n {recording}").stdout + b"\n"


def test_an_error_is_raised_in_the_task() -> None:
    with serve(send_lines(HI)) as server, pytest.raises(IncompleteStream):
        asyncio.run(read(Client(server.url)))


def silent_after_one_chunk(left: threading.Semaphore) -> Callable[[RequestHandler], None]:
    """Send one chunk, then nothing; release `left` when the client has left."""

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        with contextlib.suppress(ConnectionError):  # the client may leave before the chunk is sent
            exchange.chunk(HI)
            exchange.connection.recv(1)
        left.release()

    return respond


async def leave(client: Client) -> None:
    assert len(await read(client, enough=1)) == 1


async def cancel(client: Client) -> None:
    tasks = [asyncio.ensure_future(read(client)) for _ in range(10)]
    for delay, task in enumerate(tasks):
        await asyncio.sleep(delay / 200)  # before, while and after it connects
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)


async def time_out(client: Client) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(read(client), 0.1)


@pytest.mark.parametrize("end", [leave, cancel, time_out])
def test_ending_early_closes_the_connection_of_a_silent_server(end: Callable[[Client], Any]) -> None:
    left = threading.Semaphore(0)
    before = threading.active_count()
    with serve(silent_after_one_chunk(left)) as server:
        asyncio.run(end(Client(server.url)))
        for _ in server.requests:  # type: ignore[attr-defined]
            assert left.acquire(timeout=PATIENCE_S)
    end_s = time.monotonic() + PATIENCE_S
    while threading.active_count() > before:
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_a_slow_task_stops_the_server() -> None:
    sent = 0

    def respond(exchange: RequestHandler) -> None:
        nonlocal sent
        exchange.head(200, "application/x-ndjson")
        with contextlib.suppress(OSError):
            while True:
                exchange.chunk(HI * 1000)
                sent += 1000

    async def slow() -> None:
        answer = stream_chat(Client(server.url), "m", [])
        assert (await answer.__anext__()).text == "hi"
        before = -1
        while before != sent:  # the server has stopped sending
            before = sent
            await asyncio.sleep(0.3)
        for _ in range(MOST_WAITING):
            await answer.__anext__()
        await answer.aclose()

    with serve(respond) as server:
        asyncio.run(slow())
    assert sent * len(HI) < 64 << 20  # socket buffers, not a queue
