"""Run contestants as real processes and measure them.

Contestants run in turns, so that other load on the machine affects all of them alike. A ratio is the median of the
ratios of each turn.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = ROOT / ".bench"
PACKAGES = ["ollama", "aiohttp", "llm", "llm-ollama"]

# With this variable, a Python program would compile its modules each time it starts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

Pipe = List[List[str]]  # the commands of a pipeline


class Run(NamedTuple):
    """One run of a pipeline. The wall time ends with the last command; CPU and memory are sums over all of them."""

    wall_s: float
    cpu_s: float
    peak_kib: int  # 0 unless requested


def peak_kib(pid: int) -> int:
    """Peak memory of a running process. (wait4 would report its parent's where that is larger.)"""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def run(pipe: Pipe, stdin: str = os.devnull, env: dict[str, str] | None = None, memory: bool = False) -> Run:
    """Run a pipeline; the last command writes to /dev/null."""
    processes = []
    peaks: dict[int, int] = {}
    begin = time.monotonic()
    source: Any = open(stdin, "rb")  # noqa: SIM115
    for number, command in enumerate(pipe):
        process = subprocess.Popen(
            command,
            stdin=source,
            stdout=subprocess.DEVNULL if number == len(pipe) - 1 else subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        source.close()
        source = process.stdout
        processes.append(process)
    done = threading.Event()

    def watch() -> None:
        while memory and not done.wait(0.001):
            for process in processes:
                peaks[process.pid] = max(peaks.get(process.pid, 0), peak_kib(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    cpu = 0.0
    for process in reversed(processes):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        cpu += usage.ru_utime + usage.ru_stime
        if status:
            raise RuntimeError(f"{' '.join(process.args)[:80]}: status {os.waitstatus_to_exitcode(status)}")
    wall = time.monotonic() - begin
    done.set()
    watcher.join()
    return Run(wall, cpu, sum(peaks.values()))


def print_table(title: str, field: str, scale: float, unit: str, runs: dict[str, list[Run]]) -> None:
    """Print median, quartiles and the ratio to the first contestant."""
    print(f"\n{title}; {len(next(iter(runs.values())))} turns\n{'':26}median   quartiles            ratio")
    values = {name: [getattr(run, field) * scale for run in these] for name, these in runs.items()}
    first = next(iter(values.values()))
    for name, these in values.items():
        low, high = sorted(these)[len(these) // 4], sorted(these)[-1 - len(these) // 4]
        ratio = statistics.median(other / one for one, other in zip(first, these))
        print(
            f"{name:22}{statistics.median(these):10.3g}   {f'{low:.3g} to {high:.3g} {unit}':20} {ratio:.2f}",
            flush=True,
        )


def in_turns(contestants: dict[str, Callable[[], Run]], turns: int) -> dict[str, list[Run]]:
    """Run each contestant once per turn; the first turn is a warm-up. One that fails is reported and dropped."""
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for turn in range(turns + 1):
        for name in list(runs):
            try:
                result = contestants[name]()
            except (OSError, RuntimeError) as error:
                print(f"{name}: dropped: {error}", file=sys.stderr)
                del runs[name]
                continue
            if turn:
                runs[name].append(result)
    return runs


def instructions(command: list[str], stdin: Path) -> int:
    """Instructions that a command executes, counted by valgrind; independent of the machine's load."""
    counting = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", *command]
    with stdin.open("rb") as file:
        counted = subprocess.run(counting, stdin=file, capture_output=True, text=True, check=True).stderr
    return int(re.search(r"I +refs: +([\d,]+)", counted).group(1).replace(",", ""))  # type: ignore[union-attr]


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Run server.py in a process of its own; yields HOST:PORT."""
    with subprocess.Popen([sys.executable, str(HERE / "server.py")], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield f"127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


def ours(command: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(ROOT / "bin" / command), *arguments]


def install_peers() -> None:
    """Install other clients and filters into .bench/; one that cannot be installed is left out."""

    def attempt(*command: str) -> None:
        print("+", *command, file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):
            subprocess.run(command, cwd=PEERS, check=False)

    PEERS.mkdir(exist_ok=True)
    if not (PEERS / "venv").exists():
        attempt(sys.executable, "-m", "venv", "venv")
        attempt("venv/bin/pip", "install", "-q", *PACKAGES)
    if not (PEERS / "node_modules").exists():
        attempt("npm", "install", "--silent", "--no-fund", "--no-audit", "ollama")


def peer_python() -> str:
    """The interpreter that has the other Python clients installed, or this one."""
    path = PEERS / "venv" / "bin" / "python"
    return str(path) if path.exists() else sys.executable


def has_package(name: str) -> bool:
    return not subprocess.run([peer_python(), "-c", f"import {name}"], capture_output=True, check=False).returncode


def has(program: str) -> bool:
    return shutil.which(program) is not None
