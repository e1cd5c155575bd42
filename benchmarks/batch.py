"""Compare batch with other ways to send many requests: wall time against the ideal, CPU per request, memory.

    python3 benchmarks/batch.py [REQUESTS [JOBS [MILLISECONDS]]]        # 10,000 requests, 16 at a time, of 20 ms each

curl and the official SDK take part where they are installed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from measure import has, has_package, ours, peer_python, run, serving

THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from ollama import Client
client = Client()
def ask(line):
    return client.chat(sys.argv[2], [{"role": "user", "content": line}]).model_dump_json()
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
            print((await client.chat(sys.argv[2], [{"role": "user", "content": line}])).model_dump_json())
    await asyncio.gather(*map(ask, sys.stdin))
asyncio.run(main())
"""
# The floor for threads of one interpreter: a hand-written request on a new connection each, and no checks.
BARE = """
import os, socket, sys
from concurrent.futures import ThreadPoolExecutor
host, port = os.environ["OLLAMA_HOST"].split(":")
def ask(line):
    body = b'{"model":"%s","messages":[{"role":"user","content":%s}]}' % (sys.argv[2].encode(), line.strip().encode())
    head = b"POST /api/chat HTTP/1.1\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head + body)
        return connection.recv(65536).partition(b"\\r\\n\\r\\n")[2].decode()
with ThreadPoolExecutor(int(sys.argv[1])) as pool:
    for answer in pool.map(ask, sys.stdin):
        print(answer, end="")
"""
CURL = """xargs -P "$1" -I{} curl -s "http://$OLLAMA_HOST/api/chat" -d '{"model":"'"$2"'","messages":[{}]}'"""


def contestants(jobs: str, model: str) -> dict[str, list[str]]:
    found = {
        "batch": ours("batch", "-m", model, "-j", jobs, "--lines"),
        "bare sockets": [sys.executable, "-c", BARE, jobs, model],
    }
    if has("curl"):
        found["xargs -P curl"] = ["sh", "-c", CURL, "sh", jobs, model]
    if has_package("ollama"):
        found["SDK, threads"] = [peer_python(), "-c", THREADS, jobs, model]
        found["SDK, asyncio"] = [peer_python(), "-c", ASYNC, jobs, model]
    return found


def compare(requests: int = 10_000, jobs: int = 16, milliseconds: int = 20) -> None:
    ideal = requests * milliseconds / 1000 / jobs
    print(f"\nBatch: {requests:,} requests of {milliseconds} ms, {jobs} at a time: ideal {ideal:.1f} s")
    with tempfile.TemporaryDirectory() as folder, serving() as host:
        prompts = Path(folder) / "prompts"
        prompts.write_text("".join(f"{number}\n" for number in range(requests)))
        for name, command in contestants(str(jobs), f"delayed-{milliseconds}").items():
            wall, cpu, peak = run([command], str(prompts), {"OLLAMA_HOST": host}, memory=True)
            print(
                f"{name:<16}{wall:8.1f} s  {wall / ideal:5.2f} of the ideal"
                f"{cpu / requests * 1e6:8.0f} µs of CPU per request{peak / 1024:8.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    compare(*map(int, sys.argv[1:]))
