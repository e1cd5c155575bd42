"""Commands run as real processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import resource
import select
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import tty
from pathlib import Path
from typing import IO, Any, Iterator
from unittest import mock

from ostream.__main__ import COMMANDS, main

ROOT = Path(__file__).parent.parent
BIN = ROOT / "bin"
# Behind an & or under nohup the commands would inherit ignored signals, and never end by them.
for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

WRAPPERS = [name for name, (kind, _) in COMMANDS.items() if kind == "wrapper"]
FILTERS = [name for name, (kind, _) in COMMANDS.items() if kind == "filter"]
SOURCES = [name for name, (kind, _) in COMMANDS.items() if kind == "source"]
TOOLS = ROOT / "tests" / "executables"
# What a filter can't do without; `run`, `start` and `call` add it.
_NEEDED = {"run-tools": ["-t", str(TOOLS)]}


def words(command: str, *arguments: str | Path) -> list[str]:
    """A command and its arguments, with those it can't do without."""
    given = [str(argument) for argument in arguments]
    return [command, *(_NEEDED.get(command, []) if "-t" not in given else []), *given]


def quoted(command: str) -> str:
    """The same for sh."""
    return shlex.join(words(command))


def environment(**changes: str) -> dict[str, str]:
    """The environment of a command under test: ours, less what would steer it, with the launchers on PATH.

    `python3` is the interpreter that runs the tests.
    """
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    for name in ("OLLAMA_HOST", "OLLAMA_MODEL", "OLLAMA_API_KEY", "NO_COLOR", "REQUEST_METHOD"):
        kept.pop(name, None)
    kept["PATH"] = os.pathsep.join([str(BIN), str(Path(sys.executable).parent), kept.get("PATH", "")])
    kept["PYTHONPATH"] = str(ROOT)
    return {**kept, **changes}


def run(
    command: str, *arguments: str | Path, stdin: bytes | None = b"", timeout: float = 60, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run one command; stdout and stderr are bytes. Keyword `env` adds to the environment."""
    env = environment(**options.pop("env", {}))
    return subprocess.run(
        [sys.executable, "-m", "ostream", *words(command, *arguments)],
        input=stdin,
        capture_output=True,
        timeout=timeout,
        env=env,
        check=False,
        **options,
    )


class Process(subprocess.Popen):  # type: ignore[type-arg]
    """Left by a failure it is killed, or leaving would wait for its end."""

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind:
            self.kill()
        super().__exit__(kind, value, traceback)


def start(command: str, *arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start one command, its three descriptors pipes unless `options` say otherwise."""
    env = environment(**options.pop("env", {}))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return Process([sys.executable, "-m", "ostream", *words(command, *arguments)], env=env, **{**pipes, **options})


def sh(
    script: str, *, stdin: bytes | None = b"", timeout: float = 60, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run a script under plain sh, with the launchers on PATH."""
    env = environment(**options.pop("env", {}))
    return subprocess.run(
        ["sh", "-c", script], input=stdin, capture_output=True, timeout=timeout, env=env, check=False, **options
    )


def call(
    command: str, *arguments: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """As `run`, but inside this process and so in no time: for what does not depend on being a process.

    Its stdin is a pipe, the other two descriptors are files.
    """
    argv = words(command, *arguments)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with _descriptors(stdin) as outputs, mock.patch.dict(os.environ, environment(**(env or {})), clear=True):
            status = main(argv)
            for file in outputs:
                file.seek(0)
            return subprocess.CompletedProcess(argv, status, *(file.read() for file in outputs))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: as on a full disk, a write is short, and the next one fails.

    To be entered in a test, not around it: pytest's own output may be a file.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def _descriptors(stdin: bytes) -> Iterator[list[IO[bytes]]]:
    with contextlib.ExitStack() as stack:
        reader, writer = os.pipe()
        feeder = threading.Thread(target=_feed, args=(writer, stdin))
        stack.callback(feeder.join)  # after standard input is what it was: then nobody reads the pipe any more
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)]
        for fd, new in enumerate((reader, *(file.fileno() for file in outputs))):
            saved = os.dup(fd)
            stack.callback(os.close, saved)
            stack.callback(os.dup2, saved, fd)
            os.dup2(new, fd)
        os.close(reader)
        feeder.start()
        yield outputs


def _feed(fd: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(fd, "wb") as pipe:
        pipe.write(data)


def expect(pipe: IO[bytes] | None, expected: bytes) -> None:
    """These bytes come out of a pipe that may stay open."""
    assert pipe
    received = b""
    while len(received) < len(expected):
        assert select.select([pipe], [], [], 30)[0], f"nothing more after {received!r}"
        block = os.read(pipe.fileno(), len(expected) - len(received))
        assert block, f"the end after {received!r}"
        received += block
    assert received == expected


def end_of(process: subprocess.Popen[bytes], timeout: float = 30) -> int:
    """The exit status of a process that ends by itself; its pipes are closed."""
    with process:
        return process.wait(timeout)


class Terminal:
    """A pseudo-terminal that changes nothing, for some of a command's descriptors: `on` names them, apart by spaces.
    `screen` is its other side."""

    def __init__(
        self, command: str, *arguments: str | Path, on: str = "stdout", columns: int = 0, **options: Any
    ) -> None:
        self.screen, self.slave = pty.openpty()
        tty.setraw(self.slave)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        env = {"TERM": "xterm", **options.pop("env", {})}
        self.process = start(command, *arguments, env=env, **{**options, **dict.fromkeys(on.split(), self.slave)})

    def communicate(self, stdin: bytes = b"") -> tuple[str, str, str]:
        """What the terminal shows, and what came out of the other pipes."""
        shown: list[bytes] = []
        reader = threading.Thread(target=self._read, args=(shown,))
        reader.start()
        stdout, stderr = self.process.communicate(stdin, timeout=60)
        os.close(self.slave)
        reader.join()
        os.close(self.screen)
        return b"".join(shown).decode(), (stdout or b"").decode(), (stderr or b"").decode()

    def _read(self, shown: list[bytes]) -> None:
        try:
            shown.extend(iter(lambda: os.read(self.screen, 1 << 16), b""))
        except OSError:
            pass  # EIO: Linux says so when the last writer has closed it

    def show(self, expected: bytes) -> bytes:
        """What is shown up to and with these bytes; they must come."""
        shown = b""
        while expected not in shown:
            assert select.select([self.screen], [], [], 30)[0], f"nothing more after {shown!r}"
            shown += os.read(self.screen, 1 << 16)
        return shown
