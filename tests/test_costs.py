"""Costs of a command that do not depend on time: modules loaded, system calls, memory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import FrameType

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import BIN, FILTERS, ROOT, call, environment, expect, feed, words
from tests.server import body_of, send_lines, serve
from tests.tiers import sample

LINE = (
    b'{"model":"m","created_at":"2025-01-01T00:00:00Z","message":{"role":"assistant","content":"a b"},"done":false}\n'
)
DONE = LINE.replace(b"false", b"true")

# What a filter loads of the standard library besides os and its dependencies.
THEIRS = {"__future__", "_json", "_operator", "_signal", "errno", "fcntl", "itertools", "select", "stat", "time"}
# The modules that only some filters need. With json, which loads re, a filter starts with twice the instructions.
MORE = {"stats": ["array", "datetime", "math"], "run-tools": ["collections.abc", "difflib", "json", "signal"]}


LOADED = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from ostream.__main__ import main
status = main(sys.argv[1:])
print(status, *sys.modules, file=sys.stderr)
"""


def loaded(*arguments: str, stdin: bytes = b'{"message":{"content":"a"},"done":true}\n') -> set[str]:
    """Return the modules loaded when a command ends, in an interpreter started as the launchers start it."""
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOADED, str(ROOT), *arguments],
        input=stdin,
        capture_output=True,
        check=True,
    )
    status, *modules = result.stderr.decode().splitlines()[-1].split()
    assert status == "0"
    return set(modules)


def of(*modules: str) -> set[str]:
    script = f"import os, sys, {', '.join(modules)}; print(*sys.modules)"
    argv = [sys.executable, "-I", "-S", "-c", script]
    return set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("command", FILTERS)
@pytest.mark.parametrize("file", [[], ["-w", os.devnull]], ids=["plain", "-w"])
def test_a_filter_loads_few_modules(command: str, file: list[str]) -> None:
    modules = loaded(*words(command), *file) - of(*MORE.get(command, ["stat"]))
    own = {name for name in modules if name.partition(".")[0] == "ostream"}
    assert modules - own <= THEIRS
    packages = {name.split(".")[1] for name in own if name.count(".") == 2}
    assert packages <= {"protocol", "system", "cli", "commands", "tools"}
    assert len(own) <= 25 + 3 * bool(file) + 6 * ("tools" in packages)


def test_send_loads_nothing_for_options_that_are_not_given() -> None:
    with serve(send_lines(DONE)) as server:
        modules = loaded("send", "-m", "m", "--host", server.url, "hi", stdin=b"")
    assert "urllib.request" in modules
    others = {
        name for name in modules if name.partition(".")[0] in ("batch", "recording", "storage", "tools", "installer")
    }
    if sys.version_info < (3, 10):
        modules.discard("threading")  # urllib.request loads it there
    assert not others | modules & {
        *("argparse", "difflib", "encodings.idna", "json", "stringprep", "subprocess", "threading"),
        *("traceback", "typing"),
        *("ostream.client", "ostream.stream", "ostream.types", "ostream.protocol.metrics", "ostream.protocol.text"),
        *("ostream.cli.waiting", "ostream.system.pipe_reader"),
        *(f"ostream.protocol.{name}" for name in ("accumulator", "emptiness", "http_errors", "line_pattern")),
        *(f"ostream.protocol.{name}" for name in ("response_lines", "tool_declaration")),
    }


IMPORTING_THREADS = """
import sys, threading
from ostream.__main__ import main

class Finder:
    def find_spec(self, name, path, target=None):
        in_thread = threading.current_thread() is not threading.main_thread()
        if in_thread and name not in sys.builtin_module_names:  # a builtin module needs no file and little memory
            print(name)

sys.meta_path.insert(0, Finder())
sys.exit(main(["batch", "-q", "-m", "m", "--lines", "-o", *sys.argv[1:]]))
"""


def test_the_threads_of_batch_import_nothing(tmp_path: Path) -> None:
    """An import may fail at a limit of memory or descriptors, with errors that do not name the limit."""
    (tmp_path / "rows").write_text("a\nb\n")
    with serve(send_lines(*body_of("chat-stream").splitlines(keepends=True))) as server:
        argv = [sys.executable, "-c", IMPORTING_THREADS, str(tmp_path / "answers"), str(tmp_path / "rows")]
        result = subprocess.run(
            argv, env=environment(OLLAMA_HOST=server.url), capture_output=True, timeout=60, check=False
        )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.fixture(name="strace", scope="module")
def _strace() -> str:
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace is not installed")
    tried = subprocess.run([strace, "-o", os.devnull, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.decode().strip()}")
    return strace


def calls_of(trace: Path, begin: str, end: str) -> list[str]:
    """System calls from the first that matches `begin` to the last that matches `end`, without memory calls."""
    lines = trace.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if re.match(begin, line))
    last = max(number for number, line in enumerate(lines) if re.match(end, line))
    names = [line.partition("(")[0] for line in lines[first : last + 1]]
    return [name for name in names if name not in ("brk", "mmap", "munmap", "mremap", "madvise")]


