"""Conversations: message lines in a file that is read, repaired and appended to."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import InputError, OstreamError, RequestError
from ostream.storage.conversation import Conversation, parse_messages
from tests.process import small_files

USER = {"role": "user", "content": "why?"}
ANSWER = {"role": "assistant", "content": "because ☂", "thinking": "hm"}
SYSTEM = {"role": "system", "content": "short"}


def lines(*messages: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(message, ensure_ascii=False).encode() + b"\n" for message in messages)


class Chat(Conversation):
    """A conversation in a file of its own; `notes` is what it said."""

    def __init__(self, folder: Path, held: bytes | None = None) -> None:
        self.notes: list[str] = []
        self.file = folder / "chat"
        if held is not None:
            self.file.write_bytes(held)
        super().__init__(str(self.file), self.notes.append)

    @property
    def held(self) -> list[Any]:
        data = self.file.read_bytes()
        assert data.endswith(b"\n")
        return [json.loads(line) for line in data.splitlines()]


READ = [
    # what is in the file, the messages
    (None, []),
    (b"", []),
    (b"\n \n", []),
    (lines(USER, ANSWER), [USER, ANSWER]),
    (lines(USER, ANSWER)[:-1], [USER, ANSWER]),
    (b"\xef\xbb\xbf" + lines(USER) + b"\r\n" + lines(ANSWER), [USER, ANSWER]),
    (lines({**USER, "mine": 1, "images": ["aGk="]}), [{**USER, "mine": 1, "images": ["aGk="]}]),
]


@pytest.mark.parametrize(("held", "messages"), READ)
def test_what_a_file_says_is_read_and_goes_on(tmp_path: Path, held: bytes | None, messages: list[Any]) -> None:
    chat = Chat(tmp_path, held)
    chat.read()
    assert chat.messages == messages
    assert chat.file.exists() == (held is not None), "reading makes no file"
    chat.append([*messages, USER, ANSWER])
    again = Chat(tmp_path)
    again.read()
    assert again.messages == [*messages, USER, ANSWER]
    assert chat.notes == again.notes == []


WRONG: list[tuple[bytes, str]] = [
    (b"hello\n", r"chat:1: not JSON"),
    (b"hello", r"chat:1: not JSON"),
    (lines(USER) + b"[1]\n", r"chat:2: not a JSON object but an array"),
    (lines(USER) + b'{"content":"x"}\n', r"chat:2: not a message, which has a role$"),
    (b'{"role":5}\n', r"chat:1: not a message"),
    (b'{"message":{"role":"assistant"},"done":true}\n', r"chat:1: not a message, which has a role"),
    (b'[{"role":"user"}]', r"chat: a JSON array can't be appended to"),
]


@pytest.mark.parametrize(("held", "words"), WRONG)
def test_what_is_no_conversation_is_refused_and_left_alone(tmp_path: Path, held: bytes, words: str) -> None:
    chat = Chat(tmp_path, held)
    with pytest.raises(RequestError, match=words):
        chat.read()
    assert chat.file.read_bytes() == held


def test_the_line_that_converts_an_array_does(tmp_path: Path) -> None:
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
    (lambda path: path.symlink_to("/none/chat"), "nothing can be written in /none"),
]


@pytest.mark.parametrize(("make", "words"), UNUSABLE)
def test_what_could_not_be_written_later_is_refused_before(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    make(tmp_path / "chat")
    with pytest.raises(InputError, match=words):
        Chat(tmp_path).read()


@pytest.mark.parametrize("cut", range(1, len(lines(ANSWER)) - 1))
@pytest.mark.parametrize("first", ["read", "append"])
def test_a_last_line_that_was_cut_off_is_set_aside(tmp_path: Path, cut: int, first: str) -> None:
    chat = Chat(tmp_path, lines(USER) + lines(ANSWER)[:cut])
    if first == "read":
        chat.read()
        assert chat.messages == [USER]
    else:
        chat.messages = [USER]
    chat.append([USER, ANSWER])
    assert chat.held == [USER, ANSWER]
    assert (tmp_path / "chat.torn").read_bytes() == lines(ANSWER)[:cut] + b"\n"
    assert chat.notes == [f"{chat.path}: the last line was cut off; it is now in {chat.path}.torn"]


def test_nothing_that_was_set_aside_is_overwritten(tmp_path: Path) -> None:
    for torn in (b'{"a', b'{"b'):
        Chat(tmp_path, torn).read()
    assert (tmp_path / "chat.torn").read_bytes() == b'{"a\n{"b\n'


def test_what_cannot_be_set_aside_stays(tmp_path: Path) -> None:
    (tmp_path / "chat.torn").mkdir()
    chat = Chat(tmp_path, b'{"a')
    with pytest.raises(InputError, match=r"chat.torn: Is a directory"):
        chat.read()
    assert chat.file.read_bytes() == b'{"a'


def test_a_system_message_comes_only_first(tmp_path: Path) -> None:
    ours, theirs = Chat(tmp_path), Chat(tmp_path)
    ours.read()
    theirs.read()
    ours.append([SYSTEM, USER, ANSWER])
    theirs.append([SYSTEM, USER, ANSWER])
    assert ours.held == [SYSTEM, USER, ANSWER, USER, ANSWER]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    chat = Chat(tmp_path, lines(USER, ANSWER))
    chat.read()
    with small_files(len(lines(USER, ANSWER)) + 10), pytest.raises(
        OstreamError, match="chat: File too large"
    ) as caught:
        chat.append([USER, ANSWER, USER, ANSWER])
    assert caught.value.advice == "the answer is whole, but the conversation has not got it"
    assert chat.held == [USER, ANSWER]


def test_a_disk_too_full_to_set_aside_is_an_input_error(tmp_path: Path) -> None:
    chat = Chat(tmp_path, b'{"a')
    with small_files(1), pytest.raises(InputError, match=r"chat.torn: File too large"):
        chat.read()
    assert chat.file.read_bytes() == b'{"a'


def test_a_folder_that_went_away_is_told(tmp_path: Path) -> None:
    chat = Chat(tmp_path)
    chat.read()
    chat.path = str(tmp_path / "gone" / "chat")
    with pytest.raises(OstreamError, match=os.strerror(errno.ENOENT)):
        chat.append([USER, ANSWER])


ARRAYS: list[tuple[bytes, str]] = [
    (b"[1]", "f: message 1: not a message"),
    (b'[{"role":"user"},{}]', "f: message 2: not a message"),
    (b"[", "f: not JSON"),
]


@pytest.mark.parametrize(("data", "words"), ARRAYS)
def test_an_array_is_of_messages(data: bytes, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        parse_messages(data, "f")


def test_an_answer_is_no_message_and_what_makes_one_of_it_is_said() -> None:
    with pytest.raises(RequestError) as caught:
        parse_messages(b'{"response":"hi","done":true}\n', "f")
    assert caught.value.advice == "'run-tools' makes message lines of an answer"


@given(st.binary())
def test_any_bytes_are_messages_or_a_request_error(data: bytes) -> None:
    try:
        messages = parse_messages(data, "f")
    except RequestError:
        return
    assert all(isinstance(message["role"], str) for message in messages)
