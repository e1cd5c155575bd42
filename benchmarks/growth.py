"""Double the work and print what each unit costs: python3 benchmarks/growth.py [--fast] [--only=WORD]

If CPU time per unit rises from row to row, something takes more than linear time. The cost of the smallest size, mostly
the start of interpreters, is subtracted. The largest sizes take a quarter of an hour; --fast takes a hundredth of them.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Callable, Tuple

from measure import Pipe, ours, run, serving
from server import line

MODEL = "delayed-0"
Case = Callable[[Path, int], Tuple[Pipe, str]]  # returns a pipeline that handles N units, and its standard input


def prompts(folder: Path, count: int) -> str:
    path = folder / f"prompts-{count}"
    path.write_text("".join(f"{number}\n" for number in range(count)))
    return str(path)


def chunks(folder: Path, count: int) -> tuple[Pipe, str]:
    return [ours("send", "-m", f"fast-{count}", "hi"), ours("extract-content")], os.devnull


def batch_rows(folder: Path, count: int) -> tuple[Pipe, str]:
    answers = folder / f"answers-{count}"
    answers.unlink(missing_ok=True)
    return [ours("batch", "-q", "-m", MODEL, "-j", "16", "--lines", "-o", str(answers))], prompts(folder, count)


def resumed_rows(folder: Path, count: int) -> tuple[Pipe, str]:
    """The answers are those that `batch_rows` has written."""
    [[*batch, _]], _ = batch_rows(folder, 0)
    answers = folder / f"answers-{count}"
    if not answers.exists():
        run(*batch_rows(folder, count))
    return [[*batch, str(answers), "--resume"]], prompts(folder, count)


def jobs(folder: Path, count: int) -> tuple[Pipe, str]:
    """Sixteen requests for each job."""
    return [ours("batch", "-q", "-m", "delayed-20", "-j", str(count), "--lines")], prompts(folder, 16 * count)


def recordings(folder: Path, count: int) -> tuple[Pipe, str]:
    """Each recording answers one request of a batch, the last one first."""
    path = folder / "recordings"
    with path.open("wb") as file:
        for number in reversed(range(count)):
            body = {"model": MODEL, "messages": [{"role": "user", "content": str(number)}], "stream": False}
            file.write(json.dumps({"request": {"path": "/api/chat", "body": body}, "status": 200}).encode() + b"\n")
            file.write(line(MODEL, "hello", done=True))
    batch = ours("batch", "-q", "-m", MODEL, "-j", "1", "--lines")
    return [ours("replay", "-q", str(path), "--", *batch)], prompts(folder, count)


def mebibytes_of_a_line(folder: Path, count: int) -> tuple[Pipe, str]:
    path = folder / "line"
    path.write_bytes(line(MODEL, "x" * ((count << 20) - 500), done=True))
    return [ours("extract-content")], str(path)


def messages(folder: Path, count: int) -> tuple[Pipe, str]:
    path = folder / "conversation"
    pair = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer " * 20}]
    path.write_text("".join(json.dumps(message) + "\n" for message in pair) * (count // 2))
    return [ours("send", "-m", "fast-1", "-c", str(path), "hi"), ours("extract-content")], os.devnull


CASES: dict[str, tuple[Case, int, int]] = {  # the smallest and the largest number of units
    "chunks (send | extract-content)": (chunks, 1, 10_000_000),
    "rows of a batch": (batch_rows, 1, 1_000_000),
    "rows that --resume finds answered": (resumed_rows, 1, 1_000_000),
    "jobs of a batch, 16 requests each": (jobs, 1, 500),
    "recordings, each requested once": (recordings, 1, 10_000),
    "MiB of one line (extract-content)": (mebibytes_of_a_line, 1, 64),
    "messages of a conversation": (messages, 0, 10_000),
}


def print_growth(title: str, case: Case, folder: Path, sizes: list[int]) -> None:
    print(f"\n{title}\n{'':>12}   CPU per unit   memory", flush=True)
    first = run(*case(folder, sizes[0]))
    for size in sizes[1:]:
        taken = run(*case(folder, size), memory=True)
        per_unit = (taken.cpu_s - first.cpu_s) / (size - sizes[0]) * 1e6
        print(f"{size:12,}{per_unit:12,.2f} µs{taken.peak_kib / 1024:6.0f} MiB", flush=True)


def main() -> None:
    only = next((word.partition("=")[2] for word in sys.argv if word.startswith("--only=")), "")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}")
    with tempfile.TemporaryDirectory() as folder, serving() as host:
        os.environ.update(OLLAMA_HOST=host, no_proxy="*")
        for title, (case, smallest, largest) in CASES.items():
            largest = max(largest // 100, 16) if "--fast" in sys.argv else largest
            if only in title:
                sizes = [smallest, *(largest // 2**power for power in (3, 2, 1, 0))]
                print_growth(title, case, Path(folder), sizes)


if __name__ == "__main__":
    main()
