"""Shared by all filters: their inputs, and `-w FILE`, which passes the stream on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ostream.cli.filter_input import FilterInput, FilterOptions
from ostream.protocol.ndjson import encode_line
from ostream.system.diagnostics import Diagnostics
from tests.process import FILTERS, call, quoted, sh, start
from tests.server import NAMES, body_of
from tests.tiers import sample, some_filters

STREAM = body_of("chat-think-true")
OTHER = body_of("generate-stream")
FIRST = STREAM.splitlines(keepends=True)[0]
ENDED_EARLY = 'the stream ended early (no "done": true); the partial answer was written'
COMPLETE = [name for name in NAMES if b'"done":true' in body_of(name)]


def status_of(command: str, name: str) -> int:
    """Return the expected status: only one complete recording has no text, because a limit truncated its thinking."""
    return 5 if (command, name) == ("extract-content", "chat-think-length") else 0


def text_of(stream: bytes) -> bytes:
    return call("extract-content", stdin=stream).stdout


@pytest.mark.parametrize("name", sample(COMPLETE, 6))
@some_filters
def test_w_passes_the_stream_byte_for_byte(command: str, name: str, tmp_path: Path) -> None:
    stream = body_of(name)
    result = call(command, "-w", tmp_path / "file", stdin=stream)
    assert (result.returncode, result.stdout[: len(stream)]) == (status_of(command, name), stream)
    assert result.stdout.count(b"exit_status") == (result.returncode != 0)
    assert (tmp_path / "file").read_bytes() == call(command, stdin=stream).stdout


def test_a_truncated_line_is_passed_on_inside_an_error_line(tmp_path: Path) -> None:
    result = call("stats", "-w", tmp_path / "file", stdin=STREAM[:-9])
    whole, _, torn = STREAM[:-9].rpartition(b"\n")
    assert result.stdout.startswith(whole + b"\n")
    assert json.loads(result.stdout[len(whole) :]) == {
        "error": f"standard input:{STREAM.count(10)}: the stream ended inside this line",
        "partial": torn.decode(),
        "exit_status": 3,
    }


def test_the_file_of_w_is_truncated_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old\n" * 1000)
    assert call("extract-content", "-w", file, "/no/such/file").returncode == 2
    assert file.read_bytes() == b""


ALSO_AN_INPUT = [
    # script, the name in the message
    ("$F -w in in", "in"),
    ("$F -w ./in in", "./in"),
    ("$F -w in /no/such/file in", "in"),
    ("$F -w in < in", "in"),
    ("$F -w in - < in", "in"),
    ("$F -w in /dev/stdin < in", "in"),
    ("ln -s in link; $F -w link in", "link"),
    ("ln in hard; $F -w hard in", "hard"),
    ("ln in hard; $F -w in < hard", "in"),
    ("$F -w /dev/stdout in >> in", "/dev/stdout"),
    ("$F -w /dev/fd/9 in 9>> in", "/dev/fd/9"),
]


@pytest.mark.parametrize(("script", "named"), ALSO_AN_INPUT)
def test_a_file_that_is_also_an_input_is_refused(script: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(STREAM)
    result = sh(script.replace("$F", "extract-content"), cwd=tmp_path, stdin=STREAM)
    assert result.returncode == 2
    # An error line goes to the next stage of a pipe, not to a file: it may be the input.
    statuses = [json.loads(line)["exit_status"] for line in result.stdout.splitlines()]
    assert statuses == ([] if script.endswith(" >> in") else [2])
    assert result.stderr.decode() == f"extract-content: {named}: is also an input; write to another file\n"
    assert (tmp_path / "in").read_bytes() == STREAM


@pytest.mark.parametrize("script", ["$F in >> in", "$F < in >> in", "$F -w x missing in >> in", "$F ./in 1<> in"])
@pytest.mark.parametrize("command", sample(FILTERS, ["collect", "render"]))
def test_a_file_that_is_also_standard_output_is_refused(command: str, script: str, tmp_path: Path) -> None:
    """Reading its own output, the filter would never end."""
    (tmp_path / "in").write_bytes(STREAM)
    result = sh(script.replace("$F", quoted(command)), cwd=tmp_path)
    assert (result.returncode, (tmp_path / "in").read_bytes()) == (2, STREAM)
    assert result.stderr.decode().endswith(": is also standard output; write to another file\n")


def test_w_with_the_file_of_standard_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"text")
    with (tmp_path / "out").open("ab") as out:
        process = start("extract-content", "-w", "out", cwd=tmp_path, stdout=out)
        message = process.communicate(STREAM, timeout=60)[1]
    assert message == b"extract-content: out: is also standard output; write to another file, or use -w /dev/stdout\n"
    assert (process.returncode, (tmp_path / "out").read_bytes()) == (2, b"text")


@pytest.mark.parametrize(
    ("file", "redirection"),
    [
        ("/dev/stderr", "2>> log"),
        ("/dev/fd/2", "2>> log"),
        ("/dev/fd/9", "9>> log"),
        pytest.param("/proc/self/fd/9", "9>> log", marks=pytest.mark.linux),
    ],
)
@some_filters
def test_an_open_descriptor_is_written_to_as_it_is(command: str, file: str, redirection: str, tmp_path: Path) -> None:
    """Opening it by its name would empty the log."""
    (tmp_path / "log").write_bytes(b"before\n")
    result = sh(f"python3 -m ostream {quoted(command)} -w {file} {redirection}", cwd=tmp_path, stdin=STREAM)
    assert (result.returncode, result.stdout) == (0, STREAM)
    assert (tmp_path / "log").read_bytes() == b"before\n" + call(command, stdin=STREAM).stdout


def test_w_dev_stdout_writes_both_to_standard_output() -> None:
    lines = STREAM.splitlines(keepends=True)
    result = sh("stats --field chunks -w /dev/stdout", stdin=STREAM)
    assert (result.returncode, result.stdout) == (0, STREAM + b"%d\n" % len(lines))


UNUSABLE = [
    pytest.param("/dev/full", "No space left on device", marks=pytest.mark.linux),
    ("/no/such/folder/file", "No such file or directory"),
    ("/", "Is a directory"),
    ("/dev/fd/999", "Bad file descriptor"),
    ("/dev/fd/99999999999", "Bad file descriptor"),
    ("/dev/stdin", "Bad file descriptor"),  # open, but only to read
]


@pytest.mark.parametrize(("file", "reason"), UNUSABLE)
@pytest.mark.parametrize("ended", [True, False])
@some_filters
def test_a_file_that_fails_does_not_stop_the_stream(command: str, file: str, reason: str, ended: bool) -> None:
    stream = STREAM + OTHER if ended else (STREAM + OTHER)[:-1]
    if file == "/dev/stdin":
        result = sh(f"cat | {quoted(command)} -w /dev/stdin", stdin=stream)
    else:
        result = call(command, "-w", file, stdin=stream)
    message = f"{file}: {reason}"
    assert (result.returncode, result.stderr.decode()) == (1, f"{command}: {message}\n")
    assert result.stdout.startswith(STREAM + OTHER)
    assert json.loads(result.stdout[len(STREAM + OTHER) :]) == {"error": message, "exit_status": 1}
    after = call("extract-content", stdin=result.stdout)
    assert (after.returncode, after.stdout, after.stderr) == (1, text_of(STREAM + OTHER), b"")


def test_a_file_that_fails_at_the_end_is_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Some network file systems report a full disk only at the close; here the descriptor is closed early."""
    given, file = tmp_path / "in", tmp_path / "file"
    given.write_bytes(STREAM)
    options = FilterOptions()
    options.files, options.write_to = [str(given)], str(file)
    source = FilterInput(Diagnostics("stage"), options)
    for _ in source.chunks():
        source.output.write_text(["text"])
    os.close(next(fd for fd in range(3, 1000) if is_open_as(fd, file)))
    message = f"{file}: Bad file descriptor"
    assert source.finish() == 1
    out, err = capfd.readouterr()
    assert err == f"stage: {message}\n"
    assert out.encode().startswith(STREAM)
    assert json.loads(out.encode()[len(STREAM) :]) == {"error": message, "exit_status": 1}


