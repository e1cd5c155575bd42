"""stats: the numbers of each response, as a table, as objects, and one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ostream.metrics import FIELDS
from tests.process import call
from tests.server import NAMES, body_of

TABLE = """\
model:                plain
done reason:          stop
chunks:               20
total duration:       147.717ms
load duration:        4.378ms
prompt eval count:    14 token(s)
prompt eval duration: 2.081ms
prompt eval rate:     6727.23 tokens/s
eval count:           24 token(s)
eval duration:        139.562ms
eval rate:            171.97 tokens/s
"""


def done(**numbers: Any) -> bytes:
    return json.dumps({"response": "", "done": True, **numbers}).encode() + b"\n"


def test_the_table() -> None:
    result = call("stats", stdin=body_of("chat-stream"))
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, TABLE, b"")
    twice = call("stats", stdin=body_of("chat-stream") * 2)
    assert twice.stdout.decode() == f"{TABLE}\n{TABLE}"


@pytest.mark.parametrize("name", [name for name in NAMES if b'"done":true' in body_of(name)])
def test_the_numbers_of_every_recording_are_those_of_its_last_line(name: str) -> None:
    lines = body_of(name).splitlines()
    last = json.loads(lines[-1])
    expected = {field: last[field] for field in FIELDS if field in last}
    expected["chunks"] = len(lines)
    for stem in ("prompt_eval", "eval"):
        if f"{stem}_duration" in last:
            expected[f"{stem}_rate"] = pytest.approx(last[f"{stem}_count"] * 1e9 / last[f"{stem}_duration"])
    result = call("stats", "--json", stdin=body_of(name))
    assert (result.returncode, json.loads(result.stdout)) == (0, expected)
    assert call("stats", stdin=body_of(name)).stdout.count(b"\n") == len(expected)


def test_the_numbers_of_a_cut_response_are_those_there_are() -> None:
    result = call("stats", "--json", stdin=body_of("chat-repeat-limit"))
    assert (result.returncode, json.loads(result.stdout)) == (3, {"model": "repeat", "chunks": 32})


@pytest.mark.parametrize("field", FIELDS)
def test_one_field_is_one_line_for_each_response(field: str) -> None:
    stream = body_of("chat-stream") + done() + body_of("generate-stream")
    result = call("stats", "--field", field, stdin=stream)
    first, second, third, after = result.stdout.decode().split("\n")
    assert (result.returncode, after) == (0, "")
    assert second == ("1" if field == "chunks" else "")
    for text, line in ((first, b"chat-stream"), (third, b"generate-stream")):
        value = json.loads(call("stats", "--json", stdin=body_of(line.decode())).stdout)[field]
        assert text == (f"{value:.2f}" if field.endswith("_rate") else str(value))


NUMBERS = [
    # what the server says, what --json says of it
    ({}, {}),
    ({"total_duration": 0, "eval_count": 0}, {"total_duration": 0, "eval_count": 0}),
    ({"eval_count": 5, "eval_duration": 0}, {"eval_count": 5, "eval_duration": 0}),
    ({"eval_count": 0, "eval_duration": 5}, {"eval_count": 0, "eval_duration": 5}),
    ({"eval_count": 5}, {"eval_count": 5}),
    ({"eval_duration": 5}, {"eval_duration": 5}),
    ({"eval_count": 3, "eval_duration": 1.5e9}, {"eval_count": 3, "eval_duration": 1.5e9, "eval_rate": 2.0}),
    ({"total_duration": 1.5}, {"total_duration": 1.5}),
    ({"total_duration": -1, "eval_count": -5, "eval_duration": 5}, {"eval_duration": 5}),
    ({"total_duration": True, "eval_count": False}, {}),
    ({"total_duration": "5", "load_duration": None, "eval_count": [1]}, {}),
    ({"total_duration": 10**400, "eval_count": 1}, {"eval_count": 1}),
    ({"eval_count": 10**400, "eval_duration": 1}, {"eval_duration": 1}),
    ({"total_duration": 2**63 - 1}, {"total_duration": 2**63 - 1}),
    ({"total_duration": 1e308}, {}),
    ({"model": 5, "done_reason": None, "chunks": 99}, {}),
    ({"model": "m", "done_reason": "other"}, {"model": "m", "done_reason": "other"}),
    ({"id": "x"}, {"id": "x"}),
    ({"unknown": 5}, {}),
]


@pytest.mark.parametrize(("numbers", "expected"), NUMBERS)
def test_odd_numbers(numbers: dict[str, Any], expected: dict[str, Any]) -> None:
    result = call("stats", "--json", stdin=done(**numbers))
    assert (result.returncode, json.loads(result.stdout)) == (0, {**expected, "chunks": 1})
    table = call("stats", stdin=done(**numbers))
    assert (table.returncode, table.stderr) == (0, b"")
    assert table.stdout.count(b"\n") == len({**expected, "chunks": 1}) - ("id" in expected)


DURATIONS = [
    (0, "0ns"),
    (999, "999ns"),
    (1.5, "1.5ns"),
    (1000, "1µs"),
    (1500, "1.5µs"),
    (2345678, "2.346ms"),
    (2_000_000_000, "2s"),
    (90_061_000_000_000, "90061s"),
    (2**63 - 1, "9223372036.855s"),
]


@pytest.mark.parametrize(("duration_ns", "text"), DURATIONS)
def test_durations_are_for_people(duration_ns: float, text: str) -> None:
    table = call("stats", stdin=done(total_duration=duration_ns)).stdout.decode()
    assert f"total duration:       {text}\n" in table


WRONG = [
    (["--field", "elapsed"], "stats: --field elapsed: no such field; there are model, "),
    (["--field", ""], "stats: --field : no such field; "),
    (["--field"], "stats: --field: needs a value; "),
    (["--json", "--field", "model"], "stats: --field: not allowed with argument --json; "),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_usage(options: list[str], message: str) -> None:
    result = call("stats", *options, stdin=done())
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode().startswith(message)
