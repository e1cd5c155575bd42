"""Look up a host name and connect to one of its addresses.

All waiting happens in `polling`, which obeys the timeouts and watches the reader of our output. The sockets are
non-blocking, and a thread looks up names.
"""

from __future__ import annotations

import _thread  # importing threading would take 1 % of the start-up time of send
import errno
import os
import socket
import time

from ostream.errors import ConnectError, reason
from ostream.system.polling import READABLE, WRITABLE, wait_ready
from ostream.system.wakeup import Wakeup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ostream.net.timeouts import Timeouts
    from ostream.system.polling import Reader

# On systems that have these options: probe a silent peer after 60 s and then every 15 s, and end the connection after
# four probes without a reply. On macOS, TCP_KEEPALIVE is the name of TCP_KEEPIDLE.
_KEEP_ALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPALIVE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
_IN_PROGRESS = (errno.EINPROGRESS, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS))
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


def connect(name: str, port: int, timeouts: Timeouts, reader: Reader | None) -> socket.socket:
    """Look up a host name, try its addresses in order, and return a socket connected to the first that accepts.

    The time left before the timeout is divided equally among the addresses that have not been tried. Raises
    ConnectError if no address accepts, StreamTimeout, or ReaderGone if `reader` ends the wait (see `polling.Waiter`).
    """
    codes: list[int] = []
    addresses = _look_up(name, port, timeouts, reader)
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                raise _no_descriptors(f"{name}:{port}", error) from None
            codes.append(error.errno or 0)  # for example, IPv6 is disabled on this system
            continue
        try:
            code = _connect(sock, address, _share(timeouts, len(addresses) - index), reader)
        except BaseException:
            sock.close()
            raise
        if not code:
            _set_options(sock)
            return sock
        sock.close()
        codes.append(code)
    refused = errno.ECONNREFUSED in codes
    failure = ConnectError(
        f"{name}:{port}: {', '.join(dict.fromkeys(os.strerror(code).lower() for code in codes))}",
        advice="is Ollama running? Start it with 'ollama serve', or set OLLAMA_HOST or --host"
        if refused
        else "check OLLAMA_HOST",
    )
    failure.retryable = refused
    raise failure


def _no_descriptors(where: str, error: OSError) -> ConnectError:
    failure = ConnectError(f"{where}: {reason(error).lower()}", advice="raise the limit with 'ulimit -n'")
    failure.errno = error.errno
    return failure


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE:
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _share(timeouts: Timeouts, addresses: int) -> Callable[[], float | None]:
    """Return a function that returns the seconds left for one address, if `addresses` are still to be tried.

    The last address may use all of the remaining time.
    """
    left = timeouts.left()
    if left is None or addresses == 1:
        return timeouts.left
    end = time.monotonic() + left / addresses
    return lambda: end - time.monotonic()


def _connect(sock: socket.socket, address: Any, left_s: Callable[[], float | None], reader: Reader | None) -> int:
    """Connect `sock` to `address`. Return 0, or the errno of the failure."""
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code not in _IN_PROGRESS:
        return code
    if not wait_ready(sock.fileno(), WRITABLE, reader, left_s):
        return errno.ETIMEDOUT
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    # A reset means that the server accepted the connection and then closed it. Treat it as connected: the next read
    # reports the reset.
    return 0 if code == errno.ECONNRESET else code


def _look_up(name: str, port: int, timeouts: Timeouts, reader: Reader | None) -> list[Any]:
    """Return the addresses of a name, as returned by getaddrinfo.

    A thread calls getaddrinfo, because it has no timeout and can't be interrupted.
    """
    result: list[Any] = []

    def look_up(flags: int = 0) -> None:
        try:
            # Pass bytes: for text, getaddrinfo loads the IDNA codec. `parse_host` has already encoded the name.
            result[:] = socket.getaddrinfo(name.encode(), port, type=socket.SOCK_STREAM, flags=flags)
        except OSError as error:
            result[:] = [error]

    look_up(socket.AI_NUMERICHOST)
    if isinstance(result[0], Exception):
        try:
            finished = Wakeup()
        except OSError as error:
            raise _no_descriptors(name, error) from None

        def look_up_and_wake() -> None:  # pragma: no cover: coverage does not trace threads of _thread
            look_up()
            if isinstance(result[0], Exception):
                # getaddrinfo reports every name as unknown if it gets no descriptor for its query. Opening a socket
                # shows whether that is the cause.
                try:
                    socket.socket().close()
                except OSError as error:
                    result[:] = [error]
            finished.wake()

        with finished:
            try:
                _thread.start_new_thread(look_up_and_wake, ())
            except RuntimeError as error:
                raise ConnectError(f"{name}: {error}", advice="raise the limit with 'ulimit -u'") from None
            wait_ready(finished.fileno(), READABLE, reader, timeouts.left)
    if isinstance(result[0], socket.gaierror):
        raise ConnectError(f"{name}: host not found ({result[0].args[-1]})", advice="check OLLAMA_HOST")
    if isinstance(result[0], OSError):
        raise _no_descriptors(name, result[0])
    return result