def is_open_as(fd: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), file.stat())
    except OSError:
        return False


NUL = b'{"response":"a","done":false}\n{"response":"\\u0000","done":true}\n'


@pytest.mark.parametrize("options", [["-0"], ["-0", "--think-tags"]])
def test_a_text_that_contains_a_nul_is_an_error_with_null(options: list[str]) -> None:
    result = call("extract-content", *options, stdin=NUL + NUL)
    message = "the text contains a NUL"
    assert (result.returncode, result.stderr.decode()) == (
        1,
        f"extract-content: {message}; use --json instead of -0\n",
    )
    passed = call("extract-content", *options, "-w", "/dev/null", stdin=NUL + NUL)
    assert (passed.returncode, passed.stderr) == (1, result.stderr)
    assert passed.stdout.startswith(NUL + NUL)
    assert json.loads(passed.stdout[len(NUL + NUL) :]) == {"error": message, "exit_status": 1}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").write_bytes(STREAM)
    (tmp_path / "torn-newline").write_bytes(STREAM[:-1])
    (tmp_path / "two").write_bytes(OTHER)
    (tmp_path / "cut").write_bytes(FIRST)
    (tmp_path / "empty").touch()
    (tmp_path / "garbage").write_bytes(OTHER + b"what?\n" + OTHER)
    (tmp_path / "folder").mkdir()
    (tmp_path / "-n").write_bytes(OTHER)
    return tmp_path


