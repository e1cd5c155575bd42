"""Run commands, as processes or inside this one, and read what they print."""

from __future__ import annotations

import contextlib
import fcntl
import functools
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
from ostream.system.input import unlock_input

ROOT = Path(__file__).parent.parent
BIN = ROOT / "bin"
# Under nohup or after &, commands would inherit ignored signals.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

WRAPPERS = [name for name, (kind, _) in COMMANDS.items() if kind == "wrapper"]
FILTERS = [name for name, (kind, _) in COMMANDS.items() if kind == "filter"]
SOURCES = [name for name, (kind, _) in COMMANDS.items() if kind == "source"]
TOOLS = ROOT / "tests" / "executables"
# Required arguments; `run`, `start` and `call` add them.
_NEEDED = {"run-tools": ["-t", str(TOOLS)]}


def words(command: str, *arguments: str | Path) -> list[str]:
    """A command line with its required arguments."""
    given = [str(argument) for argument in arguments]
    return [command, *(_NEEDED.get(command, []) if "-t" not in given else []), *given]


def quoted(command: str) -> str:
    """The same, quoted for sh."""
    return shlex.join(words(command))


def environment(**changes: str) -> dict[str, str]:
    """The environment of a command under test: this one without variables that affect it, and with bin/ on PATH.

    `python3` is the interpreter that runs the tests.
    """
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    for name in ("OLLAMA_HOST", "OLLAMA_MODEL", "OLLAMA_API_KEY", "NO_COLOR", "REQUEST_METHOD"):
        kept.pop(name, None)
    kept["PATH"] = os.pathsep.join([str(BIN), str(Path(sys.executable).parent), kept.get("PATH", "")])
    kept["PYTHONPATH"] = str(ROOT)
    if sys.platform == "xnu":
        shim = ROOT / "tests" / "shims" / "xnu"
        kept["PATH"] = f"{shim / 'bin'}{os.pathsep}{kept['PATH']}"
        kept["PYTHONPATH"] = f"{shim}{os.pathsep}{kept['PYTHONPATH']}"
    return {**kept, **changes}


@functools.lru_cache(maxsize=None)
def unshare(options: str) -> list[str]:
    """Prefix that creates such namespaces; empty if that is not permitted."""
    wrapper = ["unshare", *options.split()]
    try:
        if not subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
            return wrapper
    except FileNotFoundError:
        pass
    return []


def run(
    command: str, *arguments: str | Path, stdin: bytes | None = b"", timeout: float = 300, **options: Any
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
    """A process that is killed when its `with` block fails, so that the block does not wait for it."""

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
    script: str, *, stdin: bytes | None = b"", timeout: float = 300, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run a script under plain sh, with the launchers on PATH."""
    env = environment(**options.pop("env", {}))
    return subprocess.run(
        ["sh", "-c", script], input=stdin, capture_output=True, timeout=timeout, env=env, check=False, **options
    )


def call(
    command: str,
    *arguments: str | Path,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    terminal: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Like `run`, but inside this process, which is much faster.

    stdin is a pipe. stdout and stderr are files or, with `terminal`, one terminal whose output is returned as stdout.
    """
    argv = words(command, *arguments)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    variables = environment(**({"TERM": "xterm"} if terminal else {}), **(env or {}))
    try:
        with mock.patch.dict(os.environ, variables, clear=True), _descriptors(stdin, terminal) as outputs:
            try:
                status = main(argv)
            finally:
                unlock_input()  # or the pipe would keep its reader
        return subprocess.CompletedProcess(argv, status, *outputs)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """Limit file sizes, to simulate a full disk: a write is short, and the next one fails.

    Enter it inside a test, since pytest's own output may be a file. Python would write truncated bytecode files.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with mock.patch.object(sys, "dont_write_bytecode", True):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def _descriptors(stdin: bytes, terminal: bool) -> Iterator[list[bytes]]:
    """Replace descriptors 0 to 2 and collect what is written to 1 and 2."""
    outputs: list[bytes] = []
    with contextlib.ExitStack() as stack:
        reader, writer = os.pipe()
        feeder = threading.Thread(target=_feed, args=(writer, stdin))
        stack.callback(feeder.join)  # once descriptor 0 is restored and nothing reads the pipe
        if terminal:
            screen, slave = pty.openpty()
            tty.setraw(slave)
            shown: list[bytes] = []
            watcher = threading.Thread(target=_read_terminal, args=(screen, shown))
            stack.callback(lambda: (watcher.join(), os.close(screen), outputs.extend([b"".join(shown), b""])))
            new = [reader, slave, os.dup(slave)]
        else:
            files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)]
            stack.callback(lambda: [(file.seek(0), outputs.append(file.read())) for file in files])
            new = [reader, *(os.dup(file.fileno()) for file in files)]
        for fd, other in enumerate(new):
            saved = os.dup(fd)
            stack.callback(os.close, saved)
            stack.callback(os.dup2, saved, fd)
            os.dup2(other, fd)
            os.close(other)
        feeder.start()
        if terminal:
            watcher.start()
        yield outputs


def _read_terminal(screen: int, shown: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # Linux reports the close of the last writer as EIO
        shown.extend(iter(lambda: os.read(screen, 1 << 16), b""))


def _feed(fd: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(fd, "wb") as pipe:
        pipe.write(data)


def feed(process: Any, data: bytes) -> None:
    """Write to the standard input of a process at once."""
    process.stdin.write(data)
    process.stdin.flush()


def expect(pipe: IO[bytes] | None, expected: bytes) -> None:
    """Read exactly these bytes from a pipe."""
    assert pipe
    received = b""
    while len(received) < len(expected):
        assert select.select([pipe], [], [], 120)[0], f"nothing more after {received!r}"
        block = os.read(pipe.fileno(), len(expected) - len(received))
        assert block, f"the end after {received!r}"
        received += block
    assert received == expected


def end_of(process: subprocess.Popen[bytes], timeout: float = 120) -> int:
    """Wait for a process, close its pipes and return its exit status."""
    with process:
        return process.wait(timeout)


class Terminal:
    """A command on a raw pseudo-terminal. `on` names the descriptors connected to it; `screen` is the other side."""

    def __init__(
        self, command: str, *arguments: str | Path, on: str = "stdout", columns: int = 0, **options: Any
    ) -> None:
        self.screen, self.slave = pty.openpty()
        tty.setraw(self.slave)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        env = {"TERM": "xterm", **options.pop("env", {})}
        self.process = start(command, *arguments, env=env, **{**options, **dict.fromkeys(on.split(), self.slave)})

    def communicate(self, stdin: bytes = b"") -> tuple[str, str, str]:
        """Return the output on the terminal, then stdout and stderr."""
        shown: list[bytes] = []
        reader = threading.Thread(target=_read_terminal, args=(self.screen, shown))
        reader.start()
        stdout, stderr = self.process.communicate(stdin, timeout=120)
        os.close(self.slave)
        reader.join()
        os.close(self.screen)
        return b"".join(shown).decode(), (stdout or b"").decode(), (stderr or b"").decode()

    def show(self, expected: bytes) -> bytes:
        """Read from the terminal up to and including these bytes."""
        shown = b""
        while expected not in shown:
            assert select.select([self.screen], [], [], 120)[0], f"nothing more after {shown!r}"
            shown += os.read(self.screen, 1 << 16)
        return shown
