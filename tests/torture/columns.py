"""The columns of the matrix: the ways to ask, and what each must show of a fault."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

from tests.process import environment
from tests.torture.library import ask
from tests.torture.lines import lines_of, printable, responses
from tests.torture.sites import Site
from tests.torture.verdicts import GARBAGE, UNREAD, Fault

# What takes longer hangs.
PATIENCE_S = 120
# Plain sh, where the status of a pipe is that of its last command.
SH = shutil.which("dash") or "sh"
# An error says what happened; it is no copy of ten megabytes.
ERROR_LIMIT = 1000


class Cell(NamedTuple):
    shown: str
    wrong: list[str]  # what is not as it should be


class Column(NamedTuple):
    name: str
    ask: Callable[[Fault, Site, Path], Cell]
    expected: Callable[[Fault], str]


def words(fault: Fault, site: Site) -> str:
    """What a message must match: anywhere in it, the fault's words."""
    return f"(?s:.*(?:{fault.words.replace('PORT', site.url.rpartition(':')[2])}))"


def library(stream: bool) -> Column:
    def run(fault: Fault, site: Site, _: Path) -> Cell:
        came = _came(site, stream)
        if came is None:
            return Cell("hung", [f"not over after {PATIENCE_S} s"])
        return Cell(came["raised"] or "whole", list(_wrong_in_library(fault, site, stream, came)))

    name = "chat(stream=True)" if stream else "chat()"
    return Column(name, run, lambda fault: fault.verdict.raised or "whole")


def _came(site: Site, stream: bool) -> dict[str, Any] | None:
    if site.wrapper:
        program = [sys.executable, "-m", "tests.torture.library", site.url, str(stream), json.dumps(site.options)]
        done = subprocess.run(
            [*site.wrapper, *program], env=environment(), stdout=subprocess.PIPE, timeout=PATIENCE_S, check=True
        )
        came: dict[str, Any] = json.loads(done.stdout)
        return came
    found: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: found.append(ask(site.url, stream, site.options)), daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    return found[0] if found else None


def _wrong_in_library(fault: Fault, site: Site, stream: bool, came: dict[str, Any]) -> Iterator[str]:
    if came["raised"] != fault.verdict.raised:
        yield f"{came['raised'] or 'nothing'} was raised: {came.get('words')}"
        return
    if came["raised"]:
        if not re.match(words(fault, site), came["words"]):
            yield f"says {came['words']!r}"
        if came["code"] != fault.code and fault.verdict.raised == "ResponseError":
            yield f"status_code {came['code']}"
    said = responses(fault.came)[:1]
    if stream and came["chunks"] != (said[0].chunks if said else []):
        yield f"{len(came['chunks'])} chunks came"
    message = (came["response"] or {}).get("message") or {}
    got = [(printable(message.get("content", "")), printable(message.get("thinking", "")))] if message else []
    if got != [(response.content, response.thinking) for response in said]:
        yield f"holds {got!r:.200}"


Look = Callable[[Fault, Site, Path, bytes], Iterator[str]]


