"""A stream read in a thread, its chunks handed to asyncio: python3 examples/from_asyncio.py MODEL PROMPT"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import AsyncIterator

from ostream import Chunk, chat


async def stream_chat(model: str, prompt: str) -> AsyncIterator[Chunk]:
    """The chunks of one answer; what goes wrong is raised here, and leaving early closes the connection."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Chunk | BaseException | None] = asyncio.Queue()
    stopped = threading.Event()

    def put(item: Chunk | BaseException | None) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, item)

    def read() -> None:
        try:
            with chat(model, [{"role": "user", "content": prompt}], stream=True) as stream:
                for chunk in stream:
                    if stopped.is_set():
                        return
                    put(chunk)
            put(None)
        except BaseException as error:
            put(error)

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            item = await queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()


async def main(model: str, prompt: str) -> None:
    async for chunk in stream_chat(model, prompt):
        print(chunk.message.content, end="", flush=True)
    print()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