INPUTS = [
    # files, standard input, the streams they hold, status, messages
    (["one"], b"", STREAM, 0, []),
    (["-"], STREAM, STREAM, 0, []),
    (["one", "two"], b"", STREAM + OTHER, 0, []),
    (["one", "-", "one"], OTHER, STREAM + OTHER + STREAM, 0, []),
    (["one", "-", "-"], OTHER, STREAM + OTHER, 0, []),
    (["torn-newline", "two"], b"", STREAM + OTHER, 0, []),
    (["empty", "one", "empty"], b"", STREAM, 0, []),
    (["--", "-n"], b"", OTHER, 0, []),
    (["one", "missing", "two"], b"", STREAM + OTHER, 2, ["missing: No such file or directory"]),
    (["missing"], b"", b"", 2, ["missing: No such file or directory"]),
    (["folder", "two"], b"", OTHER, 2, ["folder: Is a directory"]),
    (["missing\x1b[31m\n!", "two"], b"", OTHER, 2, ["missing^[[31m !: No such file or directory"]),
    (["garbage", "one"], b"", OTHER + STREAM, 2, ["garbage:21: not JSON: Expecting value at column 1"]),
    (["empty"], b"", b"", 3, ["empty: no response; did the command that wrote it fail?"]),
    (["empty", "-"], b"", b"", 3, ["empty, standard input: no response; did the command that wrote it fail?"]),
    (["cut", "two"], b"", FIRST + OTHER, 3, [f"cut: {ENDED_EARLY}"]),
]


@pytest.mark.parametrize(("names", "stdin", "stream", "status", "messages"), INPUTS)
@some_filters
def test_files_and_standard_input(
    files: Path, command: str, names: list[str], stdin: bytes, stream: bytes, status: int, messages: list[str]
) -> None:
    result = call(command, *names, stdin=stdin)
    assert result.returncode == status
    assert result.stderr.decode() == "".join(f"{command}: {message}\n" for message in messages)
    if command != "collect" and "cut" not in names:
        # The sum that stats shows of several responses counts the failures too.
        form = ["--json"] if command == "stats" else []
        assert call(command, *form, *names, stdin=stdin).stdout == call(command, *form, stdin=stream).stdout
    passed = call(command, "-w", "/dev/null", *names, stdin=stdin)
    assert (passed.returncode, passed.stderr) == (status, result.stderr)
    ours = [line for line in passed.stdout.splitlines(keepends=True) if b'"exit_status"' in line]
    assert len(ours) == len(messages)
    assert b"".join(line for line in passed.stdout.splitlines(keepends=True) if line not in ours) == stream


NOT_RESPONSES = [
    # input, the message
    (b'{"role":"user","content":"hi"}\n', "contains a conversation, not a response; read it with 'render', "),
    (b'{"prompt":"hi"}\n{"prompt":"ho"}\n', "contains requests, not responses; send them with 'batch'\n"),
    (
        b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n',
        "contains requests, not responses; ",
    ),
    (b'{"request":{"path":"/api/chat","body":{}}}\n', "contains requests, not responses; send them with 'batch'\n"),
    (b"\n \n", "no response; did the command that wrote it fail?\n"),
]


