"""Run one tool in its own session, with limits on its time and output. The tool is killed when the caller ends.

A guard process starts the tool and leads its process group. The guard has the read end of a pipe that only the caller
can write to. When the caller ends, even by SIGKILL, the kernel closes that pipe, and the guard kills the complete
process group. The caller therefore needs neither signal handlers nor a thread. Processes that the tool has started are
killed too, unless they have moved to another session or user.
"""

from __future__ import annotations

import errno
import os
import signal
import time

from ostream.system.polling import READABLE, WRITABLE, pollable_or_none, wait_any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import Popen
    from typing import NoReturn

# The only environment variables that a tool gets. API keys and the address of the server are not passed.
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
TIME_S = 30.0
BYTES = 1 << 20
# At most this many bytes of a tool's stderr are shown to the user. The rest is read and dropped.
STDERR_BYTES = 8 << 10
BLOCK = 64 << 10

# Signals that the guard does not handle. SIGKILL and SIGSTOP can't be handled. After the other four, which report a
# fault, a handler would return to the instruction that failed.
_UNHANDLED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
# The guard reports a successful start as these four zero bytes, and a failed start as an errno in four bytes.
_STARTED = bytes(4)


class ToolResult:
    """The result of one run.

    Attributes:
        answer: the text for the model: the tool's standard output, or a description of its failure.
        stderr: the tool's standard error, for the user.
    """

    def __init__(self, answer: str, stderr: bytes) -> None:
        self.answer = answer
        self.stderr = stderr.decode("utf-8", "replace")


def run_tool(path: str, stdin: bytes, time_s: float = TIME_S, limit: int = BYTES) -> ToolResult:
    """Run an executable without arguments and return its result.

    Arguments:
        path: the executable.
        stdin: the bytes for its standard input.
        time_s: the maximum running time, in seconds.
        limit: the maximum size of its standard output, in bytes.

    Raises OSError if the executable can't be started, and ReaderGone if the program that reads our standard output
    closes the pipe.
    """
    tool = ToolProcess(path, stdin)
    try:
        failure = tool.communicate(time_s, limit)
    finally:
        tool.close()
    return ToolResult(failure or tool.answer(), bytes(tool.stderr))


