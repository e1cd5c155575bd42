"""Write answers to standard output, or to a file that survives crashes and that a later run can continue.

The lock is on the file of answers itself, not on a separate lock file. So a second run cannot write to the file, even
if it uses another name of the same file.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from itertools import chain

from ostream.batch.answer_lines import begins_as_answer, is_damaged, may_be_answer, parse_answer, with_id
from ostream.batch.resume_index import ResumeIndex
from ostream.batch.set_aside import open_to_read, read_lines, remove_if_empty, set_aside
from ostream.errors import NotNDJSON, OutputError, RequestError, reason
from ostream.protocol.ndjson import decode_line, is_partial_line
from ostream.system.files import locked, remove_unfinished, replace, sync_directory, truncate, write_all
from ostream.system.output import Output, given_descriptor, is_input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, Mapping

_RESUME = "run the same command with --resume to continue"
# What `load` does with a line.
_DROPPED, _KEPT, _DAMAGED, _REPLACED = range(4)


class StdoutSink:
    """Writes answers to standard output. `index` contains only the ids of this run."""

    name = "standard output"
    dropped = torn = replaced = 0
    model = ""

    def __init__(self, output: Output) -> None:
        self.index = ResumeIndex()
        self._output = output
        self._regular = stat.S_ISREG(os.fstat(output.fd).st_mode)

    def write(self, line: bytes) -> None:
        """Write a line. Raises OutputError, or ReaderGone if the program that reads stdout has closed the pipe."""
        self._output.write_lines(line)

    def sync(self) -> None:
        """Sync the written lines to disk if standard output is a regular file. Raises OutputError."""
        if self._regular:
            _sync(self._output.fd, self.name)


class AnswerFile:
    """The file named by `-o FILE`. `open_answers` opens and locks it.

    Attributes:
        name: the path as the user gave it.
        index: the ids that the file answers, and the ids that failed.
        dropped: the number of lines that `load` removes: failures, which are sent again; further answers to the same
            request; and blank lines.
        torn: the number of damaged lines that `load` moves to FILE.torn.
        replaced: the number of answers that `load` moves to FILE.replaced, because an earlier line answers another
            request with the same id.
        model: the model of the first answer that is kept, or "".
        moved: the number of answers that `rewrite` has moved to FILE.replaced.
    """

    def __init__(self, path: str, real: str, fd: int, dry_run: bool = False) -> None:
        self.name = path
        self.index = ResumeIndex()
        self.dropped = self.torn = self.replaced = self.moved = 0
        self.model = ""
        self._real = real
        self._fd = fd
        self._dry_run = dry_run
        self._end = self._loaded_end = 0
        self._dirty = False
        self._lock = threading.Lock()

    def write(self, line: bytes) -> None:
        """Append a line, completely or not at all. Raises OutputError."""
        with self._lock:
            try:
                write_all(self._fd, line)
            except OSError as error:
                truncate(self._fd, self._end)
                raise OutputError(f"{self.name}: {reason(error)}", advice=_RESUME) from None
            self._end += len(line)
            self._dirty = True

    def sync(self) -> None:
        """Sync the appended lines to disk, so that they also survive a crash of the machine.

        Raises OutputError if that fails, or if another program removed, replaced, truncated or extended the file.
        """
        with self._lock:
            try:
                at_path = os.stat(self._real)
            except OSError:
                raise OutputError(f"{self.name}: the file was removed while answers were written to it") from None
            if not os.path.samestat(os.fstat(self._fd), at_path):
                raise OutputError(f"{self.name}: was replaced by another file while answers were written to it")
            if at_path.st_size != self._end:
                raise OutputError(f"{self.name}: was changed by another program while answers were written to it")
            if self._dirty:
                self._dirty = False
                _sync(self._fd, self.name)

    def load(self, on_read: Callable[[int, int], None]) -> None:
        """Read the file and repair it. A dry run only reads it.

        Damaged lines, and a partial last line that may not be a line of batch, are moved to FILE.torn.

        `on_read` is called with the number of bytes read so far and the size of the file. Raises RequestError, before
        anything is changed, if batch did not write the file. Raises OutputError if the repair fails.
        """
        kept = bytearray()  # for each line: what to do with it
        position = last_kept_end = 0
        known = torn = line = b""
        is_ours = False
        damage: RequestError | None = None  # the reason to refuse the file if none of its lines is an answer
        size = os.fstat(self._fd).st_size
        for lineno, line in enumerate(self._lines(lambda done: on_read(done, size)), 1):
            try:
                key, sha256 = parse_answer(line)
            except ValueError as error:
                refusal = RequestError(
                    f"{self.name}:{lineno}: {error}", advice="-o names the file of answers; choose another name"
                )
                if is_damaged(line, known):
                    damage = damage or refusal
                    kept.append(_DAMAGED)
                    position += len(line)
                    continue
                if not is_partial_line(line) or not (is_ours or begins_as_answer(line, b"")):
                    raise refusal from None
                torn = line
                break
            position += len(line)
            if sha256 and self.index.load(key or b"", sha256):
                kept.append(_KEPT)
                last_kept_end = position
                if not known:
                    known, is_ours, self.model = line, True, _model_of(line)
                continue
            kept.append(_REPLACED if sha256 and not self.index.has(key or b"", sha256) else _DROPPED)
            is_ours = is_ours or key is not None
            if key is not None and not sha256:
                self.index.load_failure(key)
        if damage and not self.index.answered:
            raise damage
        self.dropped, self.replaced = kept.count(_DROPPED), kept.count(_REPLACED)
        self._loaded_end = size
        if self._dry_run:
            return
        aside = [torn] if torn and not begins_as_answer(torn, known) else []
        self.torn = kept.count(_DAMAGED) + len(aside)
        if self.torn:
            set_aside(f"{self._real}.torn", chain(self._lines_that_are(_DAMAGED, kept), aside))
        if self.replaced:
            set_aside(f"{self._real}.replaced", self._lines_that_are(_REPLACED, kept))
        self._drop(kept, last_kept_end, bool(damage or torn or self.dropped or self.replaced))
        if last_kept_end and not torn and kept[-1] == _KEPT and not line.endswith(b"\n"):
            self._append_newline()
        self._end = self._loaded_end = os.lseek(self._fd, 0, os.SEEK_END)

    def _drop(self, kept: bytearray, last_kept_end: int, is_needed: bool) -> None:
        if kept.count(_KEPT) == kept.rfind(_KEPT) + 1:
            # Only lines at the end are removed, so the file can be truncated and no copy is needed.
            if is_needed:
                truncate(self._fd, last_kept_end, self.name)
            return
        self._replace(self._lines_that_are(_KEPT, kept))

    def _lines_that_are(self, state: int, states: bytearray) -> Iterator[bytes]:
        return (line for each, line in zip(states, self._lines()) if each == state)

    def _replace(self, lines: Iterator[bytes]) -> None:
        try:
            new = replace(self._real, lines, keep_open=True)
        except OutputError as error:
            size = os.fstat(self._fd).st_size
            raise OutputError(
                f"{error}: removing lines from this file needs {size:,} bytes of free space for its copy"
            ) from None
        os.dup2(new, self._fd, inheritable=False)
        os.close(new)

    def rewrite(self, obsolete: Mapping[bytes, object], renumbered: Mapping[bytes, int]) -> None:
        """Move the answers to `obsolete` ids to FILE.replaced, and replace each id in `renumbered` by its new id.

        Answers that this run has written are not changed. The moved answers are durable in FILE.replaced before they
        are removed from FILE. A dry run changes nothing. Raises OutputError.
        """
        if self._dry_run:
            return
        with self._lock:
            if obsolete:
                set_aside(f"{self._real}.replaced", self._answers(obsolete))
            self._replace(self._rewritten(obsolete, renumbered))
            self._end = os.lseek(self._fd, 0, os.SEEK_END)

    def _answers(self, ids: Mapping[bytes, object]) -> Iterator[bytes]:
        for is_loaded, line in self._loaded_lines():
            if is_loaded and parse_answer(line)[0] in ids:
                self.moved += 1
                yield line

    def _rewritten(self, obsolete: Mapping[bytes, object], renumbered: Mapping[bytes, int]) -> Iterator[bytes]:
        for is_loaded, line in self._loaded_lines():
            key = parse_answer(line)[0] if is_loaded else None
            if key in renumbered:
                yield with_id(line, renumbered[key])  # type: ignore[index]
            elif key not in obsolete:
                yield line

    def _loaded_lines(self) -> Iterator[tuple[bool, bytes]]:
        position = 0
        for line in self._lines():
            yield position < self._loaded_end, line
            position += len(line)

    def positions(self, begin: int) -> Iterator[tuple[int, str]]:
        """Yield (id, request's hash) for each answer of an earlier run whose id is an integer >= `begin`."""
        with self._lock:
            for is_loaded, line in self._loaded_lines():
                try:
                    key, sha256 = parse_answer(line) if is_loaded else (None, "")
                except NotNDJSON:
                    continue  # a dry run removes neither damaged lines nor failures, which have no hash
                if key and sha256 and key.isdigit() and int(key) >= begin:
                    yield int(key), sha256

    def _append_newline(self) -> None:
        try:
            write_all(self._fd, b"\n")
        except OSError as error:
            raise OutputError(f"{self.name}: {reason(error)}") from None

    def _lines(self, on_read: Callable[[int], None] = lambda done: None) -> Iterator[bytes]:
        return read_lines(self._fd, self.name, on_read)


def _model_of(line: bytes) -> str:
    return str((decode_line(line) or {}).get("model", ""))


def _sync(fd: int, name: str) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        raise OutputError(f"{name}: {reason(error)}") from None


@contextlib.contextmanager
def open_answers(
    path: str,
    resume: bool,
    inputs: list[str],
    on_read: Callable[[int, int], None] = lambda done, size: None,
    dry_run: bool = False,
) -> Iterator[AnswerFile]:
    """Open, lock, read and repair the file named by `-o FILE`, and yield it.

    The file is created if it is missing, and removed again if nothing was written to it. It is synced to disk if the
    `with` block ends without an exception.

    Arguments:
        path: the name of the file.
        resume: True to accept a file that contains answers.
        inputs: the names of the input files. The file must not be one of them.
        on_read: called with the number of bytes read so far and the size of the file.
        dry_run: True to only read the file, without a lock.

    Raises RequestError for a file that another run is writing, that batch did not write, that is also an input, or that
    contains answers if `resume` is False. Raises InputError for a file that is not regular, and OutputError for one
    that can't be written.
    """
    if path == "-" or given_descriptor(path) is not None:
        raise RequestError(f"{path}: not a regular file", advice="without -o, answers go to standard output")
    try:
        real = os.path.realpath(path)
    except OSError as error:  # the current directory has been removed
        raise OutputError(f"{path}: {reason(error)}") from None
    with contextlib.ExitStack() as stack:
        if dry_run:
            fd = open_to_read(path, real)
            stack.callback(os.close, fd)
            _check_may_write(fd, path, resume, inputs)
            answers = AnswerFile(path, real, fd, dry_run=True)
            answers.load(on_read)
            yield answers
            return
        is_new = not os.path.lexists(real)
        try:
            fd = stack.enter_context(locked(real, os.O_RDWR | os.O_CREAT | os.O_APPEND, wait=False))
        except BlockingIOError:
            raise RequestError(
                f"{path}: another run is writing it", advice="wait for it, or write to another file"
            ) from None
        except FileNotFoundError as error:
            raise OutputError(f"{path}: {reason(error)}") from None
        if is_new:
            stack.callback(remove_if_empty, fd, real)
        _check_may_write(fd, path, resume, inputs)
        sync_directory(real)
        remove_unfinished(real)
        answers = AnswerFile(path, real, fd)
        answers.load(on_read)
        yield answers
        answers.sync()


def _check_may_write(fd: int, path: str, resume: bool, inputs: list[str]) -> None:
    if is_input(fd, inputs):
        raise RequestError(f"{path}: is also an input", advice="write to another file")
    if not resume and any(map(may_be_answer, read_lines(fd, path))):
        raise RequestError(f"{path}: already exists", advice="use --resume to continue it")