def traced(strace: str, trace: Path, *command: str) -> list[str]:
    return [strace, "-o", str(trace), sys.executable, "-I", "-S", str(BIN / command[0]), *command[1:]]


BLOCKS = 20


@pytest.mark.parametrize("command", ["extract-content", "render"])
@pytest.mark.linux
def test_a_filter_polls_reads_and_writes_once_per_block(command: str, strace: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    argv = traced(strace, trace, command)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as process:
        for _ in range(BLOCKS):
            feed(process, LINE * 3)
            expect(process.stdout, b"a b" * 3)
        process.communicate(DONE)
    calls = calls_of(trace, r"write\(1, ", r"read\(0, ")
    # From the first write: the remaining blocks, the last block, and end of input.
    block = ["poll", "read", "write"]
    assert [name.replace("ppoll", "poll") for name in calls] == ["write", *block * BLOCKS, "poll", "read"]


@pytest.mark.linux
def test_a_filter_reads_and_writes_once_per_block_of_a_file(strace: str, tmp_path: Path) -> None:
    trace, file = tmp_path / "trace", tmp_path / "file"
    file.write_bytes(LINE * 20_000 + DONE)
    with file.open("rb") as stdin:
        subprocess.run(traced(strace, trace, "extract-content"), stdin=stdin, capture_output=True, check=True)
    calls = calls_of(trace, r"read\(0, ", r"read\(0, ")
    assert calls == ["read", "write"] * (len(calls) // 2) + ["read"]
    assert len(calls) // 2 <= file.stat().st_size / (8 << 10)


@pytest.mark.linux
def test_send_polls_receives_and_writes_once_per_http_chunk(strace: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    read, write = os.pipe()

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        for _ in range(BLOCKS):
            exchange.chunk(LINE)
            os.read(read, 1)  # until the output has been read
        exchange.chunk(DONE)
        exchange.end()

    with serve(respond) as server:
        argv = traced(strace, trace, "send", "-m", "m", "--host", server.url, "hi")
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment()) as process:
            for _ in range(BLOCKS):
                expect(process.stdout, LINE)
                os.write(write, b".")
            process.communicate()
    os.close(read)
    os.close(write)
    calls = calls_of(trace, r"write\(1, ", r"write\(1, ")
    assert calls == ["write"] + ["poll", "recvfrom", "write"] * BLOCKS
    assert len(re.findall("^sendto", trace.read_text(), re.MULTILINE)) == 1  # header and body in one call


PEAK = """
import sys, tracemalloc
sys.path.append(sys.argv.pop(1))
from ostream.__main__ import main
tracemalloc.start()
status = main(sys.argv[1:])
print(status, tracemalloc.get_traced_memory()[1], file=sys.stderr)
"""


def peak(responses: int, file: Path, *command: str) -> int:
    """Peak bytes allocated on a stream of this many short responses, in a file: its blocks all have the same size."""
    file.write_bytes((LINE * 9 + DONE) * responses)
    argv = [sys.executable, "-I", "-S", "-c", PEAK, str(ROOT), *command, str(file)]
    done = subprocess.run(argv, capture_output=True, check=True, env=environment())
    status, allocated = done.stderr.split()[-2:]
    assert status == b"0"
    return int(allocated)


@pytest.mark.parametrize("arguments", sample([[], ["-w", os.devnull]], 2), ids=["plain", "-w"])
@pytest.mark.parametrize("command", sample(FILTERS, ["extract-content", "stats"]))
def test_memory_does_not_grow_with_the_stream(command: str, arguments: list[str], tmp_path: Path) -> None:
    short, long = (peak(responses, tmp_path / "in", *words(command, *arguments)) for responses in (100, 600))
    # stats keeps a few numbers of each response for its summary.
    assert long - short < 128 << 10


def python_calls(chunks: int, file: Path, *command: str) -> int:
    count = 0
    file.write_bytes((LINE * chunks + DONE).replace(b":00Z", b":00.5Z"))

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call" and f"{os.sep}ostream{os.sep}" in frame.f_code.co_filename

    sys.setprofile(profile)
    try:
        assert call(*command, file).returncode == 0
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("command", ["extract-content", "collect", "render", "stats", "render --stats"])
def test_python_calls_per_chunk(command: str, tmp_path: Path) -> None:
    few, many = (python_calls(chunks, tmp_path / "in", *command.split()) for chunks in (1000, 11_000))
    # Blocks of ordinary chunks are handled by functions in C.
    assert (many - few) / 10_000 < 0.3