class ToolProcess:
    """A running tool and its guard process. Raises OSError if the tool can't be started."""

    def __init__(self, path: str, stdin: bytes) -> None:
        from subprocess import Popen  # before the fork, so that the guards need not load it

        self._unsent = memoryview(stdin)
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._status = b""
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        guard_fds: list[int] = []
        self._fds: list[int] = []
        try:
            for is_input in (True, False, False, True, False):
                reader, writer = os.pipe()
                guard_fds.append(reader if is_input else writer)
                self._fds.append(writer if is_input else reader)
            self._pid = _fork()
            if not self._pid:
                _run_guard(Popen, path, environment, guard_fds, self._fds)
        except OSError:
            self._close_fds()
            raise
        finally:
            for fd in guard_fds:
                os.close(fd)
        self._stdin, self._stdout, self._stderr, self._lifeline, self._report = self._fds
        # If the tool has already killed the guard, this reads b"", and the number is 0.
        number = int.from_bytes(os.read(self._report, 4), "big")
        if number:
            self.close()
            raise OSError(number, os.strerror(number), path)

    def communicate(self, time_s: float, limit: int) -> str:
        """Write the tool's input and read its output until it ends or reaches a limit.

        `time_s` is the maximum time in seconds, `limit` the maximum size of standard output in bytes. Return "" if the
        tool ended, or a description for the model if it reached a limit. Raises ReaderGone.
        """
        os.set_blocking(self._stdin, False)
        events = {self._stdin: WRITABLE, self._stdout: READABLE, self._stderr: READABLE, self._report: READABLE}
        deadline = time.monotonic() + time_s
        while True:
            ready = wait_any(events, pollable_or_none(1), lambda: deadline - time.monotonic())
            if not ready:
                return f"error: the tool did not end within {time_s:g} s"
            if self._stdin in ready and not self._write():
                del events[self._stdin]
                os.close(self._stdin)
                self._fds.remove(self._stdin)
            for fd, received in ((self._stdout, self.stdout), (self._stderr, self.stderr)):
                if fd in ready:
                    block = os.read(fd, BLOCK)
                    received += block
                    if not block:
                        del events[fd]
            del self.stderr[STDERR_BYTES:]
            if len(self.stdout) > limit:
                return f"error: the tool wrote more than {limit:,} bytes"
            if ready == [self._report]:
                # No other descriptor is ready, so everything that the tool wrote before its end has been read.
                self._status = os.read(self._report, 16)
                return ""

    def _write(self) -> bool:
        """Write as much input as fits in the pipe now. Return True if there is more to write."""
        try:
            self._unsent = self._unsent[os.write(self._stdin, self._unsent) :]
        except BrokenPipeError:
            return False
        return bool(self._unsent)

    def close(self) -> None:
        """Kill all remaining processes of the tool's process group, and close the descriptors."""
        # When the lifeline closes, the guard kills the group. If the tool has stopped the guard, only killpg() works.
        self._close_fds()
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except OSError:
            pass  # the guard has not called setsid yet, or (macOS) only zombies are left
        _, status = os.waitpid(self._pid, 0)
        if not self._status:  # the guard was killed together with the tool, for example by 'kill -9 0'
            self._status = b"%d" % -os.WTERMSIG(status)

    def _close_fds(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def answer(self) -> str:
        """Return the text for the model. Call this after close().

        The text is the tool's standard output. If the tool failed, the exit status or signal comes first, and the
        standard error comes last.
        """
        status = int(self._status)
        text = self.stdout.decode("utf-8", "replace")
        if not status:
            return text
        failure = f"exit {status}" if status > 0 else f"ended by signal {-status}"
        return f"{failure}: {text}{self.stderr.decode('utf-8', 'replace')}".strip()


def _fork() -> int:
    import warnings

    with warnings.catch_warnings():
        # Python 3.12 warns about a fork if there are other threads: the child could deadlock on a lock that one of them
        # holds. This child only starts the tool and waits.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _run_guard(
    start: type[Popen[bytes]], path: str, environment: dict[str, str], fds: list[int], parent_fds: list[int]
) -> NoReturn:
    """Run the guard process. At its end it kills its process group, which includes the guard itself."""
    try:
        os.setsid()
        for fd in parent_fds:
            os.close(fd)
        try:
            _guard_tool(start, path, environment, *fds)
        finally:
            os.kill(0, signal.SIGKILL)
    finally:
        os._exit(1)


def _guard_tool(
    start: type[Popen[bytes]],
    path: str,
    environment: dict[str, str],
    stdin: int,
    stdout: int,
    stderr: int,
    lifeline: int,
    report: int,
) -> None:
    """Start a tool, report its start and its end, and return when `lifeline` is closed.

    The guard writes to `report` twice: 4 bytes at the start (0, or the errno of a failed start), and the exit status in
    decimal when the tool has ended. As in subprocess, -N means signal N.
    """
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer)
    # The guard must survive when the tool sends a signal to its own process group ('kill 0' in a trap).
    for number in signal.valid_signals() - _UNHANDLED:
        if number == signal.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _ignore)
    # The caller may have blocked signals. The guard needs SIGCHLD, and the tool would inherit the mask.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        tool = start([path], stdin=stdin, stdout=stdout, stderr=stderr, env=environment)
    except OSError as error:
        os.write(report, (error.errno or errno.EIO).to_bytes(4, "big"))
        return
    # The caller sees the end of the tool's output only when all processes have closed these descriptors.
    for fd in (stdin, stdout, stderr):
        os.close(fd)
    os.write(report, _STARTED)
    running = True
    while lifeline not in wait_any({lifeline: READABLE, wake_reader: READABLE}):
        os.read(wake_reader, BLOCK)
        if running and tool.poll() is not None:
            os.write(report, b"%d" % tool.returncode)
            running = False


def _ignore(number: int, frame: object) -> None:
    """Do nothing. SIG_IGN would be inherited by the tool; a handler is not, because exec resets it to the default."""
