"""extract-content --csv and --join: answers as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ostream.protocol.canonical import row_sha256
from tests.process import call


def answer(id: Any, content: str, **more: Any) -> bytes:
    return json.dumps({"message": {"content": content}, "done": True, "id": id, **more}).encode() + b"\n"


FAILED = b'{"error":"busy","status_code":503,"exit_status":75,"id":"b"}\n'
REJECTED = b'{"message":{"content":"%s"},"done":true,"done_reason":"length"}\n{"error":"rejected","exit_status":%d}\n'
CUT = b'{"message":{"content":"par"},"done":false}\n{"error":"cut","exit_status":3}\n'
LABELS = answer("a", '{"label": "good", "n": 2, "id": 9, "tags": ["x"]}') + answer("b", "none") + answer("c", "{}")
TABLES = [
    # options, stream, table, exit status
    (
        ["--csv"],
        answer("a", "one") + FAILED + answer(3, 'two,\n"2"') + answer("d", ""),
        'id,content,error\na,one,\nb,,busy (status code: 503)\n3,"two,\n""2""",\nd,,the answer is empty\n',
        75,
    ),
    (["--csv"], CUT, "id,content,error\n,par,cut\n", 3),
    (["--csv"], REJECTED % (b"", 5) + REJECTED % (b"a", 4), "id,content,error\n,,rejected\n,a,rejected\n", 4),
    (
        ["--csv"],
        REJECTED.partition(b'{"error')[0] % b"" + CUT,
        "id,content,error\n,,the answer was truncated before it contained any text\n,par,cut\n",
        3,
    ),
    (["--csv"], b"", "id,content,error\n,,standard input: no response\n", 3),
    (["--csv", "--bom", "--columns", "content"], answer(1, "é"), "\ufeffcontent\né\n", 0),
    (
        ["--csv", "--columns", "id,label,.id,n,tags,error"],
        LABELS,
        'id,label,id,n,tags,error\na,good,9,2,"[""x""]",\nb,,,,,not a JSON object\nc,,,,,not a JSON object\n',
        1,
    ),
    (["--csv", "--columns", "label,score,error"], LABELS[:80], "label,score,error\n", 3),
    (["--csv", "-x", "--columns", "content"], answer(1, "```\ncode\n```"), 'content\n"code\n"\n', 0),
]


@pytest.mark.parametrize(("options", "stream", "table", "status"), TABLES)
def test_csv_has_a_row_for_each_response_and_failure(
    options: list[str], stream: bytes, table: str, status: int
) -> None:
    result = call("extract-content", *options, stdin=stream)
    assert (result.returncode, result.stdout.decode()[: len(table)]) == (status, table)


def test_a_field_that_an_answer_lacks_is_counted_once() -> None:
    result = call("extract-content", "--csv", "--columns", "label,n,error", stdin=answer(1, '{"label":"x"}') * 3)
    assert result.stdout.decode() == "label,n,error\n" + "x,,no field n\n" * 3
    assert result.stderr.decode().startswith("extract-content: 3 answers have no value for a column (label, n); use ")


ROWS = "name;text\nx;1\n\ny;2\nz;3\n;4\n"
HASHES: list[dict[str, Any]] = [
    {"row_sha256": row_sha256({"text": text}, ["text"]), "row_columns": ["text"]} for text in ("1", "old", "3")
]


@pytest.mark.parametrize(("ids", "options"), [((0, 1, 2), []), (("x", "y", "z"), ["--id", "name"])])
def test_join_has_a_row_for_each_row_of_the_table(ids: tuple[Any, ...], options: list[str], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("\ufeff" + ROWS)
    failed = json.dumps({"error": "busy", "exit_status": 75, "id": ids[0]}).encode() + b"\n"
    stream = answer(ids[2], "third", **HASHES[2]) + failed + answer(ids[0], "first", **HASHES[0]) + failed
    stream += answer(ids[1], "second", **HASHES[1])
    result = call("extract-content", "--join", tmp_path / "rows.csv", *options, stdin=stream)
    last = "no id" if options else "no answer"
    assert result.stdout.decode() == f"name;text;content;error\nx;1;first;\ny;2;;stale\nz;3;third;\n;4;;{last}\n"
    assert result.returncode == 2
    messages = result.stderr.decode().splitlines()
    assert messages == [
        "extract-content: 1 row changed since it was answered; send it again with batch --resume --changed=resend",
        "extract-content: 1 row has no answer; send it with batch --resume",
    ]


def test_join_reads_other_encodings_and_keeps_failures_and_extra_cells(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes("id|text\nb|caf\xe9|x\n".encode("latin-1"))
    options = ["--join", str(tmp_path / "rows.csv"), "--id", "id", "--encoding", "latin-1", "--columns", "error"]
    result = call("extract-content", *options, "--delimiter", "|", stdin=FAILED)
    assert (result.returncode, result.stdout.decode()) == (75, "id|text||error\nb|café|x|busy (status code: 503)\n")


@pytest.mark.parametrize(("options", "error", "status"), [([], "not made from a row", 2), (["--id", "text"], "", 0)])
def test_join_of_answers_to_other_requests_needs_ids(
    options: list[str], error: str, status: int, tmp_path: Path
) -> None:
    (tmp_path / "prompts").write_text("text\n0\n")
    result = call("extract-content", "--join", tmp_path / "prompts", *options, stdin=answer(0, "a"))
    content = "" if error else "a"
    assert (result.returncode, result.stdout.decode()) == (status, f"text,content,error\n0,{content},{error}\n")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "name|text\nx|1\n",
            "{path}: has no column text, from which prompts were made; give the table that batch read, ",
        ),
        ("name,text\nx,2\n", "1 row changed since it was answered; use --id and --encoding as with batch, or send it "),
    ],
)
def test_join_that_finds_no_answer_suggests_the_options_of_batch(rows: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(rows)
    result = call("extract-content", "--join", path, stdin=answer(0, "first", **HASHES[0]))
    assert result.stderr.decode().startswith(f"extract-content: {message.format(path=path)}")


WRONG = [
    # options, the rows of the table, message
    (["--columns", "id"], b"a\n", "--columns, --id, --delimiter, --encoding and --bom need --csv or --join"),
    (["--csv", "--id", "a"], b"a\n", "--id, --delimiter and --encoding need --join; "),
    (["--csv", "--columns", "a,,b"], b"a\n", "--columns a,,b: a name is missing; "),
    (["--csv", "--json"], b"a\n", "--json: can't be combined with --csv"),
    (["--join", "rows.csv", "--id", "b"], b"a\n1\n", "--id b: no such column in rows.csv; columns: a"),
    (["--join", "rows.csv"], b"a\ncaf\xe9\n", "rows.csv:2: not utf-8 (byte 0xe9); name the encoding, "),
    (["--join", "rows.csv", "--encoding", "no"], b"a\n", "--encoding no: unknown encoding; "),
    (["--join", "rows.csv", "--delimiter", "ab"], b"a\n", "--delimiter: must be one character, or tab"),
    (["--join", "rows.csv"], b'a\n"b', "rows.csv:2: not CSV: "),
    (["--join", "rows.csv"], b"\n", "rows.csv: has no header row"),
    (["--join", "missing"], b"", "missing: No such file or directory"),
]


@pytest.mark.parametrize(("options", "rows", "message"), WRONG)
def test_wrong_usage_of_tables(
    options: list[str], rows: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_bytes(rows)
    result = call("extract-content", *options, stdin=answer(1, "a"))
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode().startswith(f"extract-content: {message}")
