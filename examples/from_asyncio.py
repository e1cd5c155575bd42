"""A stream read in a thread, its chunks handed to asyncio.

PYTHONPATH=. python3 examples/from_asyncio.py MODEL PROMPT
"""

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
    stream = chat(model, [{"role": "user", "content": prompt}], stream=True)

    def put(item: Chunk | BaseException | None) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, item)

    def read() -> None:
        try:
            for chunk in stream:
                put(chunk)
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            item = await queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stream.close()  # wakes the thread, and the server stops generating
        thread.join()


async def main(model: str, prompt: str) -> None:
    async for chunk in stream_chat(model, prompt):
        print(chunk.message.content, end="", flush=True)
    print()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
