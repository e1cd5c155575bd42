"""How batch compares with other ways to send many requests: wall time over the ideal, CPU per request, memory.

    python3 benchmarks/batch.py [REQUESTS [JOBS [MILLISECONDS]]]        # 10,000 requests, 16 at a time, of 20 ms each
    python3 benchmarks/batch.py --memory [LINES]                       # 10,000,000 lines that need no request

The server is a process of its own. The official SDK takes part where it is installed, curl where it is there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ANSWER = json.dumps({"model": "m", "message": {"role": "assistant", "content": "hello"}, "done": True, "eval_count": 1})
REPLY = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(ANSWER)}\r\n\r\n{ANSWER}".encode()


class Delayed(asyncio.Protocol):
    """Answers each request after a while, on connections that stay or not, as the client likes."""

    delay_s = 0.02

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, rest = self.received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            if len(rest) < length:
                return
            self.received = rest[length:]
            closing = b"connection: close" in head.lower()
            asyncio.get_running_loop().call_later(self.delay_s, self.answer, closing)

    def answer(self, closing: bool) -> None:
        if not self.transport.is_closing():
            self.transport.write(REPLY)
            if closing:
                self.transport.close()


async def serve(delay_s: float) -> None:
    Delayed.delay_s = delay_s
    server = await asyncio.get_running_loop().create_server(Delayed, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from ollama import Client
client = Client()
def ask(line):
    return client.chat("m", [{"role": "user", "content": line}]).model_dump_json()
with ThreadPoolExecutor(int(sys.argv[1])) as pool:
    for answer in pool.map(ask, sys.stdin):
        print(answer)
"""
ASYNC = """
import asyncio, sys
from ollama import AsyncClient
async def main():
    client, turn = AsyncClient(), asyncio.Semaphore(int(sys.argv[1]))
    async def ask(line):
        async with turn:
            print((await client.chat("m", [{"role": "user", "content": line}])).model_dump_json())
    await asyncio.gather(*map(ask, sys.stdin))
asyncio.run(main())
"""
CURL = """xargs -P "$1" -I{} curl -s "http://$OLLAMA_HOST/api/chat" -d '{"model":"m","stream":false,"messages":[{}]}'"""


def contestants(jobs: str) -> dict[str, list[str]]:
    found = {"batch": [str(ROOT / "bin" / "batch"), "-m", "m", "-j", jobs, "--lines"]}
    if shutil.which("curl"):
        found["xargs -P curl"] = ["sh", "-c", CURL, "sh", jobs]
    if not subprocess.run([sys.executable, "-c", "import ollama"], capture_output=True, check=False).returncode:
        found["SDK, threads"] = [sys.executable, "-c", THREADS, jobs]
        found["SDK, asyncio"] = [sys.executable, "-c", ASYNC, jobs]
    return found


def measure(command: list[str], stdin: Path, environment: dict[str, str]) -> tuple[float, float, float]:
    """Seconds, CPU seconds and MiB of a command and what it started."""
    begin = time.monotonic()
    with open(stdin, "rb") as file:
        process = subprocess.Popen(command, stdin=file, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        sys.exit(f"{command[0]}: status {status}")
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def compare(requests: int = 10_000, jobs: int = 16, milliseconds: float = 20) -> None:
    ideal = requests * milliseconds / 1000 / jobs
    print(f"{requests:,} requests of {milliseconds:g} ms, {jobs} at a time: ideal {ideal:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts"
        prompts.write_text("".join(f"{number}\n" for number in range(requests)))
        for name, command in contestants(str(jobs)).items():
            serving = [sys.executable, __file__, "--serve", str(milliseconds / 1000)]
            with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as server:
                assert server.stdout
                host = f"127.0.0.1:{server.stdout.readline().strip()}"
                wall, cpu, memory = measure(command, prompts, {**os.environ, "OLLAMA_HOST": host})
                server.kill()
            print(
                f"{name:<16}{wall:8.1f} s  {wall / ideal:5.2f} of the ideal"
                f"{cpu / requests * 1e6:8.0f} µs of CPU for each{memory:8.0f} MiB",
                flush=True,
            )


def memory(lines: int = 10_000_000) -> None:
    """Lines that ask nothing sensible are read, judged and answered by an error line: no server is needed."""
    for count in (lines // 100, lines):
        with tempfile.NamedTemporaryFile("w") as file:
            for number in range(count):
                file.write(f'{{"id":{number}}}\n')
            file.flush()
            batch = [str(ROOT / "bin" / "batch"), "-m", "m", "-j", "1"]
            wall, _, peak = measure(
                ["sh", "-c", '"$@" 2> /dev/null; true', "sh", *batch], Path(file.name), {**os.environ}
            )
        print(f"{count:>12,} lines: {wall:7.1f} s, {peak:5.0f} MiB", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(float(sys.argv[2])))
    elif sys.argv[1:2] == ["--memory"]:
        memory(*map(int, sys.argv[2:]))
    else:
        compare(*(kind(text) for kind, text in zip((int, int, float), sys.argv[1:])))
