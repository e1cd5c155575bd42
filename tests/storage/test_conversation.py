"""Conversation files and context files: reading, repairing, appending and replacing."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import InputError, OstreamError, RequestError, StreamTimeout
from ostream.storage.context import read_context, write_context
from ostream.storage.conversation import Conversation, parse_messages, split_damage
from ostream.system.files import append_atomically, check_directory, locked
from tests.process import small_files
from tests.server import body_of

USER = {"role": "user", "content": "why?"}
ANSWER = {"role": "assistant", "content": "because ☂", "thinking": "hm"}
SYSTEM = {"role": "system", "content": "short"}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}] * 2}
RESULT = {"role": "tool", "content": "1", "tool_name": "f"}


def lines(*messages: dict[str, Any]) -> bytes:
    return b"".join(
        json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for message in messages
    )


class Chat(Conversation):
    """A conversation in `folder`/chat, with `content` written first; `notes` collects its messages."""

    def __init__(self, folder: Path, content: bytes | None = None, max_time: float | None = None) -> None:
        self.notes: list[str] = []
        self.file = folder / "chat"
        if content is not None:
            self.file.write_bytes(content)
        super().__init__(str(self.file), self.notes.append, max_time)


READ = [
    # content of the file, its messages
    (None, []),
    (b"", []),
    (b"\n \n", []),
    (lines(USER, ANSWER), [USER, ANSWER]),
    (lines(USER, ANSWER)[:-1], [USER, ANSWER]),
    (b"\xef\xbb\xbf" + lines(USER) + b"\r\n" + lines(ANSWER), [USER, ANSWER]),
    (lines({**USER, "mine": 1, "images": ["aGk="]}), [{**USER, "mine": 1, "images": ["aGk="]}]),
]


@pytest.mark.parametrize(("content", "messages"), READ)
def test_messages_are_read_and_an_exchange_is_appended(
    tmp_path: Path, content: bytes | None, messages: list[Any]
) -> None:
    chat = Chat(tmp_path, content)
    chat.read()
    assert chat.messages == messages
    assert chat.file.exists() == (content is not None), "reading creates no file"
    chat.append([*messages, USER, ANSWER])
    again = Chat(tmp_path)
    again.read()
    assert again.messages == [*messages, USER, ANSWER]
    assert chat.notes == again.notes == []


REFUSED: list[tuple[bytes, str]] = [
    (b"hello\n", r"chat:1: not JSON"),
    (b"hello", r"chat:1: not JSON"),
    (b"hello\0\nworld\n", r"chat:1: not JSON"),
    (b"\0\0\nprecious\0text\n", r"chat:1: not JSON"),
    (lines(USER) + b"\0\nprecious text\n", r"chat:2: not JSON"),
    (b"{{ template }}", r"chat:1: not JSON"),
    (b'[1]\n{"a', r"chat: a JSON array can't be appended to"),
    (lines(USER) + b"[1]\n", r"chat:2: not a JSON object but an array"),
    (lines(USER) + b'{"content":"x"}\n{"rol', r'chat:2: not a message \(no "role"\)$|chat:3: not JSON'),
    (b'{"role":5}\n', r"chat:1: not a message"),
    (b'{"message":{"role":"assistant"},"done":true}\n', r"chat:1: not a message"),
    (b'[{"role":"user"}]', r"chat: a JSON array can't be appended to"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_a_file_that_is_not_a_conversation_is_refused_and_not_changed(
    tmp_path: Path, content: bytes, message: str
) -> None:
    chat = Chat(tmp_path, content)
    with pytest.raises(RequestError, match=message):
        chat.read()
    assert chat.file.read_bytes() == content
    assert os.listdir(tmp_path) == ["chat"]


def test_the_command_in_the_advice_converts_an_array_to_lines(tmp_path: Path) -> None:
    chat = Chat(tmp_path, json.dumps([USER, ANSWER]).encode())
    chat.path = str(chat.file.rename(tmp_path / "it's $1; a chat"))
    with pytest.raises(RequestError) as caught:
        chat.read()
    command = caught.value.advice.partition(": ")[2].replace("NEW", str(tmp_path / "new"))
    assert os.system(command) == 0
    assert parse_messages((tmp_path / "new").read_bytes(), "new") == [USER, ANSWER]


UNUSABLE: list[tuple[Callable[[Path], object], str]] = [
    (Path.mkdir, "Is a directory"),
    (os.mkfifo, "not a regular file"),
    (lambda path: path.symlink_to("/none/chat"), "the directory /none does not exist"),
]


@pytest.mark.parametrize(("make", "message"), UNUSABLE)
def test_a_path_that_can_not_be_appended_to_later_is_refused_by_read(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / "chat")
    with pytest.raises(InputError, match=message):
        Chat(tmp_path).read()


class Crash(BaseException):
    """The machine stops."""


def test_after_a_crash_at_any_byte_an_exchange_is_complete_or_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = lines(USER, ANSWER)
    write = os.write
    for size in range(len(block) + 1):
        chat = Chat(tmp_path, lines(SYSTEM))
        (tmp_path / "chat.torn").unlink(missing_ok=True)

        def crash(fd: int, data: Any, size: int = size) -> int:
            write(fd, bytes(data)[:size])
            raise Crash

        with monkeypatch.context() as patch, pytest.raises(Crash), locked(chat.path, os.O_RDWR) as fd:
            patch.setattr(os, "write", crash)
            append_atomically(fd, block)
        chat.append([USER, ANSWER])
        assert chat.file.read_bytes() == lines(SYSTEM) + block
        torn = (b"\0" + block[1:])[:size]
        assert ((tmp_path / "chat.torn").read_bytes().rstrip(b"\n") if size else b"") == torn.rstrip(b"\n")
        assert chat.notes == [f"{chat.path}: moved the messages of an interrupted write to {chat.path}.torn"] * bool(
            size
        )


HOLE = bytes(100)
DAMAGED = [
    # content, what is kept, what is set aside
    (lines(SYSTEM, USER) + lines(ANSWER)[:9], lines(SYSTEM), lines(USER) + lines(ANSWER)[:9]),
    (lines(USER, ANSWER) + HOLE, lines(USER, ANSWER), HOLE),
    (HOLE, b"", HOLE),
    (b'{"ro', b"", b'{"ro'),
    (b'\0"ro', b"", b'\0"ro'),
    # the end of an exchange is lost, and the beginning of the next one
    (
        lines(USER, ANSWER, USER) + HOLE + lines(ANSWER, ANSWER, USER, ANSWER),
        lines(USER, ANSWER, USER, ANSWER),
        lines(USER) + HOLE + lines(ANSWER, ANSWER),
    ),
    # a round of tools is kept when it is complete
    (lines(USER, CALL, RESULT, RESULT) + b'{"role', lines(USER, CALL, RESULT, RESULT), b'{"role'),
    (lines(USER, CALL, RESULT) + b'{"role', b"", lines(USER, CALL, RESULT) + b'{"role'),
    (b"\n" + lines(USER) + b'\n{"role', b"\n", lines(USER) + b'\n{"role'),
]


@pytest.mark.parametrize(("content", "kept", "damaged"), DAMAGED)
def test_an_exchange_that_a_crash_damaged_is_set_aside_completely(
    tmp_path: Path, content: bytes, kept: bytes, damaged: bytes
) -> None:
    for earlier in (b"", damaged + b"\n" * (not damaged.endswith(b"\n"))):
        chat = Chat(tmp_path, content)
        chat.read()
        assert chat.file.read_bytes() == kept
        assert (tmp_path / "chat.torn").read_bytes().rstrip(b"\n") == (earlier + damaged).rstrip(b"\n")
        assert lines(*chat.messages) == kept.lstrip(b"\n")


def test_damage_that_can_not_be_set_aside_stays(tmp_path: Path) -> None:
    content = lines(USER, ANSWER) + HOLE + lines(ANSWER)
    chat = Chat(tmp_path, content)
    with small_files(50), pytest.raises(InputError, match=r"chat.torn: File too large"):
        chat.read()
    (tmp_path / "chat.torn").unlink()
    (tmp_path / "chat.torn").write_bytes(b"")
    chat = Chat(tmp_path, lines(USER, ANSWER) * 5 + HOLE + lines(ANSWER, USER))
    with small_files(len(HOLE + lines(ANSWER))), pytest.raises(InputError, match=r"chat: File too large"):
        chat.read()
    chat = Chat(tmp_path, content)
    (tmp_path / "chat.torn").unlink()
    (tmp_path / "chat.torn").mkdir()
    with pytest.raises(InputError, match=r"chat.torn: Is a directory"):
        chat.read()
    (tmp_path / "chat.torn").rmdir()
    os.link(chat.file, tmp_path / "chat.torn")
    with pytest.raises(InputError, match=r"chat.torn: is another name of .*chat$"):
        chat.read()
    assert chat.file.read_bytes() == content


def test_only_the_first_of_two_processes_writes_the_system_message(tmp_path: Path) -> None:
    first, second = Chat(tmp_path), Chat(tmp_path)
    first.read()
    second.read()
    first.append([SYSTEM, USER, ANSWER])
    second.append([SYSTEM, USER, ANSWER])
    assert first.file.read_bytes() == lines(SYSTEM, USER, ANSWER, USER, ANSWER)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    content = lines(USER, ANSWER)
    chat = Chat(tmp_path, content)
    chat.read()
    with small_files(len(content) + 10), pytest.raises(OstreamError, match="chat: File too large") as caught:
        chat.append([USER, ANSWER, USER, ANSWER])
    assert caught.value.advice == "the answer is complete, but was not saved to the conversation"
    assert chat.file.read_bytes() == content


def test_a_locked_file_is_waited_for_within_max_time_and_reported_after_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0, 0.05)
    monkeypatch.setattr("ostream.storage.conversation.time", SimpleNamespace(monotonic=clock.__next__))
    chat = Chat(tmp_path, lines(USER, ANSWER), max_time=0.2)
    with locked(chat.path, os.O_RDWR):
        with pytest.raises(StreamTimeout, match=r"chat: still locked by another process after 0\.2 s") as caught:
            chat.read()
        assert (caught.value.timeout, caught.value.advice) == ("max-time", "allow more with --max-time")
        assert next(clock) < 1
        assert chat.notes == []
        with pytest.raises(StreamTimeout) as caught:  # a complete answer is worth another second
            chat.append([USER, ANSWER])
        assert caught.value.advice == "the answer is complete, but was not saved to the conversation"
        assert next(clock) > 1

    waiting = Chat(tmp_path)
    with locked(chat.path, os.O_RDWR):
        thread = threading.Thread(target=waiting.read)
        thread.start()
        while thread.is_alive() and not waiting.notes:
            time.sleep(0.01)
    thread.join()
    assert waiting.messages == [USER, ANSWER]
    assert waiting.notes == [f"{chat.path}: waiting for another process to unlock it"]


ARRAYS: list[Any] = [
    (b"[1]", "f: message 1: not a message"),
    pytest.param(b"x" * (65 << 20), "f: a line of more than 67,108,864 bytes", id="long line"),
    (b'[{"role":"user"},{}]', "f: message 2: not a message"),
    (b"[", "f: not JSON"),
]


@pytest.mark.parametrize(("data", "message"), ARRAYS)
def test_an_array_must_consist_of_messages(data: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_messages(data, "f")


def test_an_answer_among_the_messages_is_refused_with_the_command_that_converts_it() -> None:
    with pytest.raises(RequestError) as caught:
        parse_messages(b'{"response":"hi","done":true}\n', "f")
    assert caught.value.advice == "use run-tools to convert an answer to messages"


PIECES = st.binary(max_size=9) | st.sampled_from(
    [lines(m) for m in (USER, ANSWER, SYSTEM, CALL, RESULT)] + [b"\0", b"\n"]
)


@given(st.lists(PIECES, max_size=8).map(b"".join))
def test_any_bytes_are_messages_or_refused_and_damage_is_split_without_loss(data: bytes) -> None:
    kept, damaged = split_damage(data)
    assert sorted(kept + damaged) == sorted(data)
    assert split_damage(kept) == (kept, b"") or not damaged
    try:
        messages = parse_messages(data, "f")
    except RequestError:
        return
    assert all(isinstance(message["role"], str) for message in messages)


LAST = body_of("generate-stream").splitlines()[-1]
NUMBERS = json.loads(LAST)["context"]

FILES = [
    # content of the file, model of the request, the context or the error message
    (b"[1,2]", "any", [1, 2]),
    (b"[]", "any", []),
    (b'{"model":"m","context":[1]}\n', "m", [1]),
    (b'{"model":"m:latest","context":[1]}', "m", [1]),
    (b'{"model":"m","context":[1]}', "m:latest", [1]),
    (b'{"context":[1]}', "m", [1]),
    (LAST, "plain", NUMBERS),
    (LAST, "plain:7b", r"f: the context was made by model plain, not plain:7b$"),
    (b'{"model":"host:1/m","context":[1]}', "host:1/m:latest", [1]),
    (b'{"model":"m"}', "m", r'f: has no "context" array of integers$'),
    (b"{}", "m", r'f: has no "context" array of integers$'),
    (b"[1.5]", "m", r'f: has no "context" array of integers$'),
    (b"[true]", "m", r'f: has no "context" array of integers$'),
    (b'"1"', "m", r'f: has no "context" array of integers$'),
    (b"", "m", None),
    (b'{"a":1}\n{"b":2}\n', "m", "not JSON"),
]


@pytest.mark.parametrize(("content", "model", "expected"), FILES)
def test_a_context_is_read_for_its_own_model_only(
    tmp_path: Path, content: bytes, model: str, expected: list[int] | str | None
) -> None:
    (tmp_path / "f").write_bytes(content)
    if isinstance(expected, str):
        with pytest.raises(RequestError, match=expected):
            read_context(str(tmp_path / "f"), model)
    else:
        assert read_context(str(tmp_path / "f"), model) == expected


UNREADABLE = [
    (".", "not a regular file"),
    ("fifo", "not a regular file"),
    ("f/f", "Not a directory"),
    ("a" * 300, "File name too long"),
    ("a\0", "null"),
]


@pytest.mark.parametrize(("name", "message"), UNREADABLE)
def test_a_file_that_can_not_be_read_is_an_input_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "f").touch()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match=message):
        read_context(str(tmp_path / name), "m")


def test_a_missing_folder_is_reported_before_the_request_and_after_it(tmp_path: Path) -> None:
    path = str(tmp_path / "none" / "f")
    with pytest.raises(InputError, match=r"none/f: the directory .*none does not exist or is not writable"):
        check_directory(path)
    with pytest.raises(OstreamError) as caught:
        write_context(path, "m", [1])
    assert caught.value.advice == "the answer is complete, but its context was not saved"
    assert os.listdir(tmp_path) == []
