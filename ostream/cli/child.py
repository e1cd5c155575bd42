"""Run the command of `record` and `replay` with the environment of their server, or serve until interrupted."""

from __future__ import annotations

import os
import signal
import subprocess

from ostream.errors import RequestError, reason
from ostream.system.diagnostics import Diagnostics
from ostream.system.output import Output
from ostream.system.polling import wait_ready
from ostream.system.process import exit_by_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.recording.http_server import Server

# The signals that ask a process to end. A terminal sends SIGINT and SIGHUP to all its processes.
_TERMINATING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def child_environment(server: Server, model: str | None = None) -> dict[str, str]:
    """Return the environment of COMMAND: that of this process, with `server`, and with `model` if none is set."""
    environment = {**os.environ, **server.environment(os.environ)}
    if model and not environment.get("OLLAMA_MODEL"):
        environment["OLLAMA_MODEL"] = model
    return environment


def run_command(command: list[str], environment: dict[str, str]) -> int:
    """Run COMMAND and pass signals on to it. Return its exit status, or the negative number of its signal."""
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        if number == signal.SIGINT and _in_foreground():
            return  # the terminal sent Ctrl-C to COMMAND too
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    for number in _catchable_signals():
        signal.signal(number, pass_on)
    try:
        # Descriptors opened here are not inheritable; those inherited by this process are meant for COMMAND.
        process = subprocess.Popen(command, env=environment, close_fds=False)
    except OSError as error:
        raise RequestError(f"{command[0]}: {reason(error)}") from None
    for signaled in early:
        process.send_signal(signaled)
    if os.getpid() == 1:
        _reap_orphans(process.pid)
    return process.wait()


def exit_like(status: int) -> int:
    """Return the status of COMMAND; if a signal ended it, end this process by the same signal instead."""
    if status < 0:
        exit_by_signal(-status)
    return status


class _Terminated(Exception):
    """A signal that asks the process to end; its number is the argument."""


def serve(url: str, what: str, diagnostics: Diagnostics) -> int:
    """Print the URL of the server, and wait for a signal. Return its negative number."""

    def end(number: int, _frame: object) -> None:
        for each in _catchable_signals():
            signal.signal(each, signal.SIG_DFL)  # a second signal ends the process at once
        raise _Terminated(number)

    # There is no child to wait for. As process 1 of a container, let the kernel reap orphans.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        for number in _catchable_signals():
            signal.signal(number, end)
        diagnostics.note(f"{what}; stop with Ctrl-C")
        Output(1, "standard output").write_text(f"{url}\n")
        while True:
            wait_ready(None, 0)
    except _Terminated as terminated:
        return -int(terminated.args[0])


def _catchable_signals() -> list[signal.Signals]:
    """Return the terminating signals that are not ignored."""
    return [number for number in _TERMINATING if signal.getsignal(number) is not signal.SIG_IGN]


def _in_foreground() -> bool:
    """True if this process group gets the signals of the terminal's keys."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


def _reap_orphans(pid: int) -> None:
    """As process 1 of a container, reap orphans until the process `pid` has ended."""
    while True:
        # WNOWAIT keeps COMMAND waitable, so that Popen.wait gets its status.
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if ended is None or ended.si_pid == pid:
            return
        os.waitpid(ended.si_pid, 0)
