"""What is compared with what. Each row gives its contestants, and the ratios that are of interest with their goals."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Callable, NamedTuple

from house import PEERS, ROOT, Measured, Pipe, Python, Run, has_package, in_turns, peer_python, run, tool
from server import line

CHUNKS = 100_000

SDK = """
import sys
from ollama import Client
for chunk in Client().chat(sys.argv[1], [{"role": "user", "content": "hi"}], stream=True):
    print(chunk.message.content, end="", flush=True)
"""
OURS = SDK.replace("ollama", "ostream")
AIOHTTP = """
import aiohttp, asyncio, json, os, sys
async def main():
    body = {"model": sys.argv[1], "messages": [{"role": "user", "content": "hi"}]}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"http://{os.environ['OLLAMA_HOST']}/api/chat", json=body) as response:
            async for line in response.content:
                print(json.loads(line)["message"]["content"], end="", flush=True)
asyncio.run(main())
"""
NODE = """
const {Ollama} = require(process.argv[1] + "/node_modules/ollama")
async function main() {
    const client = new Ollama({host: "http://" + process.env.OLLAMA_HOST})
    const messages = [{role: "user", content: "hi"}]
    for await (const chunk of await client.chat({model: process.argv[2], messages, stream: true}))
        process.stdout.write(chunk.message.content)
}
main()
"""

# The least that a Python can do: import what sends a request; decode lines and write their text.
IMPORT = "import urllib.request"
BARE_LOOP = """
import io, json, os
scan, rest = json.JSONDecoder().scan_once, b""
while True:
    block = os.read(0, 16384)
    if not block:
        break
    end = block.rfind(b"\\n") + 1
    lines = io.BytesIO(rest + block[:end]).readlines()
    rest = block[end:]
    os.write(1, "".join([scan(line.decode(), 0)[0]["message"]["content"] for line in lines]).encode())
"""

CURL_JQ = "curl | jq"
CURL_JQ_UNBUFFERED = "curl | jq --unbuffered"
PIPELINE = "send | extract-content"


def verdict(value: float, goal: float | None, at_least: bool = False) -> str:
    if math.isnan(value):
        return "not measured, one of them is missing"
    if goal is None:
        return f"{value:.2f}"
    missed = "" if (value >= goal if at_least else value <= goal) else ", **missed**"
    return f"**{value:.2f}** (goal: at {'least' if at_least else 'most'} {goal:g}{missed})"


class Ratio(NamedTuple):
    of: str
    to: str
    field: str
    goal: float | None = None  # None: it is the floor of another one
    at_least: bool = False

    @property
    def unit(self) -> str:
        return {"wall_s": "wall", "cpu_s": "CPU", "peak_kib": "memory"}[self.field]

    def verdict(self, value: float) -> str:
        return verdict(value, self.goal, self.at_least)


class Row(NamedTuple):
    title: str
    contestants: dict[str, Callable[[], Run]]
    field: str  # what is shown of each
    scale: float  # and by what it is multiplied
    unit: str
    turns: int
    ratios: list[Ratio]

    def measure(self) -> Measured:
        return in_turns(self.contestants, self.turns)


def curl(host: str, model: str) -> list[str]:
    return ["curl", "-sN", f"http://{host}/api/chat", "-d", f'{{"model":"{model}","messages":[]}}']


def pipes(python: Python, host: str, model: str, everybody: bool = True) -> dict[str, Pipe]:
    """The ways to print an answer's text while it comes."""
    found: dict[str, Pipe] = {
        PIPELINE: [python.ours("send", "--host", host, "-m", model, "hi"), python.ours("extract-content")],
        CURL_JQ: [curl(host, model), ["jq", "-j", ".message.content"]],
        CURL_JQ_UNBUFFERED: [curl(host, model), ["jq", "-j", "--unbuffered", ".message.content"]],
        "our library": [[python.path, "-c", OURS, model]],
    }
    if has_package("ollama"):
        found["official SDK"] = [[peer_python(), "-c", SDK, model]]
    if has_package("aiohttp") and everybody:
        found["aiohttp"] = [[peer_python(), "-c", AIOHTTP, model]]
    if (PEERS / "node_modules" / "ollama").exists() and everybody:
        found["npm SDK"] = [["node", "-e", NODE, str(PEERS), model]]
    if has_package("llm_ollama") and everybody:
        found["llm"] = [[tool("llm") or "llm", "prompt", "--no-log", "-m", f"ollama/{model}", "hi"]]
    return found


def environment(host: str, scratch: Path) -> dict[str, str]:
    return {"OLLAMA_HOST": host, "PYTHONPATH": str(ROOT), "LLM_USER_PATH": str(scratch), "no_proxy": "*"}


def isolated(python: Python, program: str) -> list[str]:
    return [python.path, "-I", "-S", "-c", program]


def filters(python: Python) -> dict[str, list[str]]:
    found = {"extract-content": python.ours("extract-content")}
    for name in ("jq", "gojq", "jaq"):
        path = tool(name)
        if path:
            found[name] = [path, "-j", ".message.content"]
    return found


def rest(pipe: Pipe, start: Pipe, env: dict[str, str]) -> Run:
    """What a pipe takes more than another one that only starts and ends."""
    return Run(*(all - first for all, first in zip(run(pipe, env=env), run(start, env=env))))


def runs(pipes: dict[str, Pipe], memory: bool = False, **options: object) -> dict[str, Callable[[], Run]]:
    return {name: lambda pipe=pipe: run(pipe, memory=memory, **options) for name, pipe in pipes.items()}