@pytest.mark.parametrize(("stream", "message"), NOT_RESPONSES)
def test_input_that_is_no_response_is_named(stream: bytes, message: str) -> None:
    result = call("extract-content", stdin=stream)
    assert (result.returncode, result.stdout) == (3, b"")
    assert result.stderr.decode().startswith(f"extract-content: standard input: {message}")


@some_filters
def test_equal_failures_are_printed_five_times_then_counted(command: str, tmp_path: Path) -> None:
    lines = [{"error": "busy", "exit_status": 75, "id": number} for number in range(50)]
    (tmp_path / "in").write_bytes(b"".join(map(encode_line, lines)))
    result = call(command, tmp_path / "in")
    assert result.returncode == 75
    messages = result.stderr.decode().splitlines()
    assert len(messages) == 6
    assert messages[0] == f"{command}: {tmp_path / 'in'}:1: id 0: busy"
    assert messages[5] == f"{command}: 45 more: busy"


@some_filters
def test_verbose_reports_what_is_read_and_its_status(command: str) -> None:
    done = call(command, "-v", "-", stdin=b'{"response":"a","done":true}\n')
    assert done.stderr.decode().splitlines() == [
        f"{command}: reading standard input",
        f"{command}: 1 complete responses, status 0",
    ]


CHUNK = {"message": {"role": "assistant", "content": "Hi"}, "done": True, "elapsed": 5}
CUT = {"error": "cut", "exit_status": 3}


def request(path: Any) -> dict[str, Any]:
    return {"request": {"path": path, "body": {}}, "status": 200}


CHAT, TAGS = [request("/api/chat"), CHUNK], [request("/api/tags"), {"models": [], "elapsed": 5}]
CASES: list[tuple[str, list[dict[str, Any]], int, bytes]] = [
    # case, lines, status, content
    ("another endpoint", [*TAGS, *CHAT], 0, b"Hi\n"),
    ("a response before another endpoint", [*CHAT, *TAGS], 0, b"Hi\n"),
    ("failure of another endpoint", [request("/api/pull"), {"error": "no", "elapsed": 5}, *CHAT], 0, b"Hi\n"),
    ("truncated answer of another endpoint", [request("/api/pull"), {**CUT, "elapsed": 5}, *CHAT], 0, b"Hi\n"),
    ("only another endpoint", TAGS, 3, b""),
    ("failure of send after another endpoint", [*CHAT, request("/api/tags"), CUT], 3, b"Hi\n"),
    ("response without elapsed", [request("/api/tags"), {"message": {"content": "Hi"}, "done": True}], 0, b"Hi\n"),
    ("path that is no text", [request(7), CHUNK], 0, b"Hi\n"),
    ("request that is no object", [{"request": 7}, CHUNK], 0, b"Hi\n"),
]


@pytest.mark.parametrize(("lines", "status", "content"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_exchanges_of_other_endpoints_are_skipped(lines: list[dict[str, Any]], status: int, content: bytes) -> None:
    stdin = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    assert {command: call(command, stdin=stdin).returncode for command in FILTERS} == dict.fromkeys(FILTERS, status)
    assert call("extract-content", stdin=stdin).stdout == content
    passed = call("extract-content", "-w", "/dev/null", stdin=stdin).stdout
    assert passed.startswith(stdin)


def test_skipping_ends_with_the_file(tmp_path: Any) -> None:
    (tmp_path / "a").write_text(json.dumps(request("/api/tags")))
    (tmp_path / "b").write_text(json.dumps(CHUNK))
    result = call("extract-content", tmp_path / "a", tmp_path / "b")
    assert (result.returncode, result.stdout) == (0, b"Hi\n")


LINE = {"error": "boom", "exit_status": 1}


@pytest.mark.parametrize(
    ("report", "saved", "message"),
    [("send: boom", True, "stats: {}:1: boom\n"), ("send: boom", False, "send: boom\n"), (5, False, "")],
)
def test_a_message_is_printed_only_if_it_is_text_from_a_pipe_and_is_not_passed_on(
    report: object, saved: bool, message: str, tmp_path: Path
) -> None:
    stream = json.dumps({**LINE, "report": report}).encode() + b"\n"
    file = tmp_path / "saved"
    file.write_bytes(stream)
    result = call("stats", "-w", os.devnull, *[file] * saved, stdin=stream)
    assert result.stderr.decode() == message.format(file)
    assert (result.returncode, json.loads(result.stdout)) == (1, LINE)
