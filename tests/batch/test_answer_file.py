"""The file of the answers: what is in it, what is repaired, and that nobody else has it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ostream.batch.answer_file import StdoutSink, open_answers
from ostream.batch.resume_index import BUCKETS, ENTRY, ResumeIndex
from ostream.errors import OstreamError, OutputError, RequestError
from ostream.system.files import locked
from ostream.system.output import Output
from tests.process import small_files


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def answer(id: Any, body: str = "") -> bytes:
    return b'{"done":true,"id":%b,"body_sha256":"%b"}\n' % (json.dumps(id).encode(), sha(body).encode())


def failure(id: Any) -> bytes:
    return b'{"error":"boom","exit_status":1,"id":%b}\n' % json.dumps(id).encode()


def test_an_id_is_new_once() -> None:
    known = ResumeIndex()
    assert known.add(b'"a"', sha("1"))
    assert known.add(b'"b"', sha("1"))
    assert not known.add(b'"a"', sha("1"))
    with pytest.raises(ValueError, match="another body"):
        known.add(b'"a"', sha("2"))
    assert known.count == 2


def test_many_ids_are_told_apart_and_take_16_bytes_each() -> None:
    known = ResumeIndex()
    count = 300_000
    body = sha("")
    assert all(known.add(b"%d" % number, body) for number in range(count))
    assert not any(known.add(b"%d" % number, body) for number in range(0, count, 7))
    assert known.count == count
    sizes = [len(bucket) for bucket in known._buckets]
    assert sum(sizes) == ENTRY * count
    # No bucket is so much larger than the others that looking into it would be slow.
    assert max(sizes) < 4 * ENTRY * count / BUCKETS


def test_a_hash_is_not_found_across_two_entries() -> None:
    """Bytes that look like an id but stand elsewhere are none."""
    known = ResumeIndex()
    key = b'"a"'
    digest = hashlib.sha256(key).digest()
    bucket = int.from_bytes(digest[:2], "big") % BUCKETS
    known._buckets[bucket] = bytes(4) + digest[2:10] + bytes(4)
    assert known.add(key, sha(""))
    assert not known.add(key, sha(""))
    known._buckets[bucket] = bytes(4) + digest[2:10] + bytes(4) + digest[2:10] + bytes.fromhex(sha("x")[:16])
    assert not known.add(key, sha("x"))


A, B, C = answer("a"), answer("b"), answer(3)
# before, after, ids that are known, how many lines were dropped
FILES: dict[str, tuple[bytes, bytes, list[str], int]] = {
    "empty": (b"", b"", [], 0),
    "whole": (A + B + C, A + B + C, ["a", "b", "3"], 0),
    "no last newline": (A + B[:-1], A + B, ["a", "b"], 0),
    "only a line without a newline": (A[:-1], A, ["a"], 0),
    **{f"torn after {n}": (A + B[:n], A, ["a"], 0) for n in (1, 2, 30, len(B) - 2)},
    "torn from the start": (b'{"done', b"", [], 0),
    "failures": (failure("x") + A + failure("y") + B, A + B, ["a", "b"], 2),
    "a failure and a torn line": (A + failure("x") + B[:9], A, ["a"], 1),
    "a failure without a newline": (A + failure("x")[:-1], A, ["a"], 1),
    "a failure of an input": (b'{"error":"x: No such file","exit_status":2}\n' + A, A, ["a"], 1),
    "twice the same": (A + B + A, A + B, ["a", "b"], 1),
    "blank lines": (A + b"\n" + B, A + B, ["a", "b"], 1),
    "a hole that a crash left": (A + bytes(20) + B + C, A + C, ["a", "3"], 1),
    "a hole at the end": (A + bytes(4096), A, ["a"], 1),
    "a record of OpenAI's": (
        b'{"id":"batch_req_1","custom_id":"a","error":null,"body_sha256":"%b"}\n' % sha("").encode(),
        b'{"id":"batch_req_1","custom_id":"a","error":null,"body_sha256":"%b"}\n' % sha("").encode(),
        ["a"],
        0,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_and_repaired(name: str, tmp_path: Path) -> None:
    before, after, ids, dropped = FILES[name]
    path = tmp_path / "answers"
    path.write_bytes(before)
    seen: list[str] = []
    with open_answers(str(path), True, [], lambda line: seen.append(str(line.get("custom_id", line["id"])))) as answers:
        assert path.read_bytes() == after
        assert answers.known
        assert (seen, answers.known.count, answers.dropped) == (ids, len(ids), dropped)
        answers.write(answer("new"))
        answers.sync()
        answers.sync()
    assert path.read_bytes() == after + answer("new")
    assert os.listdir(tmp_path) == ["answers"]


NOT_OURS = {
    "text": b"hello\n",
    "a request": b'{"id":"a","prompt":"hi"}\n',
    "a request without a newline": b'{"id":"a","prompt":"hi"}',
    "a document": b'{\n "a": 1\n}\n',
    "an array": b"[]",
    "something behind the answers": A + b"hello",
    "one id, two bodies": A + answer("a", "other"),
}


@pytest.mark.parametrize("name", NOT_OURS)
def test_a_file_that_batch_did_not_write_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / "answers"
    path.write_bytes(NOT_OURS[name])
    with pytest.raises(RequestError, match=rf"answers:{NOT_OURS[name].startswith(A) + 1}: "), open_answers(
        str(path), True, []
    ):
        pass
    assert path.read_bytes() == NOT_OURS[name]
    assert os.listdir(tmp_path) == ["answers"]


def test_a_file_is_made(tmp_path: Path) -> None:
    for resume in (False, True):
        with open_answers(str(tmp_path / str(resume)), resume, []) as answers:
            answers.write(A)
        assert (tmp_path / str(resume)).read_bytes() == A


def test_answers_that_are_there_are_not_lost_by_mistake(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    path.write_bytes(A)
    with pytest.raises(RequestError, match="not empty") as caught, open_answers(str(path), False, []):
        pass
    assert "--resume" in caught.value.advice
    assert path.read_bytes() == A


def test_the_file_of_the_answers_is_no_input(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    path.write_bytes(b"")
    with pytest.raises(RequestError, match="also an input"), open_answers(str(path), True, ["-", str(path)]):
        pass


CANNOT: dict[str, tuple[str, type[OstreamError], str]] = {
    "no such folder": ("none/answers", OutputError, "none/answers: No such file"),
    "a folder": ("folder", OutputError, "folder: Is a directory"),
    "a FIFO": ("fifo", RequestError, "fifo: not a regular file"),
    "a file beside its lock": ("Cargo", RequestError, "Cargo.lock: is no lock of ours; it holds something"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_a_file_that_cannot_be_one(name: str, tmp_path: Path) -> None:
    path, kind, words = CANNOT[name]
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "Cargo.lock").write_text("mine")
    with pytest.raises(kind, match=words), open_answers(f"{tmp_path}/{path}", True, []):
        pass
    assert sorted(os.listdir(tmp_path)) == ["Cargo.lock", "fifo", "folder"]


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_standard_output_is_no_file_of_its_own(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=f"{name}: not a regular file") as caught, open_answers(name, True, []):
        pass
    assert caught.value.advice == "without -o, the answers go to standard output"
    assert os.listdir(tmp_path) == []


def test_a_second_run_is_kept_out(tmp_path: Path) -> None:
    path = str(tmp_path / "answers")
    (tmp_path / "link").symlink_to("answers")
    with open_answers(path, True, []):
        for name in (path, str(tmp_path / "link")):
            with pytest.raises(RequestError, match=f"{name}: another run is writing it"), open_answers(name, True, []):
                pass
        assert os.path.exists(f"{path}.lock")
    with locked(f"{path}.lock", os.O_RDWR | os.O_CREAT), pytest.raises(RequestError), open_answers(path, True, []):
        pass
    with open_answers(path, True, []):  # a lock file that a killed run left is none
        os.unlink(f"{path}.lock")  # and who takes one that is held for that breaks nothing


def test_what_a_killed_compaction_left_goes_away(tmp_path: Path) -> None:
    (tmp_path / "answers").write_bytes(A)
    (tmp_path / "answers.0a1b2c3d.new").write_bytes(A)
    with open_answers(str(tmp_path / "answers"), True, []):
        assert sorted(os.listdir(tmp_path)) == ["answers", "answers.lock"]


def test_an_answer_that_does_not_fit_is_not_added_at_all(tmp_path: Path) -> None:
    with small_files(300):
        path = tmp_path / "answers"
        with pytest.raises(OutputError, match="answers: File too large"), open_answers(str(path), True, []) as answers:
            for _ in range(2):
                answers.write(A)
            with pytest.raises(OutputError):
                answers.write(b"x" * 200)
            answers.write(b"x" * 200)
        assert path.read_bytes() == A + A


def test_a_newline_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with small_files(300):
        path = tmp_path / "answers"
        line = b'{"x":"%b",' % (b"x" * (300 - len(A) - 6)) + A[1:-1]
        assert len(line) == 300
        path.write_bytes(line)
        with pytest.raises(OutputError, match="answers: File too large"), open_answers(str(path), True, []):
            pass
        assert path.read_bytes() == line


def test_standard_output_is_made_durable_where_that_means_something(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as file:
        lines = StdoutSink(Output(file.fileno(), "out"))
        lines.write(A)
        lines.sync()
    assert (tmp_path / "out").read_bytes() == A
    reader, writer = os.pipe()
    lines = StdoutSink(Output(writer, "out"))
    lines.write(A)
    lines.sync()
    assert os.read(reader, 1000) == A
    for fd in (reader, writer):
        os.close(fd)


def test_a_disk_that_fails_to_keep_what_it_took_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(fd: int) -> None:
        raise OSError(5, os.strerror(5))

    with pytest.raises(OutputError, match="answers: Input/output error"), open_answers(
        str(tmp_path / "answers"), True, []
    ) as answers:
        answers.write(A)
        monkeypatch.setattr(os, "fsync", fsync)  # no such disk is at hand