def pipe(script: str, filters: list[str], look: Look) -> Column:
    """A command line under plain sh; `"$@"` are the options of send. `look` says what is wrong with its output."""

    def expected(fault: Fault) -> int:
        return fault.verdict.filters if filters else fault.verdict.send

    def run(fault: Fault, site: Site, directory: Path) -> Cell:
        options = [word for name, value in site.options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        argv = [*site.wrapper, SH, "-c", script, SH, "--host", site.url, *options]
        try:
            done = subprocess.run(
                argv, env=environment(), cwd=directory, input=b"", capture_output=True, timeout=PATIENCE_S, check=False
            )
        except subprocess.TimeoutExpired:
            return Cell("hung", [f"not over after {PATIENCE_S} s"])
        wrong = [] if done.returncode == expected(fault) else [f"status {done.returncode}, not {expected(fault)}"]
        who = "send" if fault.verdict.send or not filters else filters[0]
        wrong += _wrong_messages(f"{who}: {words(fault, site)}" if expected(fault) else None, done.stderr.decode())
        return Cell(str(done.returncode), [*wrong, *look(fault, site, directory, done.stdout)])

    return Column(script.replace(' -m m "$@" hi', ""), run, lambda fault: str(expected(fault)))


def _wrong_messages(expected: str | None, stderr: str) -> Iterator[str]:
    """A failure is told once in a whole pipe, on one line."""
    messages = stderr.splitlines()
    if len(messages) != (expected is not None):
        yield f"{len(messages)} messages: {stderr:.500}"
    elif expected and not re.match(expected, messages[0]):
        yield f"says {messages[0]!r}"


def _lines(fault: Fault, site: Site, _: Path, stdout: bytes) -> Iterator[str]:
    """The lines of send: those that came, whole, and exactly one error line for a failure."""
    *lines, rest = stdout.split(b"\n")
    if rest:
        yield f"the last line has no end: {rest!r:.200}"
    error = lines.pop() if lines and fault.verdict.send else b""
    if fault.flooded:
        lines = [each for each in lines if each.strip()]
    if lines != b"".join(fault.came).split(b"\n")[:-1]:
        yield f"passed on {lines!r:.300}"
    if fault.verdict.send:
        yield from _wrong_error_line(fault, site, error)


def _wrong_error_line(fault: Fault, site: Site, line: bytes) -> Iterator[str]:
    try:
        error = json.loads(line)
    except ValueError:
        yield f"no error line but {line!r:.200}"
        return
    if not re.match(words(fault, site), str(error.get("error"))):
        yield f"the error line says {error}"
    code = 200 if fault.verdict is GARBAGE else fault.code
    if (error.get("exit_status"), error.get("status_code", -1)) != (fault.verdict.send, code):
        yield f"the error line claims {error}"
    if fault.partial and error.get("partial") != fault.partial:
        yield f"partial is {error.get('partial')!r}"
    if len(error["error"]) > ERROR_LIMIT:
        yield f"the error has {len(error['error'])} characters"


def _content(fault: Fault, _: Site, directory: Path, stdout: bytes) -> Iterator[str]:
    text = "".join(lines_of(response.content) for response in responses(fault.came))
    if stdout != text.encode():
        yield f"the text is {stdout!r:.200}, not {text!r:.200}"


def _thinking_and_counts(fault: Fault, _: Site, directory: Path, stdout: bytes) -> Iterator[str]:
    thinking = "".join(lines_of(response.thinking) for response in responses(fault.came))
    written = (directory / "thinking").read_bytes()
    if written != thinking.encode():
        yield f"the thinking is {written!r:.200}, not {thinking!r:.200}"
    counts = [len(response.chunks) for response in responses(fault.came)]
    shown = [int(count) for count in re.findall(rb"(?m)^chunks: +(\d+)$", stdout)]
    if shown != counts:
        yield f"the counts are {shown}, not {counts}"


BEFORE = b'{"role":"user","content":"before"}\n{"role":"assistant","content":"then"}\n'


def conversation() -> Column:
    """The file of a conversation grows by a question and its answer, or stays as it was."""

    def look(fault: Fault, site: Site, directory: Path, stdout: bytes) -> Iterator[str]:
        yield from _lines(fault, site, directory, stdout)
        yield from _wrong_conversation(fault, (directory / "conversation").read_bytes())

    column = pipe('send -m m "$@" hi -c conversation', [], look)

    def run(fault: Fault, site: Site, directory: Path) -> Cell:
        (directory / "conversation").write_bytes(BEFORE)
        return column.ask(_read(fault), site, directory)

    return Column("send -c FILE", run, lambda fault: column.expected(_read(fault)))


def _read(fault: Fault) -> Fault:
    """What is to be kept must be read: no line is passed on unread."""
    bad = len([response for response in responses(fault.came) for _ in response.chunks])
    return fault._replace(verdict=GARBAGE, came=fault.came[:bad]) if fault.verdict is UNREAD else fault


def _wrong_conversation(fault: Fault, after: bytes) -> Iterator[str]:
    said = responses(fault.came)
    complete = bool(said) and said[0].complete
    if after == BEFORE and (fault.verdict.send or not complete):
        return
    added = [json.loads(each) for each in after[len(BEFORE) :].splitlines()]
    contents = [(each.get("role"), printable(each.get("content", ""))) for each in added]
    answer = said[0].content if said else ""
    if not complete or not after.startswith(BEFORE) or contents != [("user", "hi"), ("assistant", answer)]:
        yield f"the conversation grew by {added!r:.300}"


COLUMNS = [
    library(stream=True),
    library(stream=False),
    pipe('send -m m "$@" hi', [], _lines),
    pipe('send -m m "$@" hi | extract-content', ["extract-content"], _content),
    pipe('send -m m "$@" hi | extract-thinking -w thinking | stats', ["extract-thinking"], _thinking_and_counts),
    conversation(),
]
