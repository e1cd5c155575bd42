"""Columns of the matrix: ways to make a request, and the checks of each."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

from tests.fault_matrix.answer import printable, responses, with_newline
from tests.fault_matrix.library import ask
from tests.fault_matrix.outcomes import NOT_NDJSON, Fault
from tests.fault_matrix.servers import FaultyServer
from tests.process import environment

# A request that takes longer is reported as hung.
HUNG_S = 300
# Plain sh: the exit status of a pipeline is that of its last command.
SH = shutil.which("dash") or "sh"
# Characters in an error message, however large the response is.
ERROR_LIMIT = 1000


class Cell(NamedTuple):
    shown: str
    wrong: list[str]  # deviations


class Column(NamedTuple):
    name: str
    ask: Callable[[Fault, FaultyServer, Path], Cell]
    expected: Callable[[Fault], str]


def message_pattern(fault: Fault, server: FaultyServer) -> str:
    """The fault's pattern, anywhere in a message."""
    return f"(?s:.*(?:{fault.pattern.replace('PORT', server.url.rpartition(':')[2])}))"


def library(stream: bool) -> Column:
    def run(fault: Fault, server: FaultyServer, _: Path) -> Cell:
        result = _ask(server, stream)
        if result is None:
            return Cell("hung", [f"still running after {HUNG_S} s"])
        return Cell(result["raised"] or "complete", list(_wrong_in_library(fault, server, stream, result)))

    name = "chat(stream=True)" if stream else "chat()"
    return Column(name, run, lambda fault: fault.outcome.raised or "complete")


