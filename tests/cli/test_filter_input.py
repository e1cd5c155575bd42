"""What all filters share: their inputs, and `-w FILE`, which passes the stream on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ostream.cli.filter_input import FilterInput, FilterOptions
from ostream.system.diagnostics import Diagnostics
from tests.process import FILTERS, call, quoted, sh
from tests.server import NAMES, body_of

STREAM = body_of("chat-think-true")
OTHER = body_of("generate-stream")
COMPLETE = [name for name in NAMES if b'"done":true' in body_of(name)]
CUT = ["chat-repeat-limit", "server-kill-midstream"]
every_filter = pytest.mark.parametrize("command", FILTERS)


def status_of(command: str, name: str) -> int:
    """Only one complete recording has no text: its thinking was truncated by a limit."""
    return 5 if (command, name) == ("extract-content", "chat-think-length") else 0


def text_of(stream: bytes) -> bytes:
    return call("extract-content", stdin=stream).stdout


@pytest.mark.parametrize("name", COMPLETE)
@every_filter
def test_w_passes_the_stream_byte_for_byte(command: str, name: str, tmp_path: Path) -> None:
    stream = body_of(name)
    result = call(command, "-w", tmp_path / "file", stdin=stream)
    assert (result.returncode, result.stdout[: len(stream)]) == (status_of(command, name), stream)
    assert result.stdout.count(b"exit_status") == (result.returncode != 0)
    assert (tmp_path / "file").read_bytes() == call(command, stdin=stream).stdout


@pytest.mark.parametrize("name", CUT)
@every_filter
def test_w_passes_a_cut_stream_and_then_says_so(command: str, name: str, tmp_path: Path) -> None:
    stream = body_of(name)
    result = call(command, "-w", tmp_path / "file", stdin=stream)
    assert result.returncode == 3
    assert result.stdout.startswith(stream)
    assert json.loads(result.stdout[len(stream) :]) == {
        "error": 'standard input: the stream ended early (no "done": true)',
        "exit_status": 3,
    }


def test_three_stages_of_a_real_pipe_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(STREAM)
    script = "extract-thinking -w t < in | stats -w s | collect -w c | extract-content -w e | cmp - in"
    result = sh(script, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    for file, command in zip("tsce", ("extract-thinking", "stats", "collect", "extract-content")):
        assert (tmp_path / file).read_bytes() == call(command, stdin=STREAM).stdout


def test_a_torn_line_is_not_passed_but_told(tmp_path: Path) -> None:
    result = call("stats", "-w", tmp_path / "file", stdin=STREAM[:-9])
    whole, _, torn = STREAM[:-9].rpartition(b"\n")
    assert result.stdout.startswith(whole + b"\n")
    assert json.loads(result.stdout[len(whole) :]) == {
        "error": f"standard input:{STREAM.count(10)}: the stream ended inside this line",
        "partial": torn.decode(),
        "exit_status": 3,
    }


def test_file_is_emptied_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old\n" * 1000)
    assert call("extract-content", "-w", file, "/no/such/file").returncode == 2
    assert file.read_bytes() == b""


def make_link(old: Path, new: Path) -> Path:
    new.symlink_to(old)
    return new


def make_hard_link(old: Path, new: Path) -> Path:
    os.link(old, new)
    return new


ALSO_AN_INPUT = [
    # script, what it says is also an input
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
    # The next stage of a pipe learns of it; a file does not, least of all the input.
    told = [json.loads(line)["exit_status"] for line in result.stdout.splitlines()]
    assert told == ([] if script.endswith(" >> in") else [2])
    assert result.stderr.decode() == f"extract-content: {named}: is also an input; write to another file\n"
    assert (tmp_path / "in").read_bytes() == STREAM


@every_filter
def test_w_minus_is_refused(command: str) -> None:
    result = call(command, "-w", "-", stdin=STREAM)
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"-w -: " in result.stderr


@pytest.mark.parametrize(
    ("file", "redirection"),
    [
        ("/dev/stderr", "2>> log"),
        ("/dev/fd/2", "2>> log"),
        ("/dev/fd/9", "9>> log"),
        ("/proc/self/fd/9", "9>> log"),
    ],
)
@every_filter
def test_an_open_descriptor_is_written_to_as_it_is(command: str, file: str, redirection: str, tmp_path: Path) -> None:
    """Opening it by its name would empty the log."""
    if not os.path.exists(os.path.dirname(file)):
        pytest.skip(f"no {os.path.dirname(file)} on this system")
    (tmp_path / "log").write_bytes(b"before\n")
    result = sh(f"python3 -m ostream {quoted(command)} -w {file} {redirection}", cwd=tmp_path, stdin=STREAM)
    assert (result.returncode, result.stdout) == (0, STREAM)
    assert (tmp_path / "log").read_bytes() == b"before\n" + call(command, stdin=STREAM).stdout


def test_both_may_go_to_stdout() -> None:
    lines = STREAM.splitlines(keepends=True)
    result = sh("stats --field chunks -w /dev/stdout", stdin=STREAM)
    assert (result.returncode, result.stdout) == (0, STREAM + b"%d\n" % len(lines))


UNUSABLE = [
    ("/dev/full", "No space left on device"),
    ("/no/such/folder/file", "No such file or directory"),
    ("/", "Is a directory"),
    ("/dev/fd/999", "Bad file descriptor"),
    ("/dev/fd/99999999999", "Bad file descriptor"),
    ("/dev/stdin", "Bad file descriptor"),  # open, but only to read
]


@pytest.mark.parametrize(("file", "reason"), UNUSABLE)
@pytest.mark.parametrize("ended", [True, False])
@every_filter
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
    """As one on a network does, that is found to be full when it is closed; here its descriptor goes bad."""
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
def test_a_text_with_a_nul_cannot_be_ended_by_one(options: list[str]) -> None:
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
    (tmp_path / "cut").write_bytes(STREAM.split(b"\n")[0] + b"\n")
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
    (
        ["missing\x1b[31m\n!", "two"],
        b"",
        OTHER,
        2,
        ["missing^[[31m !: No such file or directory"],
    ),
    (
        ["garbage", "one"],
        b"",
        OTHER + STREAM,
        2,
        [f"garbage:{OTHER.count(10) + 1}: not JSON: Expecting value at column 1"],
    ),
    (["empty"], b"", b"", 3, ["empty: no response; did the command before it fail?"]),
    (["empty", "-"], b"", b"", 3, ["empty, standard input: no response; did the command before it fail?"]),
    (
        ["cut", "two"],
        b"",
        STREAM.split(b"\n")[0] + b"\n" + OTHER,
        3,
        ['cut: the stream ended early (no "done": true); the partial answer was written'],
    ),
]


@pytest.mark.parametrize(("names", "stdin", "stream", "status", "messages"), INPUTS)
@every_filter
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


@pytest.mark.parametrize("command", FILTERS)
def test_v_says_what_is_read_and_what_came_of_it(command: str) -> None:
    done = call(command, "-v", "-", stdin=b'{"response":"a","done":true}\n')
    assert done.stderr.decode().splitlines() == [
        f"{command}: reading standard input",
        f"{command}: 1 complete responses, status 0",
    ]
