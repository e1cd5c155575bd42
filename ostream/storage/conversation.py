"""A conversation in a file: message lines, one JSON object each, that people can read, edit, grep and put under
version control.

Appended under a lock, a question and its answer in one write. Who was killed in it leaves at most a last line without
its end; the next one to read sets that aside.
"""

from __future__ import annotations

import os

from ostream.errors import InputError, NotNDJSON, OstreamError, RequestError, reason
from ostream.protocol.ndjson import decode_line, encode_line, is_cut, split_lines
from ostream.protocol.request import parse_json
from ostream.system.files import append, check_folder, locked, read_all, sync_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


_TO_LINES = "import json, sys; [print(json.dumps(m)) for m in json.load(sys.stdin)]"


class Conversation:
    """The messages in a file, which need not be there yet. `note` is told what was repaired."""

    def __init__(self, path: str, note: Callable[[str], None]) -> None:
        self.path = path
        self.messages: list[dict[str, Any]] = []  # what was read
        self._note = note

    def read(self) -> None:
        """Fill `messages` with all there are so far.

        Raises InputError or RequestError for what is not a conversation, or can't be written later.
        """
        try:
            with locked(self.path, os.O_RDWR) as fd:
                data = self._without_torn_line(fd)
        except FileNotFoundError:
            check_folder(self.path)
            return
        if data.lstrip().startswith(b"["):
            from shlex import quote

            raise RequestError(
                f"{self.path}: a JSON array can't be appended to",
                advice=f"make lines of it: python3 -c '{_TO_LINES}' < {quote(self.path)} > NEW",
            )
        self.messages = parse_messages(data, self.path)

    def append(self, messages: list[dict[str, Any]]) -> None:
        """Add what came to be said after those that were read: all of it or nothing, durably.

        A system message is only added to an empty file: somebody else may have begun the conversation meanwhile.
        """
        messages = messages[len(self.messages) :]
        try:
            with locked(self.path, os.O_RDWR | os.O_CREAT) as fd:
                data = self._without_torn_line(fd)
                if data.strip() and messages[0]["role"] == "system":
                    messages = messages[1:]
                missing = b"" if not data or data.endswith(b"\n") else b"\n"
                append(fd, missing + b"".join(map(encode_line, messages)))
            if not data:
                sync_folder(self.path)
        except OSError as error:
            raise OstreamError(
                f"{self.path}: {reason(error)}", advice="the answer is whole, but the conversation has not got it"
            ) from None

    def _without_torn_line(self, fd: int) -> bytes:
        """What the file holds. A last line that was cut off is moved to FILE.torn."""
        data = read_all(fd)
        end = data.rfind(b"\n") + 1
        if not is_cut(data[end:]):
            return data
        aside = f"{self.path}.torn"
        try:
            with locked(aside, os.O_RDWR | os.O_CREAT) as torn:
                append(torn, data[end:] + b"\n")
            os.ftruncate(fd, end)
        except OSError as error:
            raise InputError(f"{aside}: {reason(error)}") from None
        self._note(f"{self.path}: the last line was cut off; it is now in {aside}")
        return data[:end]


def parse_messages(data: bytes, where: str) -> list[dict[str, Any]]:
    """Message lines, or a JSON array of messages. Raises RequestError, naming the place."""
    messages: list[dict[str, Any]]
    if data.lstrip().startswith(b"["):
        messages = parse_json(data, where)
        places = [f"{where}: message {number}" for number in range(1, len(messages) + 1)]
    else:
        messages, places = [], []
        for lineno, line in enumerate((line for lines in split_lines([data]) for line in lines), 1):
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
                f"{place}: not a message, which has a role",
                advice="'run-tools' makes message lines of an answer" if _is_chunk(message) else "",
            )
    return messages


def _is_chunk(value: Any) -> bool:
    return isinstance(value, dict) and ("message" in value or "response" in value)