def stream(path: Path, chunks: int) -> Path:
    """A file with an answer of so many chunks."""
    with path.open("wb") as file:
        piece = b"".join(line("qwen3:0.6b", f" word{number % 10}") for number in range(1000))
        for _ in range(chunks // 1000):
            file.write(piece)
        file.write(line("qwen3:0.6b", "", done=True))
    return path


def rows(python: Python, host: str, scratch: Path, fast: bool) -> list[Row]:
    env = environment(host, scratch)
    one = stream(scratch / "one", 0)
    is_system = "system" in python.name
    starts = {"import json": isolated(python, "import json"), **filters(python)}
    readers = {"a bare loop in Python": isolated(python, BARE_LOOP), **filters(python)}
    big = stream(scratch / "big", (200 << 20) // 153 // (8 if fast else 1))
    # The others do not change with our interpreter.
    single = {IMPORT: [isolated(python, IMPORT)], **pipes(python, host, "fast-1", everybody=is_system)}
    many = pipes(python, host, f"fast-{CHUNKS}", everybody=is_system)
    del many[CURL_JQ]
    kept = {name: pipe for name, pipe in many.items() if name != "llm"}
    memories = {name: pipe for name, pipe in single.items() if name != CURL_JQ_UNBUFFERED}
    few = 3 if fast else 1
    return [
        Row(
            "Start-up of a filter: one chunk in, one out",
            runs({name: [command] for name, command in starts.items()}, stdin=str(one)),
            *("wall_s", 1e3, "ms", 41 // few),
            [
                Ratio("extract-content", "import json", "wall_s", 1.15),
                Ratio("extract-content", "jq", "wall_s", 0.9 if is_system else 1.1),
            ],
        ),
        Row(
            "An answer of one chunk, all of it",
            runs(single, env=env),
            *("wall_s", 1e3, "ms", 21 // few),
            [
                Ratio(PIPELINE, CURL_JQ, "wall_s", 2.1),
                Ratio(IMPORT, CURL_JQ, "wall_s"),
                Ratio(PIPELINE, "official SDK", "wall_s", 0.15),
            ],
        ),
        Row(
            "Memory for it: the peaks of all processes",
            runs(memories, memory=True, env=env),
            *("peak_kib", 1 / 1024, "MiB", 5 // few),
            [Ratio(PIPELINE, "official SDK", "peak_kib", 0.45), Ratio(IMPORT, "official SDK", "peak_kib")],
        ),
        Row(
            f"CPU per chunk, {CHUNKS:,} chunks as fast as they come, start-up included",
            runs(kept, env=env),
            *("cpu_s", 1e6 / CHUNKS, "µs", 7 if few == 1 else 3),
            [
                Ratio(PIPELINE, CURL_JQ_UNBUFFERED, "cpu_s", 0.65),
                Ratio("our library", "official SDK", "cpu_s", 0.2),
            ],
        ),
        Row(
            "The same without the start: less what an answer of one chunk took in the same turn",
            {name: lambda pipe=pipe, start=single[name]: rest(pipe, start, env) for name, pipe in kept.items()},
            *("cpu_s", 1e6 / CHUNKS, "µs", 7 if few == 1 else 3),
            [
                Ratio(PIPELINE, CURL_JQ_UNBUFFERED, "cpu_s", 0.65),
                Ratio("our library", "official SDK", "cpu_s", 0.2),
            ],
        ),
        Row(
            f"A file of {big.stat().st_size >> 20} MiB, {big.stat().st_size // 153:,} chunks",
            runs({name: [command] for name, command in readers.items()}, stdin=str(big)),
            *("cpu_s", 1.0, "s of CPU", 5),
            [
                Ratio("jq", "extract-content", "cpu_s", 2.2, at_least=True),
                Ratio("jq", "a bare loop in Python", "cpu_s"),
            ],
        ),
    ]


def latencies(pipe: Pipe, env: dict[str, str]) -> list[float]:
    """Milliseconds from the sending of each chunk to its text behind the pipe."""
    late = []
    processes: list[subprocess.Popen[bytes]] = []
    source: object = subprocess.DEVNULL
    for command in pipe:
        processes.append(subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, env={**os.environ, **env}))
        source = processes[-1].stdout
    out = processes[-1].stdout
    assert out
    rest = b""
    for block in iter(lambda: os.read(out.fileno(), 1 << 16), b""):
        now = time.monotonic_ns()
        *whole, rest = (rest + block).split(b"\n")
        late += [(now - int(stamp)) / 1e6 for stamp in whole if stamp]
    for process in processes:
        process.wait()
        if process.stdout:
            process.stdout.close()
    return late[len(late) // 10 :]  # the first ones wait for who starts


def latency(python: Python, host: str, rate: int, turns: int) -> dict[str, tuple[float, float]]:
    """p50 and p99 in ms of each pipe, the medians of some turns."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(turns):
        for name in (PIPELINE, CURL_JQ_UNBUFFERED):
            pipe = pipes(python, host, f"paced-{rate * 3}-{rate}", everybody=False)[name]
            late = sorted(latencies(pipe, {"OLLAMA_HOST": host}))
            found.setdefault(name, []).append((late[len(late) // 2], late[len(late) * 99 // 100]))
    return {
        name: (statistics.median(p50 for p50, _ in pairs), statistics.median(p99 for _, p99 in pairs))
        for name, pairs in found.items()
    }
