"""Make a Python on Linux lack what Windows lacks, as far as the library could notice."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys

POSIX_ONLY = ("fcntl", "termios", "resource", "pty", "tty", "pwd", "grp", "syslog")
for name in POSIX_ONLY:
    sys.modules[name] = None  # type: ignore[assignment]
for module, names in (
    (os, ("fork", "waitid", "waitpid", "set_blocking", "get_blocking", "setsid", "killpg", "getuid", "openpty")),
    (os, ("O_CLOEXEC", "O_NONBLOCK")),
    (signal, ("SIGPIPE", "SIGHUP", "SIGCHLD", "SIGALRM", "SIGQUIT", "SIGUSR1", "SIGKILL", "pthread_sigmask")),
    (select, ("poll", "epoll", *[name for name in dir(select) if name.startswith(("POLL", "EPOLL"))])),
    (socket, ("AF_UNIX", "SO_REUSEPORT", "MSG_DONTWAIT", "SOCK_CLOEXEC", "SOCK_NONBLOCK")),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

errno.WSAEWOULDBLOCK = 10035  # type: ignore[attr-defined]
_connect_ex, _select, _os_fstat = socket.socket.connect_ex, select.select, os.fstat


def connect_ex(self: socket.socket, address: object) -> int:
    """A connection in progress is WSAEWOULDBLOCK."""
    code = _connect_ex(self, address)  # type: ignore[arg-type]
    return errno.WSAEWOULDBLOCK if code == errno.EINPROGRESS else code  # type: ignore[attr-defined]


def select_sockets(readers: list[int], writers: list[int], exceptional: list[int], timeout: float | None) -> object:
    """Accept sockets only, and at least one."""
    import stat

    if not readers and not writers and not exceptional:
        raise OSError(10022, "an invalid argument was supplied")
    for fd in {*readers, *writers, *exceptional}:
        if not stat.S_ISSOCK(_os_fstat(fd).st_mode):
            raise OSError(10038, "an operation was attempted on something that is not a socket")
    return _select(readers, writers, exceptional, timeout)


def socketpair(*_: object, **__: object) -> tuple[socket.socket, socket.socket]:
    """A pair of TCP sockets, as the socket module makes it on Windows."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there, _address = listener.accept()
        return there, here


socket.socket.connect_ex = connect_ex  # type: ignore[method-assign]
select.select = select_sockets  # type: ignore[assignment]
socket.socketpair = socketpair  # type: ignore[assignment]
