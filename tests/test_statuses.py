"""The line format and exit statuses: how filters handle each kind of line."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ostream.errors import CLAIMABLE_STATUSES
from tests.process import FILTERS, call, quoted, sh
from tests.server import body_of
from tests.tiers import sample

A = b'{"message":{"role":"assistant","content":"a"},"done":false}\n'
B = b'{"message":{"role":"assistant","content":"b"},"done":true}\n'
REQUEST = b'{"request":{"path":"/api/chat","body":{}},"status":200}\n'
MESSAGE = b'{"role":"user","content":"not an answer"}\n'
NEL = "\x85"


def error(**more: Any) -> bytes:
    return json.dumps({"error": "boom", **more}).encode() + b"\n"


class Case(NamedTuple):
    lines: bytes
    status: int
    text: str  # what extract-content prints
    chunks: list[int]  # chunks per response
    messages: int = 0  # on stderr
    errors: int = 0  # error lines passed on: one per message, and those reported before


CASES = {
    "complete": Case(A + B, 0, "ab\n", [2]),
    "generate": Case(b'{"response":"a","done":false}\n{"response":"","done":true}\n', 0, "a\n", [2]),
    "no newline at the end": Case(A + B[:-1], 0, "ab\n", [2]),
    "byte order mark": Case(b"\xef\xbb\xbf" + A + B, 0, "ab\n", [2]),
    "CRLF and blank lines": Case(b"\n" + A.replace(b"\n", b"\r\n") + b" \n" + B + b"\r\n", 0, "ab\n", [2]),
    "U+0085 in the text": Case(A + f'{{"response":"x{NEL}y","done":true}}\n'.encode(), 0, f"ax{NEL}y\n", [2]),
    "not UTF-8": Case(b'{"response":"\xff","done":true}\n', 0, "�\n", [1]),
    "lone surrogate": Case(b'{"response":"a\\ud83d","done":true}\n', 0, "a�\n", [1]),
    "request and message lines": Case(REQUEST + A + MESSAGE + B + MESSAGE + REQUEST, 0, "ab\n", [2]),
    "null error": Case(b'{"error":null,"response":"a","done":true}\n', 0, "a\n", [1]),
    "empty error on a chunk": Case(b'{"error":"","response":"a","done":true}\n', 0, "a\n", [1]),
    "unknown keys": Case(b'{"error_count":0,"x":{"error":"no"},"response":"a","done":true}\n', 0, "a\n", [1]),
    "empty": Case(b"", 3, "", [], 1, 1),
    "request lines only": Case(REQUEST, 3, "", [], 1, 1),
    "message lines only": Case(MESSAGE * 2, 3, "", [], 1, 1),
    "truncated": Case(A + A, 3, "aa\n", [2], 1, 1),
    "truncated after a complete response": Case(A + B + A, 3, "ab\na\n", [2, 1], 1, 1),
    "truncated before the next request": Case(REQUEST + A + REQUEST + A + B, 3, "a\nab\n", [1, 2], 1, 1),
    "done is not true but 'true'": Case(A + b'{"response":"","done":"true"}\n', 3, "a\n", [2], 1, 1),
    "done is missing": Case(A + b'{"done_reason":"stop"}\n', 3, "a\n", [2], 1, 1),
    "truncated inside a line": Case(A + B[:20], 3, "a\n", [1], 1, 1),
    "truncated inside the only line": Case(B[:1], 3, "", [], 1, 1),
    "garbage": Case(A + b"what?\n" + B, 2, "a\n", [1], 1, 1),
    "an array": Case(A + b"[1]\n", 2, "a\n", [1], 1, 1),
    "NaN": Case(b'{"done":true,"x":NaN}\n', 2, "", [], 1, 1),
    "server-sent events": Case(b"data: {}\n\ndata: [DONE]\n", 2, "", [], 1, 1),
    "error line": Case(error(), 1, "", [], 1, 1),
    "error without words": Case(b'{"error":""}\n', 1, "", [], 1, 1),
    "error object": Case(b'{"error":{"message":"boom","code":4}}\n', 1, "", [], 1, 1),
    "error after done": Case(A + B + error(), 1, "ab\n", [2], 1, 1),
    "error with request and role": Case(error(request={}, role="x"), 1, "", [], 1, 1),
    "error and a chunk in one": Case(error(response="a", done=True), 1, "", [], 1, 1),
    "two errors": Case(error() + error(), 1, "", [], 2, 2),
    "a reported error, then a truncated response": Case(error(exit_status=75) + A, 3, "a\n", [1], 1, 2),
    **{f"reported: {n}": Case(A + error(exit_status=n), n, "a\n", [1], 0, 1) for n in sorted(CLAIMABLE_STATUSES)},
    **{
        f"invalid status {value!r}": Case(A + error(exit_status=value), 1, "a\n", [1], 1, 1)
        for value in (True, False, 0, 1.0, 3.0, "1", None, [], -1, 99, 10, 70, 130, 141, 10**30)
    },
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@every_case
def test_status_and_messages_are_the_same_for_every_filter(case: Case) -> None:
    for command in FILTERS:
        result = call(command, stdin=case.lines)
        if command == "render" and case.lines == MESSAGE * 2:
            # render displays message lines, so they count as output.
            assert (result.returncode, result.stderr) == (0, b"")
        else:
            assert (result.returncode, result.stderr.count(b"\n")) == (case.status, case.messages), result
            assert all(line.startswith(f"{command}: ") for line in result.stderr.decode().splitlines())


@every_case
def test_a_truncated_or_failed_response_is_printed_up_to_its_end(case: Case) -> None:
    assert call("extract-content", stdin=case.lines).stdout.decode() == case.text
    chunks = "".join(f"{count}\n" for count in case.chunks)
    assert call("stats", "--field", "chunks", stdin=case.lines).stdout.decode() == chunks
    collected = [json.loads(line) for line in call("collect", stdin=case.lines).stdout.decode().split("\n") if line]
    assert sum("error" in line and "exit_status" in line for line in collected) == case.errors
    assert len(collected) == case.errors + len(case.chunks)


@every_case
def test_a_pipeline_of_four_stages_reports_a_failure_once(case: Case, tmp_path: Path) -> None:
    """All stages exit with the same status."""
    stream, messages = case.lines, 0
    for stage in (["extract-thinking"], ["stats", "--json"], ["collect"]):
        result = call(*stage, "-w", tmp_path / stage[0], stdin=stream)
        assert result.returncode == case.status
        messages += result.stderr.count(b"\n")
        stream = result.stdout
    last = call("extract-content", stdin=stream)
    assert (last.returncode, last.stdout.decode(), last.stderr) == (case.status, case.text, b"")
    assert messages == case.messages
    lines = [json.loads(line.lstrip("\ufeff")) for line in stream.decode(errors="replace").split("\n") if line.strip()]
    assert sum("exit_status" in line for line in lines) == case.errors


@pytest.mark.parametrize(("better", "worse"), [*itertools.combinations([4, 75, 69, 3, 1, 2], 2)])
def test_of_several_failures_the_most_severe_counts(better: int, worse: int) -> None:
    first, second = error(exit_status=better), error(exit_status=worse)
    for lines in (first + second, second + first, B + first + B + second):
        result = call("stats", stdin=lines)
        assert (result.returncode, result.stderr) == (worse, b"")


MESSAGES = [
    (b"", 3, "standard input: no response; did the command that wrote it fail?"),
    (A, 3, 'standard input: the stream ended early (no "done": true); the partial answer was written'),
    (A + A[:9], 3, "standard input:2: the stream ended inside this line"),
    (A + REQUEST, 3, 'standard input:2: the response before this line ended early (no "done": true)'),
    (A + b"[]\n", 2, "standard input:2: not a JSON object but an array"),
    (error(status_code=404), 1, "standard input:1: boom (status code: 404)"),
    (error(id=7), 1, "standard input:1: id 7: boom"),
    (error(id="a\x1b"), 1, 'standard input:1: id "a\\u001b": boom'),
    (error(id=True), 1, "standard input:1: boom"),
    (error(id="ours", custom_id="theirs"), 1, 'standard input:1: id "theirs": boom'),
    (error(id="x" * 5000), 1, f'standard input:1: id "{"x" * 99}: boom'),
    (b'{"error":"two\\nlines \\u001b[31m"}\n', 1, "standard input:1: two lines ^[[31m"),
]


@pytest.mark.parametrize(("lines", "status", "message"), MESSAGES)
def test_a_message_names_the_object_and_the_reason(lines: bytes, status: int, message: str) -> None:
    result = call("extract-content", stdin=lines)
    assert (result.returncode, result.stderr.decode()) == (status, f"extract-content: {message}\n")


def test_a_line_over_the_limit_is_an_error() -> None:
    result = call("stats", stdin=b'{"response":"' + bytes(65 << 20))
    assert result.returncode == 2
    assert result.stderr == b"stats: standard input:1: a line of more than 67,108,864 bytes\n"


@pytest.mark.parametrize("name", sample(["chat-think-true", "generate-stream", "chat-tools-text"], 3))
def test_every_prefix_of_a_stream_has_the_right_status_and_text(name: str, full: bool) -> None:
    stream = body_of(name)
    for size in range(0, len(stream) + 1, 1 if full else 7):
        status, text = read_prefix(stream[:size])
        result = call("extract-content", stdin=stream[:size])
        assert (result.returncode, result.stdout.decode()) == (status, text), size
        assert result.stderr.count(b"\n") == (status != 0), size


def read_prefix(prefix: bytes) -> tuple[int, str]:
    """A minimal reference: the text of each line that parses, and the done of the last."""
    text, done = "", False
    for line in prefix.split(b"\n"):
        try:
            chunk = json.loads(line)
        except ValueError:
            done = done and not line
            continue
        text += chunk["message"]["content"] if "message" in chunk else chunk["response"]
        done = chunk["done"]
    return (0 if done else 3), text + "\n" * (text != "" and not text.endswith("\n"))


SEND = "send -m m --host http://127.0.0.1:1 hi"
REFUSED = "127.0.0.1:1: connection refused"

READ = [
    # script, commands that report the failure
    (SEND + " | FILTER", ["send"]),
    (SEND + " | FILTER -w /dev/null | FILTER", ["send"]),
    (SEND + " 2> /dev/null > saved; FILTER saved", ["FILTER saved:1"]),
    (SEND + " 2> /dev/null > saved; FILTER < saved", ["FILTER standard input:1"]),
    (SEND + " 2> /dev/null > saved; cat saved | FILTER", []),  # a pipe, so it has been reported
    (SEND + " 2> /dev/null > saved; FILTER -w /dev/null saved | FILTER", ["FILTER saved:1"]),
    (SEND + " | tee saved | FILTER; FILTER saved", ["send", "FILTER saved:1"]),
]


@pytest.mark.parametrize(("script", "reported_by"), READ)
@pytest.mark.parametrize("command", sample(FILTERS, ["extract-content"]))
def test_a_saved_failure_is_reported_again(command: str, script: str, reported_by: list[str], tmp_path: Path) -> None:
    result = sh(script.replace("FILTER", quoted(command)), cwd=tmp_path)
    assert result.returncode == 69
    messages = result.stderr.decode().splitlines()
    assert all(REFUSED in message for message in messages)
    begins = [f"{name.replace('FILTER', command).replace(' ', ': ', 1)}: " for name in reported_by]
    assert [message[: len(begin)] for message, begin in zip(messages, begins)] == begins
    assert len(messages) == len(reported_by)
