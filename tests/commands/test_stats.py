"""stats: the numbers of each response and of many, as tables, objects, single values and plots."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostream.cli.plot import bars, histogram
from ostream.protocol.metrics import FIELDS
from ostream.recording.format import request_line
from tests.process import Terminal, call
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


def chunk(text: str, **more: Any) -> bytes:
    return json.dumps({"model": "m", "message": {"content": text}, "done": False, **more}).encode() + b"\n"


STAMPED = [chunk("a", elapsed=1), chunk("b", elapsed=300_001), chunk("c", elapsed=1_500_001), done(elapsed=9_999_999)]
FAILED = b'{"id":5,"error":"busy","exit_status":75}\n'


def test_failures_are_counted_by_kind_and_not_as_responses() -> None:
    stream = done(id="x") + FAILED + b"".join(STAMPED) + FAILED + chunk("cut")
    result = call("stats", "--summary", "--json", stdin=stream)
    known = json.loads(result.stdout)
    assert result.returncode == 3
    assert (known["responses"], known["complete"]) == (3, 2)
    assert known["failures"] == {"temporary": 2, "incomplete": 1}
    assert "failures:                 2 temporary, 1 incomplete\n" in call("stats", stdin=stream).stdout.decode()
    ids = [json.loads(line).get("id") for line in call("stats", "--json", stdin=stream).stdout.splitlines()]
    assert ids == ["x", None, None]


def test_summary_writes_only_the_totals() -> None:
    stream = body_of("chat-stream") * 2
    assert call("stats", "--summary", stdin=stream).stdout.decode() == SUM
    nothing = call("stats", "--summary", stdin=b"")
    assert nothing.returncode == 3
    assert nothing.stdout.decode().split()[:7] == ["responses:", "0", "complete:", "0", "failures:", "1", "incomplete"]


def test_the_former_format_with_context_and_metrics_on_every_chunk() -> None:
    lines = [{"response": "a", "context": [1] * n, "eval_count": n, "eval_duration": 10**9} for n in (1, 2, 3)]
    stream = b"".join(json.dumps({**line, "done": line is lines[-1]}).encode() + b"\n" for line in lines)
    known = json.loads(call("stats", "--json", stdin=stream).stdout)
    assert (known["chunks"], known["fragments"], known["eval_count"], known["eval_rate"]) == (3, 3, 3, 3.0)


def test_summary_counts_answers_that_are_empty_or_truncated_by_length() -> None:
    call_only = {"message": {"content": "", "tool_calls": [{"function": {"name": "f"}}]}}
    stream = done() + done(thinking="Hm", done_reason="length") + done(**call_only) + chunk("a") + done()
    known = json.loads(call("stats", "--summary", "--json", stdin=stream).stdout)
    assert (known["empty"], known["thinking_only"], known["length_limited"]) == (1, 1, 1)


def test_num_ctx_of_the_request_line_decides_whether_the_prompt_was_truncated() -> None:
    def truncated(body: Any) -> Any:
        stream = request_line("/api/chat", body) + done(prompt_eval_count=2050)
        return json.loads(call("stats", "--json", stdin=stream).stdout).get("prompt_truncated")

    assert truncated({}) is truncated({"options": {"num_ctx": 4096}}) is True
    assert truncated({"options": {"num_ctx": 8192}}) is truncated({"truncate": False}) is False
    odd = b'{"request":{"body":7}}\n{"request":7}\n' + done(prompt_eval_count=2050)
    assert json.loads(call("stats", "--json", stdin=odd).stdout)["prompt_truncated"] is True


def test_a_truncated_prompt_is_noted_with_the_options_that_help() -> None:
    result = call("stats", stdin=done(prompt_eval_count=4096))
    assert "prompt truncated:         true\n" in result.stdout.decode()
    assert result.stderr.startswith(b"stats: the prompt was probably truncated to 4096 tokens; ")
    assert b"--no-truncate" in result.stderr and b"--option num_ctx=N" in result.stderr
    assert call("stats", "-q", stdin=done(prompt_eval_count=4096)).stderr == b""


def test_a_name_in_several_lines_is_one_line() -> None:
    stream = done(model="a\nresponses: 9")
    assert call("stats", "--field", "model", stdin=stream).stdout == b"a responses: 9\n"
    assert call("stats", stdin=stream).stdout.startswith(b"model:                    a responses: 9\n")


PLOTS = [
    # stream, first and last line, for 40 columns
    (b"".join(STAMPED), "0ns to 100µs  0", "1.1ms to 1.2… 1 " + "█" * 23),
    (
        done(model="m", eval_count=2, eval_duration=10**9) + done(model="m", id="x"),
        "m 0 2.00 tokens/s " + "█" * 21,
        "m x       unknown",
    ),
]


@pytest.mark.parametrize(("stream", "first", "last"), PLOTS)
def test_a_plot_is_fitted_to_the_terminal_and_to_COLUMNS(stream: bytes, first: str, last: str) -> None:
    piped = call("stats", "--plot", stdin=stream, env={"COLUMNS": "40"})
    assert (piped.returncode, piped.stderr) == (0, b"")
    shown = piped.stdout.decode().splitlines()
    assert shown[0] == first and shown[-1] == last
    assert Terminal("stats", "--plot", columns=40).communicate(stream) == (piped.stdout.decode(), "", "")
    widths = {}
    for columns in ("60", "80", "0", "", "-5", "99999", "x", "²"):
        plot = call("stats", "--plot", stdin=stream, env={"COLUMNS": columns}).stdout.decode()
        widths[columns] = max(map(len, plot.splitlines()))
    assert 40 < widths.pop("60") < widths["80"] <= 80
    assert set(widths.values()) == {widths["80"]}


def test_nothing_to_plot_is_noted() -> None:
    result = call("stats", "--plot", stdin=done())
    assert (result.returncode, result.stdout) == (0, b"")
    assert result.stderr == b"stats: nothing to plot: the times between the chunks are not known\n"
    assert call("stats", "--plot", stdin=FAILED).stdout == b""


def test_the_longest_bar_fills_the_width_and_the_others_are_to_scale() -> None:
    shown = bars([("a", 8.0, "8"), ("bb", 4.0, "4"), ("c", 0.0, "0")], 25)
    assert shown == "a  8 ███████████████████\nbb 4 █████████▌\nc  0\n"
    assert len(shown.splitlines()[0]) == 24


def test_a_small_value_has_a_visible_bar() -> None:
    assert bars([("a", 1e9, "x"), ("b", 1.0, "y")], 40).splitlines()[1] == "b y ▏"


def test_no_rows_and_zero_have_no_bar() -> None:
    assert bars([], 80) == ""
    assert bars([("a", 0.0, "0")], 80) == "a 0\n"


ROW = st.tuples(st.text("abc é", max_size=60), st.floats(0, 1e30), st.text("0123.", max_size=12))


@given(st.lists(ROW, max_size=9), st.integers(1, 200))
def test_a_plot_has_one_line_for_each_row_and_fits_from_forty_columns(
    rows: list[tuple[str, float, str]], width: int
) -> None:
    lines = bars(rows, width).splitlines()
    assert len(lines) == len(rows)
    assert width < 40 or all(len(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("values", "counts"), [([0, 1, 2, 3, 4], [1, 1, 1, 2]), ([5], [0, 0, 0, 1]), ([0, 0], [2, 0, 0, 0]), ([], [0] * 4)]
)
def test_a_histogram_counts_every_value_once(values: list[float], counts: list[int]) -> None:
    ranges = histogram(values, bins=4)
    assert [count for _, _, count in ranges] == counts
    assert ranges[0][0] == 0 and ranges[-1][1] == (max(values, default=0) or 1)
