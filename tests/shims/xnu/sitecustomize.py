"""Make a Python on Linux behave like one on macOS: without Linux-only names, and with the poll() of XNU.

With this directory on PYTHONPATH, every interpreter imports this module when it starts. For the launchers, which ignore
PYTHONPATH, bin/python3 does. `make xnu` runs the tests so.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import functools
import os
import select
import signal
import socket
import stat
import sys
import termios

MISSING = {
    os: (
        "waitid",
        "waitid_result",
        "P_ALL",
        "P_PID",
        "WNOWAIT",
        "WEXITED",
        "O_PATH",
        "O_TMPFILE",
        "pipe2",
        "pidfd_open",
        *("listxattr", "getxattr", "setxattr", "removexattr", "fdatasync", "posix_fadvise", "posix_fallocate"),
        *("sched_getaffinity", "memfd_create", "eventfd", "copy_file_range", "splice", "getrandom"),
    ),
    socket: (
        "SOCK_CLOEXEC",
        "SOCK_NONBLOCK",
        "TCP_KEEPIDLE",
        "SO_PEERCRED",
        "SO_DOMAIN",
        "SO_PROTOCOL",
        "MSG_NOSIGNAL",
    ),
    select: ("epoll", "POLLRDHUP"),
    signal: ("sigtimedwait", "sigwaitinfo", "SIGPWR", "SIGSTKFLT", "SIGCLD", "SIGPOLL", "SIGRTMIN", "SIGRTMAX"),
    fcntl: ("F_SETPIPE_SZ", "F_GETPIPE_SZ"),
}
for module, names in MISSING.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
if sys.platform == "linux":  # "darwin" would make the standard library load modules that only macOS has
    multiarch = getattr(sys.implementation, "_multiarch", "")
    os.environ["_PYTHON_SYSCONFIGDATA_NAME"] = f"_sysconfigdata_{sys.abiflags}_linux_{multiarch}"
    sys.platform = "xnu"

TERMINALS = (4, 5, *range(136, 144))
_poll, _os_open, _os_stat, _open, _flock = select.poll, os.open, os.stat, builtins.open, fcntl.flock
_ioctl = fcntl.ioctl


class Poll:
    """XNU's poll(): no filter for a descriptor without events, POLLNVAL for devices, and POLLHUP for POLLERR."""

    def __init__(self) -> None:
        self._poll = _poll()
        self._devices: set[int] = set()

    def register(self, fd: object, events: int = select.POLLIN | select.POLLOUT) -> None:
        number = fd if isinstance(fd, int) else fd.fileno()  # type: ignore[attr-defined]
        if not events:
            return
        try:
            status = os.fstat(number)
            # Not isatty(): a terminal that has hung up is none any more.
            is_device = stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) not in TERMINALS
        except OSError:
            is_device = False
        if is_device:
            self._devices.add(number)
        else:
            self._poll.register(number, events)

    def unregister(self, fd: int) -> None:
        if fd in self._devices:
            self._devices.remove(fd)
        else:
            self._poll.unregister(fd)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        found = self._poll.poll(0 if self._devices else timeout)
        ready = [(fd, seen & ~select.POLLERR | select.POLLHUP if seen & select.POLLERR else seen) for fd, seen in found]
        return ready + [(fd, select.POLLNVAL) for fd in self._devices]


def _hide_proc(path: object) -> None:
    name = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
    if name.startswith("/proc/") and "/lib/python" not in name:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def open_fd(path: object, *arguments: object, **options: object) -> object:
    _hide_proc(path)
    return _os_open(path, *arguments, **options)  # type: ignore[arg-type]


def stat_path(path: object, *arguments: object, **options: object) -> object:
    _hide_proc(path)
    return _os_stat(path, *arguments, **options)  # type: ignore[arg-type]


def open_file(file: object, *arguments: object, **options: object) -> object:
    _hide_proc(file)
    return _open(file, *arguments, **options)  # type: ignore[call-overload]


def ioctl(fd: int, request: int, *arguments: object) -> object:
    """FIONREAD counts nothing at the writing end of a pipe."""
    number = fd if isinstance(fd, int) else fd.fileno()
    is_pipe = stat.S_ISFIFO(os.fstat(number).st_mode)
    if request == termios.FIONREAD and is_pipe and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        return bytes(4)
    return _ioctl(fd, request, *arguments)  # type: ignore[arg-type]


def flock(fd: int, operation: int) -> None:
    if stat.S_ISFIFO(os.fstat(fd if isinstance(fd, int) else fd.fileno()).st_mode):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    _flock(fd, operation)


select.poll = Poll  # type: ignore[misc,assignment]
# Partials, because pathlib of Python 3.8 and 3.9 makes os.stat and os.open attributes of a class.
os.open, os.stat = functools.partial(open_fd), functools.partial(stat_path)  # type: ignore[assignment]
builtins.open = open_file  # type: ignore[assignment]
fcntl.flock = flock  # type: ignore[assignment]
fcntl.ioctl = ioctl  # type: ignore[assignment]
