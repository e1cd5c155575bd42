"""The file of answers: what is in it, what is repaired, and that nothing else is written or lost."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import struct
from pathlib import Path
from typing import Any

import pytest

from ostream.batch import answer_file, set_aside
from ostream.batch.answer_file import open_answers
from ostream.batch.resume_index import (
    BUCKETS,
    CHANGED,
    CONFLICT,
    ENTRY,
    FAILED_BEFORE,
    NEW,
    REPEATED,
    SAME,
    ResumeIndex,
)
from ostream.errors import InputError, OstreamError, OutputError, RequestError
from ostream.system.files import locked
from tests.process import small_files


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def answer(id: Any, body: str = "") -> bytes:
    return b'{"done":true,"id":%b,"body_sha256":"%b"}\n' % (json.dumps(id).encode(), sha(body).encode())


def failure(id: Any) -> bytes:
    return b'{"error":"boom","exit_status":1,"id":%b}\n' % json.dumps(id).encode()


def test_index_tells_what_is_known_of_a_row() -> None:
    index = ResumeIndex()
    assert index.load(b'"a"', sha("1"))
    assert not index.load(b'"a"', sha("2"))
    index.load_failure(b'"f"')
    index.load_failure(b'"a"')
    index.load_failure(b'"g"')
    assert index.load(b'"g"', sha("1"))
    assert (index.answered, index.failed, index.unseen) == (2, 1, 2)
    assert index.look_up(b'"a"', sha("1"), 0) == (SAME, 0)
    assert index.look_up(b'"a"', sha("1"), 7) == (REPEATED, 0)
    assert index.look_up(b'"a"', sha("2"), 8) == (CONFLICT, 0)
    assert index.look_up(b'"g"', sha("2"), 3) == (CHANGED, 0)
    assert index.look_up(b'"f"', sha("2"), 4) == (FAILED_BEFORE, 0)
    assert index.look_up(b'"n"', sha("1"), 5) == (NEW, 0)
    assert index.look_up(b'"n"', sha("2"), 6) == (CONFLICT, 5)
    assert index.unseen == 0


def test_many_ids_take_20_bytes_each() -> None:
    index = ResumeIndex()
    count = 150_000
    body = sha("")
    assert all(index.load(b"%d" % number, body) for number in range(count))
    assert not any(index.load(b"%d" % number, body) for number in range(0, count, 7))
    sizes = [len(bucket) for bucket in index._buckets]
    assert sum(sizes) == ENTRY * count
    # No bucket is so much larger than the others that searching it would be slow.
    assert max(sizes) < 4 * ENTRY * count / BUCKETS


def test_hash_is_not_found_across_two_entries() -> None:
    index = ResumeIndex()
    key = b'"a"'
    id = struct.pack("<q", hash(key))
    index._buckets[hash(key + b"\0") % BUCKETS] = bytearray(4) + id + bytes(8)
    assert index.load(key, sha(""))
    assert not index.load(key, sha(""))


A, B, C = answer("a"), answer("b"), answer(3)
RECORD = b'{"id":"batch_req_1","custom_id":"a","error":null,"body_sha256":"%b"}\n' % sha("").encode()
# before, after, answered ids, lines that were dropped
FILES: dict[str, tuple[bytes, bytes, list[bytes], int]] = {
    "empty": (b"", b"", [], 0),
    "complete": (A + B + C, A + B + C, [b'"a"', b'"b"', b"3"], 0),
    "no last newline": (A + B[:-1], A + B, [b'"a"', b'"b"'], 0),
    **{f"torn after {n}": (A + B[:n], A, [b'"a"'], 0) for n in (1, 2, 30, len(B) - 2)},
    "torn from the start": (b'{"model":"m","created_at":"2', b"", [], 0),
    "failures": (failure("x") + A + failure("y") + B, A + B, [b'"a"', b'"b"'], 2),
    "a failure and a torn line": (A + failure("x") + B[:9], A, [b'"a"'], 1),
    "a failure without a newline": (A + failure("x")[:-1], A, [b'"a"'], 1),
    "a failure of an input": (b'{"error":"x: No such file","exit_status":2}\n' + A, A, [b'"a"'], 1),
    "twice the same": (A + B + A, A + B, [b'"a"', b'"b"'], 1),
    "blank lines": (A + b"\n" + B, A + B, [b'"a"', b'"b"'], 1),
    "a record of OpenAI's": (RECORD, RECORD, [b'"a"'], 0),
}


@pytest.mark.parametrize("name", FILES)
def test_file_is_read_and_repaired(name: str, tmp_path: Path) -> None:
    before, after, ids, dropped = FILES[name]
    path = tmp_path / "answers"
    path.write_bytes(before)
    with open_answers(str(path), True, []) as answers:
        assert path.read_bytes() == after
        assert (answers.index.answered, answers.dropped) == (len(ids), dropped)
        assert all(answers.index.look_up(id, sha(""), 0)[0] == SAME for id in ids)
        answers.write(answer("new"))
        answers.sync()
        answers.sync()
    assert path.read_bytes() == after + answer("new")
    assert os.listdir(tmp_path) == ["answers"]


@pytest.mark.parametrize("name", FILES)
def test_dry_run_changes_nothing(name: str, tmp_path: Path) -> None:
    before, _, ids, _ = FILES[name]
    path = tmp_path / "answers"
    path.write_bytes(before)
    with locked(str(path), os.O_RDWR), open_answers(str(path), True, [], dry_run=True) as answers:
        assert answers.index.answered == len(ids)
        answers.rewrite({b'"a"': True}, {})
    assert path.read_bytes() == before
    with open_answers(str(tmp_path / "none"), False, [], dry_run=True) as answers:
        assert answers.index.answered == 0
    assert os.listdir(tmp_path) == ["answers"]


def test_foreign_tail_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    for tail in (b"{{ mustache }}", b'{"id":"z","prompt":"half'):
        path.write_bytes(A + tail)
        with open_answers(str(path), True, []):
            pass
        assert path.read_bytes() == A
    assert (tmp_path / "answers.torn").read_bytes() == b'{{ mustache }}\n{"id":"z","prompt":"half\n'


HOLE = bytes(20)
# before, after, the lines in FILE.torn
DAMAGED: dict[str, tuple[bytes, bytes, bytes]] = {
    "NUL bytes and the end of an answer": (A + HOLE + B + C, A + C, HOLE + B),
    "NUL bytes at the end": (A + bytes(4096), A, bytes(4096) + b"\n"),
    "a line of NUL bytes": (A + HOLE + b"\n" + C, A + C, HOLE + b"\n"),
    "the beginning of an answer and NUL bytes": (A + B[:30] + HOLE, A, B[:30] + HOLE + b"\n"),
    "before the first answer": (b'{"error":"x' + HOLE + B + C, C, b'{"error":"x' + HOLE + B),
    "and a failure": (A + failure("x") + B[:30] + HOLE + b"\n", A, B[:30] + HOLE + b"\n"),
    "and a partial line": (A + HOLE + B + b"{{ mustache }}", A, HOLE + B + b"{{ mustache }}\n"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_line_with_nul_bytes_is_set_aside_and_is_no_failure(name: str, tmp_path: Path) -> None:
    before, after, torn = DAMAGED[name]
    path = tmp_path / "answers"
    path.write_bytes(before)
    with open_answers(str(path), True, [], dry_run=True) as answers:
        assert [id for id, _ in answers.positions(0)] == [3] * before.count(C)
    assert path.read_bytes() == before
    with open_answers(str(path), True, []) as answers:
        assert path.read_bytes() == after
        assert (tmp_path / "answers.torn").read_bytes() == torn
        assert (answers.dropped, answers.index.failed) == (before.count(b"boom"), before.count(b"boom"))
        assert answers.torn == torn.count(b"\n")
        answers.write(B)
    assert path.read_bytes() == after + B


def refused(
    path: Path | str, kind: type[OstreamError], match: str, resume: bool = True, **options: Any
) -> OstreamError:
    """Open a file that is refused with this message, and return the error."""
    with pytest.raises(kind, match=match) as caught, open_answers(str(path), resume, [], **options):
        pass
    return caught.value


FOREIGN = {
    "a database": b"SQLite format 3\0\x10\0\x01\x01\0@" + bytes(80) + b"\n\0\0\0\x01\x0f\xe4" + bytes(4000),
    "answers in UTF-16": (A + B).decode().encode("utf-16-le"),
    "answers in an archive": b"answers" + bytes(505) + A + B + bytes(9000),
    "NUL bytes and a failure": bytes(9) + B + failure("x"),
    "an error with an unknown status": b'{"error":"disk is full","exit_status":9,"log":"x"}\n',
    "text": b"hello\n",
    "a request": b'{"id":"a","prompt":"hi"}\n',
    "a torn request": b'{"model":"m","messages":[{"role"',
    "an array": b"[]",
    "something after the answers": A + b"hello",
    "a deeply nested id": b'{"id":' + b"[" * 980 + b"]" * 980 + b',"body_sha256":"' + b"0" * 64 + b'"}\n',
}


@pytest.mark.parametrize("name", FOREIGN)
def test_file_that_batch_did_not_write_is_refused_unchanged(name: str, tmp_path: Path) -> None:
    path = tmp_path / "answers"
    path.write_bytes(FOREIGN[name])
    refused(path, RequestError, rf"answers:{FOREIGN[name].startswith(A) + 1}: ")
    assert path.read_bytes() == FOREIGN[name]
    assert os.listdir(tmp_path) == ["answers"]


@pytest.mark.parametrize("content", [A, b"a note\n"])
def test_existing_file_needs_resume(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "answers"
    path.write_bytes(content)
    for dry_run in (False, True):
        assert "--resume" in refused(path, RequestError, "already exists", resume=False, dry_run=dry_run).advice
    assert path.read_bytes() == content


def test_file_of_answers_is_no_input(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    path.write_bytes(b"")
    with pytest.raises(RequestError, match="also an input"), open_answers(str(path), True, ["-", str(path)]):
        pass


CANNOT: dict[str, tuple[str, type[OstreamError], str]] = {
    "no such folder": ("none/answers", OutputError, "none/answers: No such file"),
    "a folder": ("folder", InputError, "folder: Is a directory"),
    "a FIFO": ("fifo", InputError, "fifo: not a regular file"),
    "a socket": ("socket", InputError, "socket: No such device or address"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_only_a_regular_file_holds_answers(name: str, tmp_path: Path) -> None:
    path, kind, text = CANNOT[name]
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)
    for dry_run in (False, True)[: 1 + (name in ("a FIFO", "a socket"))]:
        refused(f"{tmp_path}/{path}", kind, text, dry_run=dry_run)
    assert sorted(os.listdir(tmp_path)) == ["fifo", "folder", "socket"]


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_standard_output_is_no_file_of_answers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = refused(name, RequestError, f"{name}: not a regular file")
    assert error.advice == "without -o, answers go to standard output"
    assert os.listdir(tmp_path) == []


def test_second_writer_is_refused_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    path.write_bytes(failure("x") + A)
    (tmp_path / "link").symlink_to("answers")
    with open_answers(str(path), True, []):  # the file was replaced, to drop a failure: the lock goes with it
        os.link(path, tmp_path / "hard link")
        for name in ("answers", "link", "hard link"):
            refused(tmp_path / name, RequestError, f"{name}: another run is writing it")
    with open_answers(str(path), True, []):
        pass


def test_what_a_killed_replacement_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "answers").write_bytes(A)
    (tmp_path / "answers.0a1b2c3d.new").write_bytes(A)
    with open_answers(str(tmp_path / "answers"), True, []):
        assert os.listdir(tmp_path) == ["answers"]


@pytest.mark.parametrize("change", ["removed", "replaced", "changed"])
def test_file_that_another_program_changes_is_an_error(change: str, tmp_path: Path) -> None:
    path = tmp_path / "answers"
    with pytest.raises(OutputError, match=f"was {change}"), open_answers(str(path), True, []) as answers:
        answers.write(A)
        answers.sync()
        if change != "changed":
            path.unlink()
        if change != "removed":
            path.write_bytes(b"")
        answers.write(B)
        answers.sync()


def test_rewriting_moves_and_renumbers_earlier_answers_only(tmp_path: Path) -> None:
    path = tmp_path / "answers"
    path.write_bytes(answer(0) + answer(1) + answer(2) + answer("x"))
    with open_answers(str(path), True, []) as answers:
        answers.write(answer(1, "new"))
        assert list(answers.positions(1)) == [(1, sha("")), (2, sha(""))]
        answers.rewrite({b"1": True, b'"x"': True}, {b"2": 1, b"0": 7})
        assert (tmp_path / "answers.replaced").read_bytes() == answer(1) + answer("x")
        assert answers.moved == 2
        assert path.read_bytes() == answer(7) + answer(1) + answer(1, "new")
        answers.write(answer(9))
    assert path.read_bytes().endswith(answer(9))


def test_answer_is_set_aside_once(tmp_path: Path) -> None:
    """As after a kill between the copy to FILE.replaced and its removal from FILE."""
    path = tmp_path / "answers"
    (tmp_path / "answers.replaced").write_bytes(A)
    path.write_bytes(A + B)
    with open_answers(str(path), True, []) as answers:
        answers.rewrite({b'"a"': True, b'"b"': True}, {})
    assert (tmp_path / "answers.replaced").read_bytes() == A + B


def test_answer_is_set_aside_completely_after_a_full_disk(tmp_path: Path) -> None:
    path, replaced = tmp_path / "answers", tmp_path / "answers.replaced"
    path.write_bytes(A + B + C)
    replaced.write_bytes(A)
    for _ in range(2):
        with small_files(len(A + B) - 9), pytest.raises(OutputError, match="File too large"), open_answers(
            str(path), True, []
        ) as answers:
            answers.rewrite({b'"b"': True}, {})
        assert replaced.read_bytes() == A
        assert path.read_bytes() == A + B + C
    replaced.write_bytes(A + B[:40])  # as a killed process may leave it
    with open_answers(str(path), True, []) as answers:
        answers.rewrite({b'"b"': True}, {})
    assert replaced.read_bytes() == A + B[:40] + b"\n" + B
    assert path.read_bytes() == A + C


def test_many_answers_are_set_aside_in_several_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_aside, "BLOCK", 100)
    set_aside.set_aside(str(tmp_path / "torn"), [A, B, C])
    assert (tmp_path / "torn").read_bytes() == A + B + C


def test_answer_that_does_not_fit_is_not_added_at_all(tmp_path: Path) -> None:
    with small_files(300):
        path = tmp_path / "answers"
        with pytest.raises(OutputError, match="answers: File too large"), open_answers(str(path), True, []) as answers:
            for _ in range(2):
                answers.write(A)
            with pytest.raises(OutputError):
                answers.write(b"x" * 200)
            answers.write(b"x" * 200)
        assert path.read_bytes() == A + A


def test_newline_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with small_files(300):
        path = tmp_path / "answers"
        line = b'{"x":"%b",' % (b"x" * (300 - len(A) - 6)) + A[1:-1]
        assert len(line) == 300
        path.write_bytes(line)
        refused(path, OutputError, "answers: File too large")
        assert path.read_bytes() == line


def test_copy_that_does_not_fit_names_the_space_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "answers"
    path.write_bytes(failure("x") + A * 4)
    size = path.stat().st_size
    with small_files(50):
        refused(path, OutputError, f"File too large: removing lines from this file needs {size}")
    assert os.listdir(tmp_path) == ["answers"]
    path.write_bytes(A + b'{"foreign":' * 9)
    with small_files(50):
        refused(path, OutputError, r"answers\.torn: File too large")
    with monkeypatch.context() as patch:
        patch.setattr(set_aside, "LINE_LIMIT", 10)
        refused(path, InputError, "answers: a line of more than 20 bytes")
    (tmp_path / "answers.torn").unlink()
    os.link(path, tmp_path / "answers.torn")
    refused(path, InputError, r"answers\.torn: is another name of .*answers$")
    assert path.read_bytes().startswith(A + b'{"foreign":')


def test_disk_that_fails_to_sync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OutputError, match="answers: Input/output error"), open_answers(
        str(tmp_path / "answers"), True, []
    ) as answers:
        answers.write(A)
        monkeypatch.setattr(answer_file.os, "fsync", fsync)
