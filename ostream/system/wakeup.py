"""An event that a poll can wait for, set from any thread or signal handler."""

from __future__ import annotations

import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class Wakeup:
    """A one-shot event to wait for together with descriptors: pass it to `polling.wait_any` or `wait_ready`.

    `wake()` may be called by any thread or signal handler, any number of times, before, during and after a wait.
    Only the thread that waits may call `close()`, when no wait is running. Raises OSError if the process has no
    descriptors left.

    It is a socketpair and not a pipe, because select() on Windows takes only sockets.
    """

    def __init__(self) -> None:
        self._reader, writer = socket.socketpair()
        # list.pop() is atomic: whatever calls wake(), only one caller gets the socket, so its descriptor number cannot
        # be used after another thread has closed it. A lock could block a signal handler.
        self._writers = [writer]
        self._pid = os.getpid()

    def fileno(self) -> int:
        """The descriptor that becomes readable once `wake()` has been called; nothing is ever written to it."""
        return self._reader.fileno()

    @property
    def is_set(self) -> bool:
        """True once `wake()` has been called."""
        return not self._writers

    def wake(self) -> None:
        """Set the event. In a child process made by fork, drop the child's copy and leave the parent's event alone."""
        try:
            writer = self._writers.pop()
        except IndexError:
            return
        with writer:
            if os.getpid() == self._pid:
                # Closing is not enough while a forked child holds a copy.
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
