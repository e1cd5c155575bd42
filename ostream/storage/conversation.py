"""Keep a conversation in a file: one JSON message per line, readable and editable with a text editor.

The messages of an exchange (a question and its answer) are appended under a lock: all of them or none. If a crash
damaged the file, the damaged lines are moved to FILE.torn when the file is next used. These lines are a partial last
line, lines with NUL bytes, and the other messages of the same exchange.
"""

from __future__ import annotations

import contextlib
import io
import os
import time

from ostream.errors import InputError, NotNDJSON, OstreamError, OutputError, RequestError, StreamTimeout, reason
from ostream.protocol.chunk import tool_calls
from ostream.protocol.ndjson import decode_line, encode_line, is_partial_line, split_lines
from ostream.protocol.request import parse_json
from ostream.system.files import (
    append,
    append_atomically,
    check_directory,
    locked,
    read_all,
    replace,
    sync_directory,
    truncate,
)
from ostream.system.polling import pollable_or_none, wait_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator


_TO_LINES = "import json, sys; [print(json.dumps(m)) for m in json.load(sys.stdin)]"

# Seconds between two attempts to lock a file; seconds until a wait is reported; and the minimum seconds to wait when a
# complete answer is saved, even after --max-time has run out.
LOCK_PERIOD_S, LOCK_NOTE_S, LOCK_GRACE_S = 0.05, 1.0, 1.0


class LockWait:
    """Waits for a file that another process has locked, until `max_time` seconds after this object was created.

    `note` is called with a message once the wait takes longer than a second. Without `max_time` there is no limit.
    """

    def __init__(self, path: str, note: Callable[[str], None], max_time: float | None = None) -> None:
        self._path = path
        self._note = note
        self._max_time = max_time
        self._start = self._wait_start = time.monotonic()
        self._grace_s = 0.0
        self._noted = False

    def begin(self, grace_s: float = 0.0) -> LockWait:
        """Start another wait under the same time limit, but allow at least `grace_s` seconds. Return this object."""
        self._wait_start = time.monotonic()
        self._grace_s = grace_s
        return self

    def __call__(self) -> None:
        """Sleep before the next attempt to lock the file.

        Raises StreamTimeout when the time limit is reached, and ReaderGone when the program that reads stdout closes
        the pipe.
        """
        now = time.monotonic()
        waited = now - self._wait_start
        if waited >= LOCK_NOTE_S and not self._noted:
            self._noted = True
            self._note(f"{self._path}: waiting for another process to unlock it")
        if self._max_time is not None and now - self._start >= self._max_time and waited >= self._grace_s:
            raise StreamTimeout(
                f"{self._path}: still locked by another process after {self._max_time:g} s",
                "max-time",
                advice="allow more with --max-time",
            )
        end = now + LOCK_PERIOD_S
        wait_ready(None, 0, pollable_or_none(1), lambda: end - time.monotonic())


class Conversation:
    """The messages of a conversation in a file, which need not exist yet.

    Arguments:
        path: the name of the file.
        note: called with a message about each repair and each long wait for a lock.
        max_time: maximum seconds to wait for locks (default: no limit).
    """

    def __init__(self, path: str, note: Callable[[str], None], max_time: float | None = None) -> None:
        self.path = path
        self.messages: list[dict[str, Any]] = []  # the messages that the file contains
        self._note = note
        self._lock_wait = LockWait(path, note, max_time)

    def read(self) -> None:
        """Read the file into `messages`. If the file does not exist, `messages` stays empty.

        Raises InputError or RequestError for a file that is not a conversation or can't be appended to later, and
        StreamTimeout if it stays locked.
        """
        try:
            with self._repaired(os.O_RDWR) as (_, data):
                pass
        except FileNotFoundError:
            check_directory(self.path)
            return
        if data.lstrip().startswith(b"["):
            from shlex import quote

            raise RequestError(
                f"{self.path}: a JSON array can't be appended to",
                advice=f"convert it to lines: python3 -c '{_TO_LINES}' < {quote(self.path)} > NEW",
            )
        self.messages = parse_messages(data, self.path)

    def append(self, messages: list[dict[str, Any]]) -> None:
        """Append the new messages of a conversation to the file, durably: all of them or none.

        `messages` is the complete conversation. It begins with the messages that were read or appended before; the
        messages after these are new. A system message is only added to an empty file, because another process may have
        begun the conversation since `read`. Raises OstreamError.
        """
        stored = list(messages)
        messages = messages[len(self.messages) :]
        try:
            with self._repaired(os.O_RDWR | os.O_CREAT, LOCK_GRACE_S) as (fd, data):
                if data.strip() and messages[0]["role"] == "system":
                    messages = messages[1:]
                if data and not data.endswith(b"\n"):
                    append(fd, b"\n")
                append_atomically(fd, b"".join(map(encode_line, messages)))
            if not data:
                sync_directory(self.path)
            self.messages = stored
        except (OSError, OstreamError) as error:
            text = str(error) if isinstance(error, OstreamError) else f"{self.path}: {reason(error)}"
            failure = StreamTimeout(text, "max-time") if isinstance(error, StreamTimeout) else OstreamError(text)
            failure.advice = "the answer is complete, but was not saved to the conversation"
            raise failure from None

    @contextlib.contextmanager
    def _repaired(self, flags: int, grace_s: float = 0.0) -> Iterator[tuple[int, bytes]]:
        """Lock the file, move damaged lines to FILE.torn, and yield the descriptor and the remaining content."""
        while True:
            with locked(self.path, flags, on_busy=self._lock_wait.begin(grace_s)) as fd:
                data = read_all(fd)
                sound, damaged = split_damage(data)
                if damaged:
                    self._set_aside(damaged)
                    try:
                        if not data.startswith(sound):
                            replace(self.path, [sound])
                            continue  # lock the new file
                        truncate(fd, len(sound), self.path)
                    except OutputError as error:
                        raise InputError(str(error)) from None
                yield fd, sound
                return

    def _set_aside(self, damaged: bytes) -> None:
        torn = f"{self.path}.torn"
        try:
            with locked(torn, os.O_RDWR | os.O_CREAT, beside=self.path) as fd:
                append(fd, damaged if damaged.endswith(b"\n") else damaged + b"\n")
        except OSError as error:
            raise InputError(f"{torn}: {reason(error)}") from None
        self._note(f"{self.path}: moved the messages of an interrupted write to {torn}")


