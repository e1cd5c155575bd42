"""Run the COMMAND of `record` or `replay` as a client of their server, or serve until a signal arrives."""

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

# The signals of the terminal's keys Ctrl-C and Ctrl-\. The terminal sends them to all processes in the foreground.
_FROM_KEYS = (signal.SIGINT, signal.SIGQUIT)
# The signals that end a process and can be handled, except those that report a fault of the process itself.
_TERMINATING = (*_FROM_KEYS, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)
# Seconds between two checks for a signal. One that arrives just before poll() begins to wait does not end the wait.
_SIGNAL_CHECK_S = 1.0


def child_environment(server: Server, model: str | None = None) -> dict[str, str]:
    """Return the environment for COMMAND: a copy of this process's environment, changed so that clients use `server`.

    OLLAMA_MODEL is set to `model`, if that is given and if the variable is unset or empty.
    """
    environment = {**os.environ, **server.environment(os.environ)}
    if model and not environment.get("OLLAMA_MODEL"):
        environment["OLLAMA_MODEL"] = model
    return environment


def run_command(command: list[str], environment: dict[str, str]) -> int:
    """Run COMMAND, forward signals to it, and return its exit status.

    If a signal ended COMMAND, the negative number of that signal is returned. Raises RequestError if COMMAND can't be
    started.
    """
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        if number in _FROM_KEYS and _in_foreground():
            return  # the terminal has sent the signal to COMMAND too
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    for number in _catchable_signals():
        signal.signal(number, pass_on)
    try:
        # close_fds=False: COMMAND gets the descriptors that this process inherited, such as /dev/fd/3. Descriptors
        # that this process opened are not inheritable.
        process = subprocess.Popen(command, env=environment, close_fds=False)
    except OSError as error:
        raise RequestError(f"{command[0]}: {reason(error)}") from None
    for signaled in early:
        process.send_signal(signaled)
    if os.getpid() == 1 and hasattr(os, "waitid"):
        _reap_orphans(process.pid)
    return process.wait()


def exit_like(status: int) -> int:
    """Return `status` if it is 0 or more. A negative `status` is a signal number: end this process with that signal."""
    if status < 0:
        exit_by_signal(-status)
    return status


class _Terminated(Exception):
    """Raised when a signal asks this process to end; the argument is the signal number."""


def serve(url: str, what: str, diagnostics: Diagnostics) -> int:
    """Print `url` on stdout, wait for one of the signals _TERMINATING, and return the negative number of that signal.

    `what` describes the work of this process in a note on stderr, for example "serving 3 recordings".
    """

    def end(number: int, _frame: object) -> None:
        for each in _catchable_signals():
            signal.signal(each, signal.SIG_DFL)  # a second signal ends the process at once
        raise _Terminated(number)

    # This process has no child to wait for. If it is process 1 of a container, it inherits orphaned processes; with
    # SIGCHLD ignored, the kernel reaps them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        for number in _catchable_signals():
            signal.signal(number, end)
        diagnostics.note(f"{what}; set OLLAMA_HOST to the printed address; stop with Ctrl-C")
        Output(1, "standard output").write_text(f"{url}\n")
        while True:
            wait_ready(None, 0, left_s=lambda: _SIGNAL_CHECK_S)
    except _Terminated as terminated:
        return -int(terminated.args[0])


def _catchable_signals() -> list[signal.Signals]:
    """Return the signals of _TERMINATING that this process does not ignore."""
    return [number for number in _TERMINATING if signal.getsignal(number) is not signal.SIG_IGN]


def _in_foreground() -> bool:
    """Return True if this process group is in the foreground, so that the terminal sends it SIGINT and SIGQUIT."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


def _reap_orphans(pid: int) -> None:
    """Reap orphaned processes, as process 1 of a container must, until the process `pid` has ended."""
    while True:
        # WNOWAIT keeps the zombie of COMMAND, so that Popen.wait can still read the exit status.
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if ended is None or ended.si_pid == pid:
            return
        os.waitpid(ended.si_pid, 0)
