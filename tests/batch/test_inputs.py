"""Inputs other than NDJSON: lines of text, CSV, files, recordings; and templates of prompts."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ostream.batch.inputs import CSV, FILES, LINES, InputFormat, RequestReader
from ostream.batch.jobs import RequestDefaults
from ostream.batch.row_count import count_rows
from ostream.batch.template import PromptTemplate
from ostream.errors import RequestError
from ostream.protocol.canonical import row_sha256

M = RequestDefaults("m")
PNG = b"\x89PNG\r\n\x1a\n\0\0"


def read(path: Path, data: bytes, form: InputFormat) -> tuple[list[Any], list[str]]:
    """The jobs of a file, and the notes."""
    path.write_bytes(data)
    notes: list[str] = []
    return list(RequestReader([str(path)], form, M, notes.append).jobs()), notes


def prompts(jobs: list[Any]) -> dict[Any, str]:
    return {job.id: job.body["messages"][-1]["content"] for job in jobs}


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "rows"


TEMPLATES = {
    "Label: {text}": "Label: T",
    "{a b}{text}{a b}": "ABTAB",
    "{{text}} {text}}}": "{text} T}",
    'JSON {{"label": {{}}}}: {text}': 'JSON {"label": {}}: T',
    "{odd{name}": "{text}",
    "no field": "no field",
}


@pytest.mark.parametrize("text", TEMPLATES)
def test_template_replaces_fields_once(text: str) -> None:
    values = {"text": "T", "a b": "AB", "odd{name": "{text}"}
    assert PromptTemplate(text, list(values)).render(values) == TEMPLATES[text]


NO_FIELD = "does not start a known field"
BAD_TEMPLATES = {
    "{txt}": ("--prompt: there is no {txt}", "available: {id}, {text}"),
    "a {": (f"--prompt: {{ at character 3 {NO_FIELD}", "write {{ for a literal {; fields: {id}, {text}"),
    "{}": (f"--prompt: {{ at character 1 {NO_FIELD}", "write {{ for a literal {; fields: {id}, {text}"),
    "a}": ("--prompt: single } at character 2", "write }} for a literal }; fields: {id}, {text}"),
}


@pytest.mark.parametrize("text", BAD_TEMPLATES)
def test_any_other_brace_is_an_error_that_shows_what_to_write(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        PromptTemplate(text, ["id", "text"])
    assert (str(caught.value), caught.value.advice) == BAD_TEMPLATES[text]


def table(prompt: str | None = "{text}", id: str | None = None, **more: Any) -> InputFormat:
    return InputFormat(CSV, prompt, id, **more)


TABLES: dict[str, tuple[bytes, InputFormat, dict[Any, str], list[str]]] = {
    "positions": (b"text\na\nb\n", table(), {0: "a", 1: "b"}, []),
    "an id column": (b"id,text\nx,a\ny,b\n", table(id="id"), {"x": "a", "y": "b"}, []),
    "quoted newlines, commas and quotes": (b'text\n"a\r\nb,""c"""\n', table(), {0: 'a\r\nb,"c"'}, []),
    "a byte order mark and CRLF": (b"\xef\xbb\xbftext,x\r\na,1\r\n", table(), {0: "a"}, []),
    "semicolons": (b'x;text\n1;"a\n;b"\n', table(), {0: "a\n;b"}, ["columns are separated by semicolons"]),
    "tabs": (b"x\ttext\n1\ta\n", table(), {0: "a"}, ["columns are separated by tabs"]),
    "a tab by name": (b"x\ttext\n1\ta\n", table(delimiter="tab"), {0: "a"}, []),
    "an encoding": (b"text\ncaf\xe9\n", table(encoding="latin-1"), {0: "café"}, []),
    "UTF-16": ("text\na\n".encode("utf-16"), table(encoding="utf-16"), {0: "a"}, []),
    "blank lines": (b"text,x\n\na,1\n\n", table(), {0: "a"}, []),
    "missing cells": (b"x,text\n1\n", table("<{text}>"), {0: "<>"}, []),
    "values with braces": (b"text,x\n{x},1\n", table("{text}"), {0: "{x}"}, []),
}


