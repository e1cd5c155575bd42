"""stats over many responses: totals, failures, plots, and the same numbers calculated by jq."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ostream.recording.format import request_line
from tests.commands.test_stats import SUM, done
from tests.process import Terminal, call
from tests.server import body_of


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
