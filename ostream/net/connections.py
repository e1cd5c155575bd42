"""Keep the idle connections of a client for its next requests."""

from __future__ import annotations

import os
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Hashable


class ConnectionPool:
    """Idle connections, grouped by server, proxy and TLS settings.

    All methods are thread-safe. They need no lock, because append() and pop() of a list are atomic.
    """

    def __init__(self) -> None:
        self._idle: dict[Hashable, list[Any]] = {}
        self._pid = os.getpid()
        # Close the connections before the garbage collector can warn about unclosed sockets. __del__ might be too late.
        weakref.finalize(self, _close_all, self._idle)

    def take(self, key: Hashable) -> Any:
        """Remove and return the most recently used connection, or None if no connection can be used."""
        self._check_fork()
        idle = self._idle.get(key, [])
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return None
            if connection.is_usable():
                return connection
            connection.close()

    def put(self, key: Hashable, connection: Any) -> None:
        """Keep a connection whose response has been read."""
        self._check_fork()
        self._idle.setdefault(key, []).append(connection)

    def close(self) -> None:
        """Close all idle connections. The pool can still be used."""
        _close_all(self._idle)

    def _check_fork(self) -> None:
        """After a fork, close the child's copies of the connections: the parent process still uses them."""
        if self._pid != os.getpid():
            self.close()
            self._pid = os.getpid()


def _close_all(idle: dict[Hashable, list[Any]]) -> None:
    for key in list(idle):
        for connection in idle.pop(key, []):
            connection.close()