@pytest.mark.parametrize("name", TABLES)
def test_row_of_a_table_becomes_a_prompt(name: str, path: Path) -> None:
    data, form, expected, notes = TABLES[name]
    jobs, found = read(path, data, form)
    assert prompts(jobs) == expected
    assert found == [f"{path}: {note}" for note in notes]
    assert count_rows([str(path)], form) == len(expected)


def test_long_table_is_read_in_blocks(path: Path) -> None:
    jobs, _ = read(path, b"text\n" + b'"\xc3\xa9\n"\n' * 20_000, table())
    assert len(jobs) == 20_000
    assert jobs[-1].body["messages"][0]["content"] == "é\n"
    assert jobs[-1].where == f"{path}:40000"


def test_hash_of_a_row_has_the_columns_of_its_prompt(path: Path) -> None:
    (job,), _ = read(path, b"id,text,lang\n1,a,en\n", table("{lang}: {text}"))
    assert job.tag()["row_columns"] == ["lang", "text"]
    assert job.tag()["row_sha256"] == row_sha256({"text": "a", "lang": "en"}, ["lang", "text"])


BAD_ROWS: dict[str, tuple[bytes, InputFormat, str]] = {
    "too many cells": (b"text\na,b\n", table(), ":2: has 2 cells, the header 1"),
    "an empty id": (b"id,text\n,a\n", table(id="id"), ":2: the id column, id, is empty"),
    "broken quoting": (b'text\n"a"b\n', table(), ":2: not CSV: ',' expected after '\"'"),
    "an open quote": (b'text\n"a\n', table(), ":2: not CSV: unexpected end of data"),
    "CR line ends": (b"text\ra\r", table(), ":1: not CSV: a carriage return outside quotes"),
    "no UTF-8": (b"text\na\ncaf\xe9\n", table(), ":3: not utf-8 (byte 0xe9)"),
    "nothing": (b"", table(), ": has no header row"),
    "an encoding that decodes nothing": (b"text\n", table(encoding="undefined"), ": not undefined: undefined encoding"),
    "gzip": (b"\x1f\x8b\x08", InputFormat(), ": is gzip data"),
    "a spreadsheet": (b"PK\3\4\x14\0\xdf\0", table(), ": is not CSV"),
    "UTF-16": ("text\n".encode("utf-16"), table(), ": is UTF-16 (it begins with its byte order mark)"),
    "lines in UTF-16": (
        "hi\n".encode("utf-16"),
        InputFormat(LINES),
        ": is UTF-16 (it begins with its byte order mark)",
    ),
    "NDJSON in UTF-16": ('"hi"\n'.encode("utf-16"), InputFormat(), ": is UTF-16 (it begins with its byte order mark)"),
    "lines in latin-1": (b"caf\xe9\n", InputFormat(LINES), ":1: not UTF-8: byte 0xe9 at byte 4"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_row_or_file_is_reported_with_its_place(name: str, path: Path) -> None:
    data, form, text = BAD_ROWS[name]
    *_, job = read(path, data, form)[0]
    assert str(job.failure) == f"{path}{text}"


BAD_TABLES: dict[str, tuple[bytes, InputFormat, str, str]] = {
    "no prompt": (
        b"id,text\n",
        table(None),
        "--csv: needs a prompt",
        "for example --prompt 'Summarise: {id}'; columns: {id}, {text}",
    ),
    "a prompt without a field": (b"id,text\n", table("x"), "--prompt: uses no column", "columns: {id}, {text}"),
    "another first row": (
        *(b"Report\nid, text\n", table("{text}")),
        *("--prompt: there is no {text}", "the first row of {path} has {Report}"),
    ),
    "a missing id column": (b"a,text\n", table(id="id"), "--id id: no such column in {path}", "columns: a, text"),
    "a column twice": (b"text,text\n", table(), "{path}: has several columns text", "rename them"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_table_that_does_not_fit_the_options_is_refused(name: str, path: Path) -> None:
    data, form, *expected = BAD_TABLES[name]
    with pytest.raises(RequestError) as caught:
        read(path, data, form)
    assert [str(caught.value), caught.value.advice] == [text.replace("{path}", str(path)) for text in expected]


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        (LINES, {"prompt": "x"}, "--prompt: needs --csv or --files"),
        (FILES, {"id_column": "x"}, "--id: needs --csv"),
        (CSV, {"encoding": "klingon"}, "--encoding klingon: unknown encoding"),
        (CSV, {"encoding": "base64"}, "--encoding base64: unknown encoding"),
        (CSV, {"encoding": "\udc80"}, "--encoding \udc80: unknown encoding"),
        (CSV, {"delimiter": "ab"}, "--delimiter: must be one character, or tab"),
    ],
)
def test_options_that_do_not_fit_are_refused(kind: str, options: dict[str, str], text: str) -> None:
    with pytest.raises(RequestError) as caught:
        InputFormat(kind, **options)  # type: ignore[arg-type]
    assert str(caught.value) == text


LINE_PROMPTS = {
    b"hi\n": "hi",
    b"hi": "hi",
    b"\xef\xbb\xbfhi \r\n": "hi ",
    b'"hi"\n': '"hi"',
}


@pytest.mark.parametrize("line", LINE_PROMPTS)
def test_line_of_text_is_a_prompt(line: bytes, path: Path) -> None:
    (job,), notes = read(path, line, InputFormat(LINES))
    assert (prompts([job]), notes) == ({0: LINE_PROMPTS[line]}, [])


def test_files_are_prompts_and_images(tmp_path: Path) -> None:
    text, image = tmp_path / "a.txt", tmp_path / "b.png"
    text.write_text("BMW {name}", encoding="utf-8-sig")
    image.write_bytes(PNG)
    for prompt, uses, fails in (("{name}: {text}", text, image), ("What is {name}?", image, text)):
        reader = RequestReader(
            [str(uses), str(fails), str(tmp_path / "no")], InputFormat(FILES, prompt), M, lambda _: None
        )
        good, bad, missing = reader.jobs()
        assert good and bad and missing
        assert (good.id, bad.id) == (str(uses), str(fails))
        (message,) = good.body["messages"]
        assert message["content"] == prompt.format(name=uses, text="BMW {name}")
        assert message.get("images") == ([base64.b64encode(PNG).decode()] if uses == image else None)
        assert bad.failure and "{text}" in bad.failure.advice
        assert str(missing.failure) == f"{tmp_path}/no: No such file or directory"


def test_other_lines_of_a_recording_are_skipped_and_counted(path: Path) -> None:
    def request(**fields: Any) -> bytes:
        return json.dumps({"request": {"path": "/api/chat", "body": {"messages": []}, **fields}}).encode() + b"\n"

    data = (
        request()
        + b'{"done":true,"elapsed":1}\nbroken\n'
        + request(method="GET")
        + request(path="/api/show")
        + request()
    )
    path.write_bytes(data)
    reader = RequestReader([str(path)], InputFormat(), M, lambda _: None)
    jobs = list(reader.jobs())
    assert [job and job.id for job in jobs] == [0, None, None, None, None, 5]
    assert reader.skipped == 4


def test_each_file_of_files_is_a_row() -> None:
    assert count_rows(["a", "b"], InputFormat(FILES)) == 2


def test_broken_table_has_no_row_count(path: Path) -> None:
    path.write_bytes(b'text\n"a\n')
    assert count_rows([str(path)], table()) is None
