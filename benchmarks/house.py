"""How all benchmarks run contestants and measure them: real processes, taken in turns, so that a busy machine is busy
for all of them; the ratio of two is the median of the ratios of their turns.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = ROOT / ".bench"
_PATH = os.environ["PATH"]
SYSTEM = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
NEWEST = 14  # the newest Python that is looked for, 3.14

Pipe = List[List[str]]  # commands, each of which reads from the one before


class Run(NamedTuple):
    """One run of a pipe of commands: the time until the last has ended, the others' sums."""

    wall_s: float
    cpu_s: float
    peak_kib: int  # 0 unless it was asked for


def peak_kib(pid: int) -> int:
    """The most memory that a process has had so far. (wait4 would tell the parent's, where that is more.)"""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


def run(
    pipe: Pipe,
    stdin: str | int = os.devnull,
    env: dict[str, str] | None = None,
    memory: bool = False,
    may_fail: bool = False,
) -> Run:
    """Run commands joined by pipes; the last writes to /dev/null."""
    processes = []
    peaks: dict[int, int] = {}
    begin = time.monotonic()
    source: Any = os.open(stdin, os.O_RDONLY) if isinstance(stdin, str) else os.dup(stdin)
    for number, command in enumerate(pipe):
        last = number == len(pipe) - 1
        process = subprocess.Popen(
            command,
            stdin=source,
            stdout=subprocess.DEVNULL if last else subprocess.PIPE,
            stderr=subprocess.DEVNULL if may_fail else None,
            env={**os.environ, **(env or {})},
        )
        source.close() if number else os.close(source)
        source = process.stdout
        processes.append(process)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            for process in processes:
                peaks[process.pid] = max(peaks.get(process.pid, 0), peak_kib(process.pid))

    watcher = threading.Thread(target=watch)
    if memory:
        watcher.start()
    cpu = 0.0
    for process in reversed(processes):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        cpu += usage.ru_utime + usage.ru_stime
        if status and not may_fail:
            raise RuntimeError(f"{' '.join(process.args)[:80]}: status {os.waitstatus_to_exitcode(status)}")
    wall = time.monotonic() - begin
    done.set()
    if memory:
        watcher.join()
    return Run(wall, cpu, sum(peaks.values()))


