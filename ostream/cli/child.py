"""What `record` and `replay` share: a command that runs against a server of ours, and the wait when there is none."""

from __future__ import annotations

import os
import signal
import subprocess

from ostream.errors import RequestError, reason
from ostream.system.diagnostics import Diagnostics
from ostream.system.output import Output
from ostream.system.polling import wait_ready
from ostream.system.process import exit_by_signal

# What asks a process to end. A terminal sends the first and the last to all that run on it.
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def child_environment(url: str, model: str | None = None) -> dict[str, str]:
    """Our environment, with this server for an Ollama client to ask, past any proxy."""
    changed = {**os.environ, "OLLAMA_HOST": url}
    if model and not changed.get("OLLAMA_MODEL"):
        changed["OLLAMA_MODEL"] = model
    for name in ("no_proxy", "NO_PROXY"):
        changed[name] = ",".join(filter(None, (changed.get(name), "127.0.0.1")))
    return changed


def run_command(command: list[str], environment: dict[str, str]) -> int:
    """Run COMMAND and pass signals on to it; its exit status, or the number of its signal, negative."""
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        if number == signal.SIGINT and _in_foreground():
            return  # the terminal's Ctrl-C has reached COMMAND by itself
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    for number in _catchable_signals():
        signal.signal(number, pass_on)
    try:
        # What we opened is not inheritable; what we were given is meant for COMMAND.
        process = subprocess.Popen(command, env=environment, close_fds=False)
    except OSError as error:
        raise RequestError(f"{command[0]}: {reason(error)}") from None
    for signaled in early:
        process.send_signal(signaled)
    if os.getpid() == 1:
        _reap_orphans(process.pid)
    return process.wait()


def exit_like(status: int) -> int:
    """The status of COMMAND as ours; does not return if a signal ended it."""
    if status < 0:
        exit_by_signal(-status)
    return status


class _Ended(Exception):
    """One of the signals that end us has come."""


def serve(url: str, what: str, diagnostics: Diagnostics) -> int:
    """Say where the server is, and wait for the signal that ends us; its number, negative."""
    diagnostics.note(f"{what}; end with Ctrl-C")
    Output(1, "standard output").write_text(f"{url}\n")

    def end(number: int, _frame: object) -> None:
        for each in _catchable_signals():
            signal.signal(each, signal.SIG_DFL)  # who asks a second time does not want to wait
        raise _Ended(number)

    # We have no children but, as process 1, the orphans of the container: they vanish by themselves.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        for number in _catchable_signals():
            signal.signal(number, end)
        while True:
            wait_ready(None, 0)
    except _Ended as ended:
        return -int(ended.args[0])


def _catchable_signals() -> list[signal.Signals]:
    """Of the signals that end, those we were not told to ignore."""
    return [number for number in ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]


def _in_foreground() -> bool:
    """Does what is typed on the terminal signal our whole process group?"""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


def _reap_orphans(pid: int) -> None:
    """As process 1, reap the orphans of the container until COMMAND has ended."""
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if ended is None or ended.si_pid == pid:
            return
        os.waitpid(ended.si_pid, 0)