def split_damage(data: bytes) -> tuple[bytes, bytes]:
    """Split a conversation into the lines to keep and the lines that a crash damaged.

    A partial last line and lines with NUL bytes are damaged. The other messages of the same exchange count as damaged,
    too, because a question without its answer must not be sent again. A file that contains anything other than messages
    and damaged lines is not changed: all of its lines are kept. If no message is intact, lines count as damaged only if
    the file may be the result of an interrupted first write.
    """
    if b"\0" not in data and not is_partial_line(data[data.rfind(b"\n") + 1 :]):
        return data, b""
    kept: list[bytes] = []
    damaged: list[bytes] = []
    exchange: list[bytes] = []  # the lines since the last complete exchange
    is_conversation = False
    calls = 0  # tool calls that have no tool message yet
    lost_start = False  # True inside an exchange whose first messages are damaged
    for line in io.BytesIO(data):
        if line == b"\n" and not lost_start:  # without this, a million blank lines would take a second
            (exchange or kept).append(line)
            continue
        if b"\0" in line or is_partial_line(line):
            damaged += [*exchange, line]
            exchange, lost_start = [], True
            continue
        try:
            message = decode_line(line)
        except NotNDJSON:
            message = {}
        role = message and message.get("role")
        is_conversation = is_conversation or isinstance(role, str)
        if message is not None and not isinstance(role, str):
            return data, b""
        lost_start = lost_start and role not in ("user", "system")
        if lost_start:
            damaged.append(line)
            continue
        exchange.append(line)
        if role == "assistant":
            calls = len(tool_calls({"message": message}))
        elif role == "tool":
            calls -= 1
        if calls <= 0 and role != "user" and (len(exchange) == 1 or role not in ("system", None)):
            kept += exchange
            exchange = []
    kept += exchange
    if not is_conversation and not _is_interrupted_write(data):
        return data, b""
    return b"".join(kept), b"".join(damaged)


def _is_interrupted_write(data: bytes) -> bool:
    """True if data begins like a line that `append` writes, or is all NUL. After a crash, the first byte may be NUL."""
    begin = data[:8].replace(b"\0", b"{", 1)
    return not data.strip(b"\0\n") or b'{"role":'.startswith(begin)


def parse_messages(data: bytes, where: str) -> list[dict[str, Any]]:
    """Return the messages in `data`, which contains one message per line or a JSON array of messages.

    Raises RequestError. Its message begins with `where`, the name of the input, and the line or message number.
    """
    messages: list[dict[str, Any]]
    if data.lstrip().startswith(b"["):
        messages = parse_json(data, where)
        places = [f"{where}: message {number}" for number in range(1, len(messages) + 1)]
    else:
        messages, places = [], []
        try:
            lines = [line for lines in split_lines([data]) for line in lines]
        except NotNDJSON as error:
            raise RequestError(f"{where}: {error}") from None
        for lineno, line in enumerate(lines, 1):
            try:
                message = decode_line(line)
            except NotNDJSON as error:
                raise RequestError(f"{where}:{lineno}: {error}") from None
            if message is not None:
                messages.append(message)
                places.append(f"{where}:{lineno}")
    for message, place in zip(messages, places):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RequestError(
                f'{place}: not a message (no "role")',
                advice="use run-tools to convert an answer to messages" if _is_answer(message) else "",
            )
    return messages


def _is_answer(value: Any) -> bool:
    return isinstance(value, dict) and ("message" in value or "response" in value)
