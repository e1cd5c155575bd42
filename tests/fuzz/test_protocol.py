"""Lines, metrics, request bodies and hosts: any input has a valid result or raises the documented error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.cli.transcript import footer
from ostream.errors import NotNDJSON, RequestError
from ostream.net.host import parse_host
from ostream.protocol import request
from ostream.protocol.json_codec import encode_json
from ostream.protocol.metrics import FIELDS, Metrics
from ostream.protocol.ndjson import decode_line, encode_line, is_partial_line, split_lines
from ostream.protocol.request import chat_body, encode_body, generate_body
from ostream.protocol.summary import Summary
from tests.fuzz.given import JSON, OBJECT, TEXT, blocks


@given(blocks())
def test_lines_do_not_depend_on_the_blocks_and_decode_or_raise_not_ndjson(cut: list[bytes]) -> None:
    lines = [line for batch in split_lines(cut) for line in batch]
    assert lines == [line for batch in split_lines([b"".join(cut)]) for line in batch]
    assert b"".join(lines) == b"".join(cut)
    assert all(line.endswith(b"\n") for line in lines[:-1])
    assert all(line and b"\n" not in line[:-1] for line in lines)
    for line in lines:
        try:
            chunk = decode_line(line)
        except NotNDJSON as error:
            assert error.line and str(error) and is_partial_line(line) in (True, False)
        else:
            assert chunk is None or decode_line(encode_line(chunk)) == chunk
            assert chunk is None or encode_line(chunk).find(b"\n") == len(encode_line(chunk)) - 1


@given(JSON)
def test_encoding_equals_that_of_json(value: Any) -> None:
    try:
        dumped = json.dumps({"a": value}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:  # infinity, NaN, or an integer with too many digits
        with pytest.raises(ValueError):
            encode_json({"a": value})
    else:
        assert encode_json({"a": value}) == dumped


@given(st.lists(st.lists(st.tuples(OBJECT, st.none() | st.integers()), max_size=4), max_size=3))
def test_metrics_of_any_chunks_are_finite_and_can_be_encoded(responses: list[list[tuple[dict[str, Any], Any]]]) -> None:
    total = Summary()
    for chunks in responses:
        metrics = Metrics()
        for chunk, elapsed in chunks:
            metrics.add(chunk, elapsed)
        measured = metrics.as_dict()
        assert tuple(measured) == FIELDS
        assert all(value >= 0 for value in measured.values() if isinstance(value, (int, float)))
        assert encode_line(measured)
        assert footer(measured)
        assert all(gap >= 0 for gap in metrics.gaps)
        total.add(measured, complete=True)
    assert encode_line(total.as_dict())


TIME = st.sampled_from(
    ["2026-11-21T01:42:58.5Z", "2026-11-21T01:42:58.50000001Z", "2026-11-21T01:42:59Z", "soon", None]
)
CHUNK = st.fixed_dictionaries(
    {"created_at": TIME, "message": st.fixed_dictionaries({"content": st.sampled_from(["a", "a", " ", "", 7, None])})},
    optional={"elapsed": st.sampled_from([5, 9, 9, 70, -3, True, 2.5]), "thinking": TEXT, "eval_count": st.integers()},
)


@given(st.lists(st.lists(CHUNK, min_size=1), max_size=5), st.none() | st.just(7))
def test_chunks_measured_in_blocks_have_the_metrics_of_single_chunks(
    blocks: list[list[dict[str, Any]]], elapsed: int | None
) -> None:
    in_blocks, one_by_one = Metrics(), Metrics()
    for block in blocks:
        in_blocks.add_all(block, elapsed)
        for chunk in block:
            one_by_one.add(chunk, elapsed)
    assert in_blocks.as_dict() == one_by_one.as_dict()
    assert [*in_blocks.gaps] == [*one_by_one.gaps]
    assert in_blocks.lacks == one_by_one.lacks


ODD = JSON | st.binary(max_size=4) | st.just(object()) | st.sets(st.integers(), max_size=2) | st.complex_numbers()
NAMES = [field.name for field in request.FIELDS if field.generate and field.name not in ("model", "images")]


@given(
    TEXT,
    st.lists(OBJECT | ODD, max_size=3),
    st.dictionaries(st.sampled_from(NAMES), ODD, max_size=4),
    st.lists(ODD, max_size=2),
)
def test_a_body(model: str, messages: list[Any], fields: dict[str, Any], images: list[Any]) -> None:
    for make in (
        lambda: chat_body(model, messages),
        lambda: generate_body(model, **{"prompt": "", **fields}),
        lambda: generate_body(model, "", images=images),
    ):
        try:
            body = make()
            data = encode_body(body)
        except RequestError as error:
            assert str(error)
        else:
            json.loads(data)
            assert data.count(b"\n") == 0


@given(TEXT | st.text("htps:/[]1.@?#%a \r\n\u0660\udcff"))
def test_host(text: str) -> None:
    try:
        host = parse_host(text)
    except RequestError as error:
        assert str(error).startswith("host ")
    else:
        assert parse_host(host.url).url == host.url
        assert host.url.isascii() and host.url.isprintable() and " " not in host.url
        assert 0 < host.port < 65536
        assert host.accepts_credentials in (True, False)
