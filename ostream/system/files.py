"""Files that outlive a crash: changed under a lock, appended whole or not at all, replaced in one step.

Whoever was killed while appending leaves at most a last line without its end, and that can be told and taken off.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat

from ostream.errors import InputError, OutputError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Iterator

BLOCK = 1 << 20


@contextlib.contextmanager
def locked(path: str, flags: int, shared: bool = False, wait: bool = True) -> Iterator[int]:
    """A descriptor of the regular file at `path`, which nobody else who locks it has meanwhile. Waits for its turn.

    `flags` are those of os.open. Raises FileNotFoundError for a file that isn't there, unless they create it, and
    InputError for what can't be opened, is not a regular file, or is on a file system without locks; without `wait`
    BlockingIOError when somebody has it.
    """
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        try:
            # Without O_NONBLOCK, opening a FIFO would wait for its other end.
            fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: {reason(error)}") from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise InputError(f"{path}: not a regular file")
            try:
                fcntl.flock(fd, operation)
            except BlockingIOError:
                raise
            except OSError as error:
                raise InputError(f"{path}: can't be locked: {reason(error)}") from None
            if _is_at(fd, path):
                yield fd
                return
        finally:
            os.close(fd)


def _is_at(fd: int, path: str) -> bool:
    """Does the path still name this file? An editor may have put another in its place while we waited."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def read_all(fd: int) -> bytes:
    """The whole of a file, from its beginning."""
    os.lseek(fd, 0, os.SEEK_SET)
    return b"".join(iter(lambda: os.read(fd, BLOCK), b""))


def append(fd: int, data: bytes) -> None:
    """Add `data` to the end of a locked file, durably; all of it or nothing. Raises OSError."""
    end = os.lseek(fd, 0, os.SEEK_END)
    try:
        write_all(fd, data)
        os.fsync(fd)
    except OSError:
        os.ftruncate(fd, end)
        raise


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def replace(path: str, blocks: Iterable[bytes]) -> None:
    """Put a new content in the place of a file, or make it, in one durable step: a reader sees the old or the new.

    Through symbolic links; the mode is kept. Raises OutputError, and the old content is then still there.
    """
    path = os.path.realpath(path)
    new = f"{path}.{os.urandom(4).hex()}.new"
    try:
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
        except FileNotFoundError:
            mode = None
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if mode is None else 0o600)
        try:
            if mode is not None:
                os.fchmod(fd, mode)
            for block in blocks:
                write_all(fd, block)
            os.fsync(fd)
            os.rename(new, path)
        except BaseException:
            os.unlink(new)
            raise
        finally:
            os.close(fd)
        sync_folder(path)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: {reason(error)}") from None


def remove_unfinished(path: str) -> None:
    """Remove what replacements of this file left behind when they were killed; none may be under way."""
    folder, name = os.path.split(os.path.realpath(path))
    for found in os.listdir(folder):
        if re.fullmatch(re.escape(name) + r"\.[0-9a-f]{8}\.new", found):
            os.unlink(os.path.join(folder, found))


def sync_folder(path: str) -> None:
    """Make it durable that this file has its name."""
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_folder(path: str) -> None:
    """Could the file be made, or replaced? Raises InputError."""
    if path.endswith("/"):
        raise InputError(f"{path}: not the name of a file")
    folder = os.path.dirname(os.path.realpath(path))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path}: nothing can be written in {folder}")
