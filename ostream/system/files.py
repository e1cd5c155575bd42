"""Change files so that they stay valid after a crash: locks, all-or-nothing appends, atomic replacement.

If a process is killed, the result depends on the function that was running:

- `append`: the file may end with a part of the new data.
- `append_atomically`: the file may end with data whose first byte is NUL.
- `replace`: the file has its old or its new content. `remove_unfinished` deletes a temporary file that may be left.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat

from ostream.errors import InputError, OutputError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Callable, Iterable, Iterator
else:
    import _signal as signal

BLOCK = 1 << 20

# The signals that end a process and can be blocked. `replace` blocks them while its temporary file exists.
_ENDING_SIGNALS: tuple[int, ...] = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
    *(signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2),
)


@contextlib.contextmanager
def locked(
    path: str,
    flags: int,
    shared: bool = False,
    wait: bool = True,
    on_busy: Callable[[], None] | None = None,
    beside: str | None = None,
) -> Iterator[int]:
    """Open the regular file at `path`, lock it with flock, and yield its descriptor.

    Arguments:
        flags: the flags for os.open.
        shared: True for a shared lock, False for an exclusive lock.
        wait: False to raise BlockingIOError if another process holds the lock, instead of waiting.
        on_busy: called before each new attempt to lock the file. It must sleep, and may raise an exception to give up.
        beside: a file that the caller has locked already.

    Raises FileNotFoundError if the file is missing and `flags` do not create it. Raises InputError if the file can't be
    opened, is not a regular file, is another name of `beside`, or is on a file system without locks.
    """
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if on_busy or not wait:
        operation |= fcntl.LOCK_NB
    while True:
        try:
            # Without O_NONBLOCK, opening a FIFO would wait until another process opens its other end.
            fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: {reason(error)}") from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise InputError(f"{path}: not a regular file")
            if beside is not None and _is_at(fd, beside):  # flock would wait forever for the lock of the caller
                raise InputError(f"{path}: is another name of {beside}")
            try:
                fcntl.flock(fd, operation)
            except BlockingIOError:
                if not on_busy:
                    raise
                on_busy()
                continue
            except OSError as error:
                raise InputError(f"{path}: can't be locked: {reason(error)}") from None
            if _is_at(fd, path):
                yield fd
                return
        finally:
            os.close(fd)


def _is_at(fd: int, path: str) -> bool:
    """True if `path` is still the open file. An editor may have replaced it while we waited for the lock."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def read_all(fd: int) -> bytes:
    """Return the complete content of an open file, from its beginning."""
    os.lseek(fd, 0, os.SEEK_SET)
    return b"".join(iter(lambda: os.read(fd, BLOCK), b""))


def append(fd: int, data: bytes) -> None:
    """Add `data` to the end of a locked file and sync the file.

    Raises OSError after truncating the file to its old length.
    """
    end = os.lseek(fd, 0, os.SEEK_END)
    try:
        write_all(fd, data)
        os.fsync(fd)
    except OSError:
        truncate(fd, end)
        raise


def append_atomically(fd: int, data: bytes) -> None:
    """Do what `append` does, so that a reader can recognise and discard partial data after a crash.

    After a crash, either `data` is complete or its first byte in the file is NUL, because the first byte is written
    last, after the other bytes have been synced. `fd` must not have been opened with O_APPEND.
    """
    end = os.lseek(fd, 0, os.SEEK_END)
    try:
        write_all(fd, b"\0" + data[1:])
        os.fsync(fd)
        os.pwrite(fd, data[:1], end)
        os.fsync(fd)
    except OSError:
        truncate(fd, end)
        raise


def truncate(fd: int, end: int, path: str = "") -> None:
    """Remove the data after `end` from an open file.

    Raises OutputError if that fails, for example because the file may only be extended. Without `path`, after a failed
    write, the reason of that failure is reported instead, so nothing is raised.
    """
    try:
        os.ftruncate(fd, end)
    except OSError as error:
        if path:
            raise OutputError(f"{path}: its end can't be removed: {reason(error)}") from None


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, with several calls to os.write if it writes only a part. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def replace(path: str, blocks: Iterable[bytes], keep_open: bool = False) -> int:
    """Replace the content of a file, or create the file, so that other processes see the old or the new content.

    Writes a temporary file, syncs it and renames it to `path`. Follows symbolic links and keeps the mode of the file.
    Signals that would end the process are delayed until the temporary file has been renamed or removed.

    Arguments:
        blocks: the new content.
        keep_open: True to return an open descriptor of the new file.

    Returns the descriptor, open for reading and appending and locked exclusively (if the file system has locks), or -1
    without `keep_open`. Raises OutputError if the file can't be replaced.
    """
    try:
        path = os.path.realpath(path)
        mode = _mode_of(path)
        with _signals_delayed() as delayed:
            fd, new = _create_temporary(path, 0o666 if mode is None else 0o600)
            try:
                if mode is not None:
                    os.fchmod(fd, mode)
                for block in blocks:
                    write_all(fd, block)
                    if signal.sigpending() & delayed:
                        raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
                os.fsync(fd)
                kept = os.dup(fd) if keep_open else -1
                os.rename(new, path)
            except BaseException:
                os.unlink(new)
                raise
            finally:
                os.close(fd)
        sync_directory(path)
        return kept
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: {reason(error)}") from None


def _mode_of(path: str) -> int | None:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _signals_delayed() -> Iterator[set[int]]:
    """Block the signals that would end the process, and yield their numbers.

    Ignored signals are not blocked: they would become pending, and `replace` would stop because of them.
    """
    numbers = {number for number in _ENDING_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield numbers
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _create_temporary(path: str, mode: int) -> tuple[int, str]:
    """Create a temporary file in the directory of `path`, and return its descriptor and name.

    The file is locked, so that `remove_unfinished` in another process does not remove it.
    """
    while True:
        new = f"{path}.{os.urandom(4).hex()}.new"
        fd = os.open(new, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with contextlib.suppress(OSError):  # on a file system without locks, `remove_unfinished` removes nothing
            fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd, new
        os.close(fd)


def remove_unfinished(path: str) -> None:
    """Remove the temporary files that processes left when they were killed in `replace(path)`. Raises OSError."""
    directory, name = os.path.split(os.path.realpath(path))
    for entry in os.listdir(directory):
        if re.fullmatch(re.escape(name) + r"\.[0-9a-f]{8}\.new", entry):
            found = os.path.join(directory, entry)
            with contextlib.suppress(FileNotFoundError, BlockingIOError, InputError), locked(
                found, os.O_RDONLY, wait=False
            ):
                os.unlink(found)


def sync_directory(path: str) -> None:
    """Sync the directory of `path`, so that a new name survives a crash. Raises OSError."""
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_directory(path: str) -> None:
    """Check that `path` is the name of a file in a writable directory. Raises InputError."""
    if path.endswith("/"):
        raise InputError(f"{path}: is the name of a directory; give the name of a file")
    try:
        directory = os.path.dirname(os.path.realpath(path))
    except OSError as error:  # the current directory has been removed
        raise InputError(f"{path}: {reason(error)}") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise InputError(f"{path}: the directory {directory} does not exist or is not writable")
