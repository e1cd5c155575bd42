"""The server of all benchmarks. The model name selects the answer:

    fast-N          N chunks and the last one, as fast as the client reads
    paced-N-RATE    N chunks, RATE per second; the text of each is the time at which it was sent
    delayed-MS      one object, after MS milliseconds

Prints its port and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import selectors
import time

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b\r\n\r\n"
CHUNKED = HEAD % (b"application/x-ndjson", b"Transfer-Encoding: chunked")
PIECE = 500  # chunks per write
END = b"0\r\n\r\n"


def line(model: str, text: str, done: bool = False) -> bytes:
    """One chunk of an answer."""
    message = {"role": "assistant", "content": text}
    chunk = {"model": model, "created_at": "2025-11-21T10:30:00.123456789Z", "message": message, "done": done}
    if done:
        chunk.update(done_reason="stop", total_duration=10**9, prompt_eval_count=11, eval_count=12, eval_duration=10**8)
    return json.dumps(chunk, separators=(",", ":")).encode() + b"\n"


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def complete(body: bytes) -> bytes:
    return HEAD % (b"application/json", b"Content-Length: %d" % len(body)) + body


MODELS = ["fast-1", "fast-100000"]
DETAILS = {"family": "m", "families": ["m"]}
TAGS = {"models": [{"name": name, "model": name, "digest": name * 12, "details": DETAILS} for name in MODELS]}
SHOW = {"capabilities": ["completion"], "details": DETAILS, "model_info": {}}


class Server(asyncio.Protocol):
    """Answer requests; keep the connection open unless the client asks to close it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.received = b""
        self.flowing = asyncio.Event()
        self.flowing.set()

    def pause_writing(self) -> None:
        self.flowing.clear()

    def resume_writing(self) -> None:
        self.flowing.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.flowing.set()

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, rest = self.received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if found and len(rest) >= length:
            self.received = rest[length:]
            asked = json.loads(rest[:length] or b"{}")
            task = asyncio.ensure_future(self.answer(head.split(b" ")[1].decode(), asked.get("model", "")))
            closing = b"connection: close" in head.lower()
            task.add_done_callback(lambda _: self.transport.close() if closing else None)

    async def answer(self, path: str, model: str) -> None:
        kind, *numbers = model.split("-")
        if path in ("/api/tags", "/api/show"):
            self.transport.write(complete(json.dumps(TAGS if path == "/api/tags" else SHOW).encode()))
        elif kind == "delayed":
            await asyncio.sleep(int(numbers[0]) / 1000)
            self.transport.write(complete(line(model, "hello", done=True)))
        else:
            self.transport.write(CHUNKED)
            await getattr(self, kind)(model, *map(int, numbers))
            self.transport.write(http_chunk(line(model, "", done=True)) + END)

    async def fast(self, model: str, count: int) -> None:
        piece = b"".join(http_chunk(line(model, f" word{number % 10}")) for number in range(min(count, PIECE)))
        for _ in range(max(count // PIECE, 1)):
            self.transport.write(piece)
            await self.flowing.wait()

    async def paced(self, model: str, count: int, rate: int) -> None:
        begin = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0, begin + number / rate - time.monotonic()))
            self.transport.write(http_chunk(line(model, f"{time.monotonic_ns()}\n")))


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    # select() has microsecond timeouts; epoll rounds up to milliseconds.
    asyncio.SelectorEventLoop(selectors.SelectSelector()).run_until_complete(serve())
