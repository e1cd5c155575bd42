"""stats: the numbers of each response, as a table, as objects, and one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ostream.protocol.metrics import FIELDS
from tests.process import call
from tests.server import body_of

TABLE = """\
model:                    plain
done reason:              stop
chunks:                   20
fragments:                19
total duration:           147.717ms
load duration:            4.378ms
time to first token:      6.459ms (server, lower bound)
prompt eval count:        14 token(s)
prompt eval duration:     2.081ms
prompt eval rate:         6727.23 tokens/s
eval count:               24 token(s)
eval duration:            139.562ms
eval rate:                171.97 tokens/s
time per output token:    5.815ms
inter chunk p50:          1.287ms (created_at)
inter chunk p90:          20.027ms (created_at)
inter chunk p99:          23.952ms (created_at)
longest stall:            23.952ms (created_at)
"""
SUM = """\
responses:                2
complete:                 2
failures:                 none
empty:                    0
thinking only:            0
length limited:           0
prompt eval count:        28 token(s)
eval count:               48 token(s)
total duration:           295.434ms
eval duration:            279.124ms
eval rate:                171.97 tokens/s
throughput:               324.95 tokens/s
responses per s:          13.54/s
time to first token p50:  6.459ms (server, lower bound)
time to first token p90:  6.459ms (server, lower bound)
time to first token p99:  6.459ms (server, lower bound)
total duration p50:       147.717ms
total duration p90:       147.717ms
total duration p99:       147.717ms
eval rate p50:            171.97 tokens/s
eval rate p90:            171.97 tokens/s
eval rate p99:            171.97 tokens/s
time per output token p50: 5.815ms
time per output token p90: 5.815ms
time per output token p99: 5.815ms
inter chunk p50:          1.287ms (created_at)
inter chunk p90:          20.027ms (created_at)
inter chunk p99:          23.952ms (created_at)
"""
# As wide as its longest name.
SUM = "".join(
    f"{name + ':':<27}{value.strip()}\n" for name, _, value in (line.partition(":") for line in SUM.splitlines())
)


def done(**numbers: Any) -> bytes:
    return json.dumps({"response": "", "done": True, **numbers}).encode() + b"\n"


def test_the_table_of_one_and_of_several_responses() -> None:
    result = call("stats", stdin=body_of("chat-stream"))
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, TABLE, b"")
    twice = call("stats", stdin=body_of("chat-stream") * 2)
    assert twice.stdout.decode() == f"{TABLE}\n{TABLE}\n{SUM}"


@pytest.mark.parametrize("field", FIELDS)
def test_field_writes_one_line_per_response(field: str) -> None:
    stream = body_of("chat-stream") + done() + body_of("generate-stream")
    result = call("stats", "--field", field, stdin=stream)
    first, second, third, after = result.stdout.decode().split("\n")
    assert (result.returncode, after) == (0, "")
    assert second == {"chunks": "1", "fragments": "0"}.get(field, "")
    for text, line in ((first, b"chat-stream"), (third, b"generate-stream")):
        value = json.loads(call("stats", "--json", stdin=body_of(line.decode())).stdout).get(field, "")
        assert text == (f"{value:.2f}" if field.endswith("_rate") else str(value))
        unknown = ("time_to_first_content", "prompt_eval_cached_count", "prompt_truncated")
        assert value or field in unknown
