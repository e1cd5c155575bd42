"""Read streams in threads and pass their chunks to asyncio.

PYTHONPATH=. python3 examples/from_asyncio.py MODEL PROMPT

The timeouts of a Client correspond to these timeouts of other libraries:

- `max_time`: `total` of aiohttp.
- `connect_timeout`: `sock_connect` of aiohttp.
- `first_byte_timeout` and `idle_timeout`: `sock_read` of aiohttp, `read` of httpx and the official SDK.

`asyncio.timeout` and `asyncio.wait_for` work as well: a cancelled task closes its stream.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any, AsyncGenerator

from ostream import ChatResponse, Client

# At most this many chunks of a stream wait for a slow task. Then the thread stops reading, and the server has to wait.
MOST_WAITING = 100


async def stream_chat(client: Client, *args: Any, **fields: Any) -> AsyncGenerator[ChatResponse, None]:
    """Yield the chunks of `client.chat(*args, **fields, stream=True)`.

    Errors are raised in the task. The connection is closed at once if the task leaves the loop, is cancelled, or calls
    `aclose()`, even while the server is silent. Each stream needs one thread.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[ChatResponse | BaseException | None] = asyncio.Queue()
    free = threading.Semaphore(MOST_WAITING)
    stream = client.chat(*args, **fields, stream=True)

    def read() -> None:
        end: BaseException | None = None
        try:
            for chunk in stream:
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
                free.acquire()
        except BaseException as error:
            end = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(chunks.put_nowait, end)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            chunk = await chunks.get()
            if chunk is None:
                return
            if isinstance(chunk, BaseException):
                raise chunk
            free.release()
            yield chunk
    finally:
        stream.close()  # ends the thread's wait for the server
        free.release()  # ends the thread's wait for the task
        thread.join()


async def main(model: str, prompt: str) -> None:
    messages = [{"role": "user", "content": prompt}]
    async for chunk in stream_chat(Client(), model, messages):
        print(chunk.message.content, end="", flush=True)
    print()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