class Measured:
    """The runs of some contestants."""

    def __init__(self, runs: dict[str, list[Run]]) -> None:
        self.runs = runs

    def values(self, name: str, field: str) -> list[float]:
        return [float(getattr(run, field)) for run in self.runs[name]]

    def median(self, name: str, field: str) -> float:
        return statistics.median(self.values(name, field))

    def spread(self, name: str, field: str) -> tuple[float, float]:
        """The quartiles."""
        values = sorted(self.values(name, field))
        return values[len(values) // 4], values[-1 - len(values) // 4]

    def ratio(self, name: str, other: str, field: str) -> float:
        """How many times as much one took as the other, turn by turn; nan if one was not there."""
        if not self.runs.get(name) or not self.runs.get(other):
            return float("nan")
        return statistics.median(a / b for a, b in zip(self.values(name, field), self.values(other, field)) if b)


def in_turns(contestants: dict[str, Callable[[], Run]], turns: int) -> Measured:
    """Let each run once in each turn; the first turn warms up and does not count. Who fails is out, and is told."""
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for turn in range(turns + 1):
        for name in list(runs):
            try:
                result = contestants[name]()
            except (OSError, RuntimeError) as error:
                print(f"    {name}: out: {error}", file=sys.stderr)
                del runs[name]
                continue
            if turn:
                runs[name].append(result)
    return Measured(runs)


def instructions(command: list[str], stdin: Path) -> int:
    """What a command executes, as valgrind counts it, however busy the machine is; 0 where there is no valgrind."""
    counting = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", *command]
    try:
        with stdin.open("rb") as file:
            counted = subprocess.run(counting, stdin=file, capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(re.search(r"I +refs: +([\d,]+)", counted).group(1).replace(",", ""))  # type: ignore[union-attr]


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Our server, in a process of its own; gives its host and port."""
    with subprocess.Popen([sys.executable, str(HERE / "server.py")], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield f"127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


class Python(NamedTuple):
    """An interpreter to run ours on: what the page calls it, its path, and a folder where it is `python3`."""

    name: str
    path: str
    folder: str

    def ours(self, command: str, *arguments: str) -> list[str]:
        return [str(ROOT / "bin" / command), *arguments]

    def use(self) -> None:
        """Let it be the python3 of what is run from now on."""
        os.environ["PATH"] = f"{self.folder}:{_PATH}"


def pythons(scratch: Path) -> list[Python]:
    """The system's interpreter, and the newest there is."""
    found = [SYSTEM]
    managed = Path(os.devnull)
    if shutil.which("pyenv"):
        managed = Path(subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout.strip())
    for minor in range(NEWEST, 8, -1):
        versions = sorted(managed.glob(f"versions/3.{minor}.*/bin/python3"))
        path = str(versions[-1]) if versions else shutil.which(f"python3.{minor}")
        if path and not subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode:
            found.append(path)
            break
    result = []
    for number, path in enumerate(dict.fromkeys(map(os.path.realpath, found))):
        folder = scratch / f"python{number}"
        folder.mkdir()
        (folder / "python3").symlink_to(path)
        version = subprocess.run([path, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
        subprocess.run([path, "-m", "compileall", "-q", str(ROOT / "ostream")], check=True)
        result.append(Python(f"Python {version}{' (the system’s)' if number == 0 else ''}", path, str(folder)))
    return result


PACKAGES = ["ollama", "aiohttp", "llm", "llm-ollama"]


def install_peers() -> None:
    """Put what there is of other clients and filters into .bench/; who can't be had is missing on the page."""

    def attempt(*command: str, cwd: Path = PEERS) -> None:
        print("+", *command, flush=True)
        with contextlib.suppress(OSError):
            subprocess.run(command, cwd=cwd, check=False)

    PEERS.mkdir(exist_ok=True)
    if not (PEERS / "venv").exists():
        attempt(SYSTEM, "-m", "venv", "venv")
        attempt("venv/bin/pip", "install", "-q", *PACKAGES)
    if not (PEERS / "node_modules").exists():
        attempt("npm", "install", "--silent", "--no-fund", "--no-audit", "ollama")
    if not shutil.which("gojq") and not (PEERS / "gojq").exists():
        attempt("sh", "-c", "apt-get download -q gojq && dpkg -x gojq_*.deb gojq; rm -f gojq_*.deb")
    if not shutil.which("jaq") and not (PEERS / "jaq").exists():
        attempt("cargo", "install", "-q", "jaq", "--root", "jaq")
        (PEERS / "jaq").mkdir(exist_ok=True)  # not tried again


def tool(name: str) -> str | None:
    """Where a filter or client is, if it is there."""
    for folder in (PEERS / name / "usr" / "bin", PEERS / name / "bin", PEERS / "venv" / "bin"):
        if os.access(folder / name, os.X_OK):
            return str(folder / name)
    return shutil.which(name)


def peer_python() -> str:
    """The system's interpreter, where it has the other Python clients, or else this one."""
    path = PEERS / "venv" / "bin" / "python"
    return str(path) if path.exists() else sys.executable


def has_package(name: str) -> bool:
    return not subprocess.run([peer_python(), "-c", f"import {name}"], capture_output=True, check=False).returncode


def versions() -> list[str]:
    """The peers, and which are missing."""
    script = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    asked = {name: [peer_python(), "-c", script, name] for name in PACKAGES}
    asked.update({name: [tool(name) or name, "--version"] for name in ("curl", "jq", "gojq", "jaq", "node")})
    asked["npm ollama"] = ["node", "-p", f"require('{PEERS}/node_modules/ollama/package.json').version"]
    shown = []
    for name, command in asked.items():
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0]
            shown.append(
                f"{name} {next(word for word in said.replace('jq-', '').split() if word.strip('v')[0].isdigit())}"
            )
        except (OSError, subprocess.CalledProcessError, StopIteration):
            shown.append(f"{name} (missing)")
    return shown


def machine() -> str:
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "?")
    system = platform.freedesktop_os_release()["PRETTY_NAME"] if sys.version_info >= (3, 10) else platform.system()
    return f"{model}, {os.cpu_count()} cores, {system}, Linux {platform.release().partition('-')[0]}"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
