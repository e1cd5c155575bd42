"""An event that polling can wait for, and that any thread or signal handler can set."""

from __future__ import annotations

import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class Wakeup:
    """An event that can be set once. Pass it to `polling.Waiter` or `wait_ready` to end a wait.

    Any thread or signal handler may call `wake()`, any number of times, before, during and after a wait. Only the
    thread that waits may call `close()`, and only while no wait is running. Creating a Wakeup raises OSError if the
    process has no descriptors left.

    A Wakeup uses a socketpair instead of a pipe, because select() on Windows supports only sockets.
    """

    def __init__(self) -> None:
        self._reader, writer = socket.socketpair()
        # list.pop() is atomic, so only one caller of wake() gets the socket, and no other caller can use its descriptor
        # number after it was closed. A lock is not used, because it could block a signal handler.
        self._writers = [writer]
        self._pid = os.getpid()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when `wake()` is called. No data is ever written to it."""
        return self._reader.fileno()

    @property
    def is_set(self) -> bool:
        """True once `wake()` has been called."""
        return not self._writers

    def wake(self) -> None:
        """Set the event. In a forked child process, close the child's copy without setting the event of the parent."""
        try:
            writer = self._writers.pop()
        except IndexError:
            return
        with writer:
            if os.getpid() == self._pid:
                # close() alone does not set the event while a forked child has a copy of the socket.
                writer.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Set the event and close both descriptors."""
        self.wake()
        self._reader.close()

    def __enter__(self) -> Wakeup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