def _ask(server: FaultyServer, stream: bool) -> dict[str, Any] | None:
    if server.wrapper:
        words = ["-m", "tests.fault_matrix.library", server.url, str(stream), json.dumps(server.options)]
        done = subprocess.run(
            [*server.wrapper, sys.executable, *words],
            env=environment(),
            stdout=subprocess.PIPE,
            timeout=HUNG_S,
            check=True,
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result
    found: list[dict[str, Any]] = []
    thread = threading.Thread(
        target=lambda: found.append(ask(server.url, stream, server.options, server.requests)), daemon=True
    )
    thread.start()
    thread.join(HUNG_S)
    return found[0] if found else None


def _wrong_in_library(fault: Fault, server: FaultyServer, stream: bool, result: dict[str, Any]) -> Iterator[str]:
    if result["raised"] != fault.outcome.raised:
        yield f"{result['raised'] or 'nothing'} raised: {result.get('message')}"
        return
    if result["raised"]:
        if not re.match(message_pattern(fault, server), result["message"]):
            yield f"message {result['message']!r}"
        if result["code"] != fault.code and fault.outcome.raised == "ResponseError":
            yield f"status_code {result['code']}"
    expected = responses(fault.lines)[:1]
    if stream and result["chunks"] != (expected[0].chunks if expected else []):
        yield f"{len(result['chunks'])} chunks"
    message = (result["response"] or {}).get("message") or {}
    got = [(printable(message.get("content", "")), printable(message.get("thinking", "")))] if message else []
    if got != [(response.content, response.thinking) for response in expected]:
        yield f"holds {got!r:.200}"


Check = Callable[[Fault, FaultyServer, Path, bytes], Iterator[str]]


def pipe(script: str, filters: list[str], check: Check) -> Column:
    """A command line under plain sh; `"$@"` are the options of send. `check` yields deviations of the output."""

    def expected(fault: Fault) -> int:
        if filters == ["extract-content"]:
            return fault.outcome.filters or fault.outcome.content
        return fault.outcome.filters if filters else fault.outcome.send

    def run(fault: Fault, server: FaultyServer, directory: Path) -> Cell:
        options = [
            word
            for name, value in server.options.items()
            for word in (f"--{name.replace('_', '-')}", *([] if value is True else [str(value)]))
        ]
        argv = [*server.wrapper, SH, "-c", script, SH, "--host", server.url, *options]
        try:
            done = subprocess.run(
                argv, env=environment(), cwd=directory, input=b"", capture_output=True, timeout=HUNG_S, check=False
            )
        except subprocess.TimeoutExpired:
            return Cell("hung", [f"still running after {HUNG_S} s"])
        wrong = [] if done.returncode == expected(fault) else [f"status {done.returncode}, not {expected(fault)}"]
        who = script.split()[0] if fault.outcome.send or not filters else filters[0]
        notes = message_pattern(fault, server) if fault.pattern and not fault.outcome.send else "$"
        wrong += _wrong_messages(
            f"{who}: {message_pattern(fault, server)}" if expected(fault) else None, notes, done.stderr.decode()
        )
        return Cell(str(done.returncode), [*wrong, *check(fault, server, directory, done.stdout)])

    return Column(script.replace(' -m m "$@" hi', ""), run, lambda fault: str(expected(fault)))


def _wrong_messages(expected: str | None, notes: str, stderr: str) -> Iterator[str]:
    """A failure is reported once per pipeline, on one line. A complete answer may have notes."""
    messages = [each for each in stderr.splitlines() if expected or not re.match(notes, each)]
    if len(messages) != (expected is not None):
        yield f"{len(messages)} messages: {stderr:.500}"
    elif expected and not re.match(expected, messages[0]):
        yield f"message {messages[0]!r}"


def _lines(fault: Fault, server: FaultyServer, _: Path, stdout: bytes) -> Iterator[str]:
    """send prints the complete lines, and exactly one error line for a failure."""
    *lines, rest = stdout.split(b"\n")
    if rest:
        yield f"the last line has no end: {rest!r:.200}"
    error = lines.pop() if lines and fault.outcome.send else b""
    if fault.flooded:
        lines = [each for each in lines if each.strip()]
    if lines != b"".join(fault.lines).split(b"\n")[:-1]:
        yield f"passed on {lines!r:.300}"
    if fault.outcome.send:
        yield from _wrong_error_line(fault, server, error)


def _wrong_error_line(fault: Fault, server: FaultyServer, line: bytes) -> Iterator[str]:
    try:
        error = json.loads(line)
    except ValueError:
        yield f"no error line but {line!r:.200}"
        return
    if not re.match(message_pattern(fault, server), str(error.get("error"))):
        yield f"the error line says {error}"
    code = 200 if fault.outcome is NOT_NDJSON else fault.code
    if (error.get("exit_status"), error.get("status_code", -1)) != (fault.outcome.send, code):
        yield f"the error line claims {error}"
    if fault.partial and error.get("partial") != fault.partial:
        yield f"partial is {error.get('partial')!r}"
    if len(error["error"]) > ERROR_LIMIT:
        yield f"the error has {len(error['error'])} characters"


def _content(fault: Fault, _: FaultyServer, directory: Path, stdout: bytes) -> Iterator[str]:
    text = "".join(with_newline(response.content) for response in responses(fault.lines))
    if stdout != text.encode():
        yield f"the text is {stdout!r:.200}, not {text!r:.200}"


def _thinking_and_counts(fault: Fault, _: FaultyServer, directory: Path, stdout: bytes) -> Iterator[str]:
    thinking = "".join(with_newline(response.thinking) for response in responses(fault.lines))
    written = (directory / "thinking").read_bytes()
    if written != thinking.encode():
        yield f"the thinking is {written!r:.200}, not {thinking!r:.200}"
    counts = [len(response.chunks) for response in responses(fault.lines)]
    shown = [int(count) for count in re.findall(rb"(?m)^chunks: +(\d+)$", stdout)]
    if shown != counts:
        yield f"the counts are {shown}, not {counts}"


BEFORE = b'{"role":"user","content":"before"}\n{"role":"assistant","content":"then"}\n'


def conversation() -> Column:
    """The conversation file grows by a question and its answer, or remains unchanged."""

    def check(fault: Fault, server: FaultyServer, directory: Path, stdout: bytes) -> Iterator[str]:
        yield from _lines(fault, server, directory, stdout)
        yield from _wrong_conversation(fault, (directory / "conversation").read_bytes())

    column = pipe('send -m m "$@" hi -c conversation', [], check)

    def run(fault: Fault, server: FaultyServer, directory: Path) -> Cell:
        (directory / "conversation").write_bytes(BEFORE)
        return column.ask(fault, server, directory)

    return Column("send -c FILE", run, column.expected)


def _wrong_conversation(fault: Fault, after: bytes) -> Iterator[str]:
    expected = responses(fault.lines)
    complete = bool(expected) and expected[0].complete
    if after == BEFORE and (fault.outcome.send or not complete or not expected[0].content):
        return
    added = [json.loads(each) for each in after[len(BEFORE) :].splitlines()]
    contents = [(each.get("role"), printable(each.get("content", ""))) for each in added]
    answer = expected[0].content if expected else ""
    if not complete or not after.startswith(BEFORE) or contents != [("user", "hi"), ("assistant", answer)]:
        yield f"the conversation grew by {added!r:.300}"


def batch() -> Column:
    """One request, whose answer or failure becomes one line of a file."""

    def check(fault: Fault, server: FaultyServer, directory: Path, stdout: bytes) -> Iterator[str]:
        lines = [json.loads(line) for line in (directory / "answers").read_text().split("\n")[:-1]]
        content = responses(fault.lines)[0].content if not fault.outcome.send else None
        contents = [printable(line["message"]["content"]) if not line.get("error") else None for line in lines]
        if contents != [content] * server.requests:
            yield f"the file contains {lines!r:.300}, not {content!r:.100}"

    script = 'batch -q -m m "$@" -j 1 --lines --retry 0 --patience 0 -o answers << end\n{}end'
    expected = pipe(script, [], check).expected

    def run(fault: Fault, server: FaultyServer, directory: Path) -> Cell:
        column = pipe(script.format("hi\n" * server.requests), [], check)
        # Unlike send, batch has no line numbers.
        return column.ask(fault._replace(pattern=re.sub(r"line \d \.\*", "", fault.pattern)), server, directory)

    return Column("batch -o FILE", run, expected)


COLUMNS = [
    library(stream=True),
    library(stream=False),
    pipe('send -m m "$@" hi', [], _lines),
    pipe('send -m m "$@" hi | extract-content', ["extract-content"], _content),
    pipe('send -m m "$@" hi | extract-thinking -w thinking | stats', ["extract-thinking"], _thinking_and_counts),
    conversation(),
    batch(),
]
