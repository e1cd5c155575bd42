"""Compare with curl | jq and with other clients; prints one table per question: `make bench`.

python3 benchmarks/compare.py [--fast] [--only=WORD]

This Python runs ostream; the other clients are installed into .bench/. Measure on an otherwise idle machine.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

import batch
from measure import (
    PEERS,
    ROOT,
    Pipe,
    Run,
    has,
    has_package,
    in_turns,
    install_peers,
    instructions,
    ours,
    peer_python,
    print_table,
    run,
    serving,
)
from server import line

CHUNKS = 100_000

SDK = """
import sys
from ollama import Client
for chunk in Client().chat(sys.argv[1], [{"role": "user", "content": "hi"}], stream=True):
    print(chunk.message.content, end="", flush=True)
"""
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
# The least that a Python program can do: decode lines and write their text, without any check.
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
CURL_JQ_UNBUFFERED = "curl | jq --unbuffered"
PIPELINE = "send | extract-content"


def pipes(host: str, model: str) -> dict[str, Pipe]:
    """The ways to print an answer while it arrives."""
    curl = ["curl", "-sN", f"http://{host}/api/chat", "-d", f'{{"model":"{model}","messages":[]}}']
    found: dict[str, Pipe] = {
        PIPELINE: [ours("send", "--host", host, "-m", model, "hi"), ours("extract-content")],
        "curl | jq": [curl, ["jq", "-j", ".message.content"]],
        CURL_JQ_UNBUFFERED: [curl, ["jq", "-j", "--unbuffered", ".message.content"]],
        "ostream (library)": [[sys.executable, "-c", SDK.replace("ollama", "ostream"), model]],
    }
    if has_package("ollama"):
        found["official SDK"] = [[peer_python(), "-c", SDK, model]]
    if has_package("aiohttp"):
        found["aiohttp"] = [[peer_python(), "-c", AIOHTTP, model]]
    if (PEERS / "node_modules" / "ollama").exists():
        found["npm SDK"] = [["node", "-e", NODE, str(PEERS), model]]
    if has_package("llm_ollama"):
        found["llm"] = [[str(PEERS / "venv/bin/llm"), "prompt", "--no-log", "-m", f"ollama/{model}", "hi"]]
    return found


def filters(*floor: str) -> dict[str, Pipe]:
    """Ways to extract text from NDJSON, and `floor`: a name and a Python program."""
    found = {"extract-content": [ours("extract-content")]}
    if floor:
        found[floor[0]] = [[sys.executable, "-I", "-S", "-c", floor[1]]]
    found.update({name: [[name, "-j", ".message.content"]] for name in ("jq", "gojq", "jaq") if has(name)})
    return found


def runs(pipes: dict[str, Pipe], **options: object) -> dict[str, Callable[[], Run]]:
    return {name: lambda pipe=pipe: run(pipe, **options) for name, pipe in pipes.items()}


def answer_file(path: Path, chunks: int) -> Path:
    """Write an answer of `chunks` chunks to a file."""
    piece = b"".join(line("qwen3:0.6b", f" word{number % 10}") for number in range(1000))
    with path.open("wb") as file:
        for _ in range(chunks // 1000):
            file.write(piece)
        file.write(line("qwen3:0.6b", " end", done=True))
    return path


def latencies(pipe: Pipe, env: dict[str, str]) -> list[float]:
    """Milliseconds from the sending of each chunk until its text leaves the pipeline."""
    late: list[float] = []
    processes: list[subprocess.Popen[bytes]] = []
    source: Any = subprocess.DEVNULL
    for command in pipe:
        processes.append(subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, env={**os.environ, **env}))
        source = processes[-1].stdout
    out = processes[-1].stdout
    assert out
    rest = b""
    for block in iter(lambda: os.read(out.fileno(), 1 << 16), b""):
        now = time.monotonic_ns()
        *complete, rest = (rest + block).split(b"\n")
        late += [(now - int(stamp)) / 1e6 for stamp in complete if stamp]
    for process in processes:
        process.communicate()
    return sorted(late[len(late) // 10 :])  # the first ones wait for processes that start


def print_latency(host: str, env: dict[str, str], turns: int) -> None:
    print(f"\nLatency of a chunk through the pipeline; {turns} turns\n{'':40}p50      p99")
    for rate in (50, 1000):
        found = pipes(host, f"paced-{rate * 3}-{rate}")
        for name in (PIPELINE, CURL_JQ_UNBUFFERED):
            taken = [latencies(found[name], env) for _ in range(turns)]
            p50, p99 = (statistics.median(late[len(late) * q // 100] for late in taken) for q in (50, 99))
            print(f"{name}, {rate} chunks/s".ljust(38), f"{p50:.2f} ms  {p99:.2f} ms", flush=True)


def print_instructions(few: Path, many: Path) -> None:
    print(f"\nInstructions, counted by valgrind\n{'':26}start and end    per chunk")
    for name, pipe in filters("import json", "import json").items():
        start = instructions(pipe[0], few)
        print(
            f"{name:22}{start / 1e6:8.1f} million {(instructions(pipe[0], many) - start) / 10_000:12,.0f}", flush=True
        )


def main() -> None:
    fast = "--fast" in sys.argv
    only = next((word.partition("=")[2] for word in sys.argv if word.startswith("--only=")), "")
    few = 3 if fast else 1
    install_peers()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}")
    with tempfile.TemporaryDirectory() as folder, serving() as host:
        scratch = Path(folder)
        env = {"OLLAMA_HOST": host, "PYTHONPATH": str(ROOT), "LLM_USER_PATH": folder, "no_proxy": "*"}
        one, big = (
            answer_file(scratch / "one", 0),
            answer_file(scratch / "big", (200 << 20) // 153 // (8 if fast else 1)),
        )
        single, many = pipes(host, "fast-1"), pipes(host, f"fast-{CHUNKS}")
        many.pop("llm", None)
        library = [sys.executable, "-S", "-c", SDK.replace("ollama", "ostream"), "fast-1"]
        starts = {
            "import urllib.request": [[sys.executable, "-S", "-c", "import urllib.request"]],
            PIPELINE: single[PIPELINE],
            "ostream (library)": [library],
        }
        tables = {
            "Start-up of a filter": ("wall_s", 1e3, "ms", 41, runs(filters("import json", "import json"), stdin=one)),
            "A short answer, end to end": ("wall_s", 1e3, "ms", 21, runs(single, env=env)),
            "Start-up and a short answer, wall time": ("wall_s", 1e3, "ms", 21, runs(starts, env=env)),
            "Start-up and a short answer, CPU": ("cpu_s", 1e3, "ms", 21, runs(starts, env=env)),
            "Memory for a short answer": ("peak_kib", 1 / 1024, "MiB", 5, runs(single, env=env, memory=True)),
            f"CPU per chunk, {CHUNKS:,} chunks": ("cpu_s", 1e6 / CHUNKS, "µs", 7, runs(many, env=env)),
            f"CPU for a file of {big.stat().st_size >> 20} MiB": (
                *("cpu_s", 1.0, "s", 5),
                runs(filters("a bare loop", BARE_LOOP), stdin=big),
            ),
        }
        for title, (field, scale, unit, turns, contestants) in tables.items():
            if only in title:
                print_table(title, field, scale, unit, in_turns(contestants, turns // few))
        if only in "Instructions" and has("valgrind"):
            print_instructions(one, answer_file(scratch / "many", 10_000))
        if only in "Latency":
            print_latency(host, env, 5 // few)
    if only in "Batch":
        batch.compare(2000 if fast else 10_000)


if __name__ == "__main__":
    main()
