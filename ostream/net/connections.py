"""Idle connections of a client, kept for its next requests."""

from __future__ import annotations

import os
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Hashable


class ConnectionPool:
    """Idle connections by server, proxy and TLS settings.

    Any thread may use it. There is no lock: append() and pop() are atomic.
    """

    def __init__(self) -> None:
        self._idle: dict[Hashable, list[Any]] = {}
        self._pid = os.getpid()
        # Unlike __del__, this also closes them before the garbage collector reports them as unclosed.
        weakref.finalize(self, _close_all, self._idle)

    def take(self, key: Hashable) -> Any:
        """Remove and return the connection that was used last, None if there is none that can be used."""
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
        """Keep a connection whose response was read."""
        self._check_fork()
        self._idle.setdefault(key, []).append(connection)

    def close(self) -> None:
        """Close all idle connections. The pool can still be used."""
        _close_all(self._idle)

    def _check_fork(self) -> None:
        """After a fork, drop the connections of the parent process, which uses them."""
        if self._pid != os.getpid():
            self.close()
            self._pid = os.getpid()


def _close_all(idle: dict[Hashable, list[Any]]) -> None:
    for key in list(idle):
        for connection in idle.pop(key, []):
            connection.close()
