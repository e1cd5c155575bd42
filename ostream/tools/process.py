"""One run of a tool: bounded in time and output, alone in its session, and gone when it is over.

Its first process counts: when that has ended, what it started and left behind is killed, and can't hold us up.
"""

from __future__ import annotations

import os
import signal
import time

from ostream.system.polling import READABLE, WRITABLE, pollable_or_none, wait_any
from ostream.system.process import exit_by_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

# All that a tool sees of our environment: no key, no address.
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
TIME_S = 30.0
BYTES = 1 << 20
# What a tool says on stderr is for a person to read; more than this is read and dropped.
STDERR_BYTES = 8 << 10
BLOCK = 64 << 10


class ToolResult:
    """`answer` is what the tool wrote, or what went wrong, in words for a model; `stderr` what it said there."""

    def __init__(self, answer: str, stderr: bytes) -> None:
        self.answer = answer
        self.stderr = stderr.decode("utf-8", "replace")


def run_tool(path: str, stdin: bytes, time_s: float = TIME_S, limit: int = BYTES) -> ToolResult:
    """Run an executable without arguments. Raises OSError when it can't be started, ReaderGone when nobody reads our
    standard output any more."""
    run: ToolProcess | None = None
    early: list[int] = []

    def die_both(number: int, _frame: object) -> None:
        """A signal that ends us; in its session, the tool does not get it."""
        if run is None:
            early.append(number)  # it is just being started
        else:
            run.kill()
            exit_by_signal(number)

    handlers: dict[int, Any] = {}
    number: int
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            handlers[number] = signal.signal(number, die_both)
    try:
        run = ToolProcess(path, stdin)
        try:
            for number in early:
                die_both(number, None)
            failure = run.follow(time_s, limit)
        finally:
            run.end()
        return ToolResult(failure or run.answer(), bytes(run.stderr))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class ToolProcess:
    def __init__(self, path: str, stdin: bytes) -> None:
        import subprocess
        import threading

        from ostream.system.wakeup import Wakeup

        self._left = memoryview(stdin)
        self.stdout = bytearray()
        self.stderr = bytearray()
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [path], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=environment, start_new_session=True
        )
        # poll() cannot wait for a process, but for an event that a thread sets when the process ends.
        self._ended = Wakeup()
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._waiter.start()

    @property
    def _pipes(self) -> list[IO[bytes]]:
        process = self._process
        assert process.stdin and process.stdout and process.stderr
        return [process.stdin, process.stdout, process.stderr]

    def follow(self, time_s: float, limit: int) -> str:
        """Give it its input and take its output, until its end or a limit; what went wrong, in words."""
        give, take, listen = (pipe.fileno() for pipe in self._pipes)
        os.set_blocking(give, False)
        events = {give: WRITABLE, take: READABLE, listen: READABLE, self._ended.fileno(): READABLE}
        deadline = time.monotonic() + time_s
        while True:
            ready = wait_any(events, pollable_or_none(1), lambda: deadline - time.monotonic())
            if not ready:
                return f"error: no end within {time_s:g} s"
            if give in ready and not self._write(give):
                del events[give]
                self._pipes[0].close()
            for fd, taken in ((take, self.stdout), (listen, self.stderr)):
                if fd in ready:
                    block = os.read(fd, BLOCK)
                    taken += block
                    if not block:
                        del events[fd]
            del self.stderr[STDERR_BYTES:]
            if len(self.stdout) > limit:
                return f"error: more than {limit:,} bytes of output"
            if ready == [self._ended.fileno()]:
                return ""

    def _wait(self) -> None:
        """Set the event when the process has ended."""
        if hasattr(os, "waitid"):
            # WNOWAIT keeps the zombie, so its pid cannot be reused before killpg.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:
            # macOS before Python 3.13. The pid of a process group that has members is not reused either.
            self._process.wait()
        self._ended.wake()

    def _write(self, fd: int) -> bool:
        """Write what it takes now; is there more to write?"""
        try:
            self._left = self._left[os.write(fd, self._left) :]
        except BrokenPipeError:
            return False  # it does not want to know
        return bool(self._left)

    def kill(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except OSError:
            pass  # a tool that became another user

    def end(self) -> None:
        """Kill what is left of it, and let go of everything."""
        self.kill()
        self._waiter.join()
        self._process.wait()
        self._ended.close()
        for pipe in self._pipes:
            pipe.close()

    def answer(self) -> str:
        """What it wrote, behind how it failed, if it did."""
        status = self._process.returncode
        text = self.stdout.decode("utf-8", "replace")
        if not status:
            return text
        how = f"exit {status}" if status > 0 else f"ended by signal {-status}"
        return f"{how}: {text}{self.stderr.decode('utf-8', 'replace')}".strip()
