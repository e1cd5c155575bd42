"""Context files of /api/generate."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ostream.errors import InputError, OstreamError, RequestError
from ostream.storage.context import read_context, write_context
from ostream.system.files import check_directory
from tests.server import body_of

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
    (b"", "m", "not JSON"),
    (b'{"a":1}\n{"b":2}\n', "m", "not JSON"),
]


@pytest.mark.parametrize(("content", "model", "expected"), FILES)
def test_a_context_is_read_for_its_own_model_only(
    tmp_path: Path, content: bytes, model: str, expected: list[int] | str
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
