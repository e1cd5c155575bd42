"""record: replay of a recording gives a script the same bytes, and FILE holds complete exchanges and no credentials."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

from ostream.errors import EMPTY
from ostream.recording.file import RecordingFile
from ostream.recording.http_server import RequestHandler
from ostream.recording.proxy import SPOOL_SIZE
from tests.commands.test_replay import REQUESTS
from tests.process import call, run, sh, small_files, start
from tests.server import (
    NAMES,
    SOME_NAMES,
    STREAMS,
    Answers,
    certificate,
    http_answer,
    raw_of,
    send_lines,
    send_raw,
    serve,
    server_context,
    tcp,
)
from tests.tiers import sample

A = b'{"message":{"role":"assistant","content":"a"},"done":false}\n'
B = b'{"message":{"role":"assistant","content":"b"},"done":true,"done_reason":"stop"}\n'

# Not a launcher, which coverage does not measure.
PYTHON = "python3 -m ostream"


def record_and_replay(
    respond: Callable[[RequestHandler], Any], script: str, tmp_path: Path, **env: str
) -> tuple[bytes, int, bytes]:
    """Record a script, and return the recording, its status and its stdout, which are the same under replay."""
    with serve(respond) as server:
        recorded = sh(f"{PYTHON} record r.ndjson -- {script}", cwd=tmp_path, env={"OLLAMA_HOST": server.url, **env})
    replayed = sh(f"{PYTHON} replay r.ndjson -- {script}", cwd=tmp_path, env=env)
    assert recorded.stderr == replayed.stderr
    assert (recorded.returncode, recorded.stdout) == (replayed.returncode, replayed.stdout)
    return (tmp_path / "r.ndjson").read_bytes(), recorded.returncode, recorded.stdout


def exchanges_of(recording: bytes) -> list[list[dict[str, Any]]]:
    """Return the lines of each exchange."""
    exchanges: list[list[dict[str, Any]]] = []
    for line in map(json.loads, recording.splitlines()):
        if "request" in line:
            exchanges.append([])
        exchanges[-1].append(line)
    return exchanges


def through_send(name: str) -> str:
    """Return a script that sends a recorded request."""
    path, body = REQUESTS.get(name, ("/api/chat", {}))
    options = "-g" if path == "/api/generate" else ""
    return f"sh -c {shlex.quote(f'echo {shlex.quote(json.dumps(body))} | send -m m {options} --body -')}"


@pytest.mark.parametrize("name", sample(NAMES, SOME_NAMES))
def test_send_gets_the_same_on_replay(name: str, tmp_path: Path) -> None:
    recording, status, stdout = record_and_replay(send_raw(raw_of(name)), through_send(name), tmp_path)
    (lines,) = exchanges_of(recording)
    if status == 0:
        assert call("extract-content", stdin=recording).returncode in (0, EMPTY)
        assert call("collect", stdin=stdout).returncode == 0
    assert all(list(line)[-1] == "elapsed" for line in lines[1:])


@pytest.mark.parametrize("name", sample(NAMES, SOME_NAMES))
def test_curl_gets_the_same_on_replay(name: str, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    head, _, body = (STREAMS / f"{name}.req").read_bytes().partition(b"\r\n\r\n")
    method, path, _ = head.decode().split(" ", 2)
    (tmp_path / "body").write_bytes(body)
    data = "--data-binary @body" if body else ""
    script = f"sh -c 'curl -sN -X {method} {data} -w %{{http_code}} $OLLAMA_HOST{path}'"
    recording, _, stdout = record_and_replay(send_raw(raw_of(name)), script, tmp_path)
    (lines,) = exchanges_of(recording)
    assert stdout.endswith(str(lines[0]["status"]).encode())
    assert lines[0]["request"].get("method", "POST") == method


def html(exchange: RequestHandler) -> None:
    exchange.send_body(200, "text/html", b"<html>\n<title>Log in</title>\n")


def truncate(*parts: bytes) -> Callable[[RequestHandler], None]:
    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        for part in parts:
            exchange.chunk(part)
        exchange.truncate()

    return respond


def truncate_inside_a_chunk(exchange: RequestHandler) -> None:
    exchange.head(200, "application/x-ndjson")
    exchange.raw(b"ff\r\n" + A + B[:20])
    exchange.truncate()


def short(exchange: RequestHandler) -> None:
    exchange.head(200, "application/json", 1000)
    exchange.raw(B[:-1])
    exchange.truncate()


def reset(exchange: RequestHandler) -> None:
    exchange.head(200, "application/x-ndjson")
    exchange.chunk(A)
    exchange.reset()


# There the message of send contains an errno, or the number of bytes received.
OTHER_TEXT = {"truncated inside an HTTP chunk", "a reset"}
# (Lines after the one at which the client leaves are sent together with it, or the recording may lack them.)
FAILURES: dict[str, tuple[Callable[[RequestHandler], Any], int, list[dict[str, Any]]]] = {
    # what the server does: the status of send, the lines recorded after the request
    "404": (
        send_lines(b'{"error":"no model"}', status=404, content_type="application/json"),
        1,
        [{"error": "no model"}],
    ),
    "503": (send_lines(status=503), 75, []),
    "an error line": (send_lines(A, b'{"error":"boom"}\n'), 1, [{"done": False}, {"error": "boom"}]),
    "an error line with an exit status": (
        send_lines(A, b'{"error":"boom","exit_status":75}\n'),
        1,
        [{"done": False}, {"partial": '{"error":"boom","exit_status":75}\n', "exit_status": 1}],
    ),
    "truncated inside a line": (
        truncate(A, B[:20]),
        3,
        [{"done": False}, {"partial": B[:20].decode(), "exit_status": 3}],
    ),
    "truncated inside an HTTP chunk": (truncate_inside_a_chunk, 3, [{"done": False}, {"partial": B[:20].decode()}]),
    "truncated after an HTTP chunk": (
        truncate(A),
        3,
        [{"done": False}, {"error": "the server closed the connection", "exit_status": 3}],
    ),
    "a body shorter than its length": (
        short,
        0,
        [{"done": True}, {"error": "the server closed the connection", "exit_status": 3}],
    ),
    "a reset": (reset, 3, [{"done": False}, {"exit_status": 3}]),
    "nothing": (send_lines(), 3, []),
    "a response that is not HTTP": (send_raw(b"SSH-2.0-x\r\n"), 1, [{}]),
    "HTML": (html, 1, [{"partial": "<html>\n<title>Log in</title>\n", "exit_status": 1}]),
    "garbage": (send_lines(A, b"what?\n" + B), 1, [{"done": False}, {"partial": "what?\n" + B.decode()}]),
    "server-sent events": (send_lines(b"data: {}\n\n"), 1, [{"partial": "data: {}\n\n"}]),
    "a line that looks like a request line": (
        send_lines(b'{"request":{}}\n'),
        1,
        [{"partial": '{"request":{}}\n'}],
    ),
}


@pytest.mark.parametrize("name", sample(FAILURES, 4))
def test_a_failure_is_the_same_on_replay(name: str, tmp_path: Path) -> None:
    respond, status, expected = FAILURES[name]
    script = "sh -c 'send -m m hi 2>/dev/null'"
    if name in OTHER_TEXT:
        script = "sh -c 'send -m m hi 2>/dev/null | grep -v \"^{.error\"; send -m m hi >/dev/null 2>&1'"
    recording, seen, _ = record_and_replay(respond, script, tmp_path)
    (_, *lines), *_ = exchanges_of(recording)
    assert seen == status
    assert len(lines) == len(expected)
    for line, some in zip(lines, expected):
        assert some.items() <= line.items()
        assert type(line["elapsed"]) is int


def hang_up(exchange: RequestHandler) -> None:
    exchange.reset()


def test_a_server_that_hangs_up(tmp_path: Path) -> None:
    script = "sh -c 'send -m m hi 2>&1 >/dev/null | sed s/:[0-9]*:/:/g'"
    recording, _, stdout = record_and_replay(hang_up, script, tmp_path)
    assert stdout.startswith(b"send: http://127.0.0.1: the server closed the connection without a response;")
    ((request, error),) = exchanges_of(recording)
    assert list(request) == ["request"]
    assert error["exit_status"] == 3


def test_a_refused_connection_becomes_a_502(tmp_path: Path) -> None:
    script = "sh -c 'curl -s -d {} -w %{http_code} $OLLAMA_HOST/api/chat'"
    env = {"OLLAMA_HOST": "127.0.0.1:1"}
    recorded = sh(f"{PYTHON} record r.ndjson -- {script}", cwd=tmp_path, env=env)
    replayed = sh(f"replay r.ndjson -- {script}", cwd=tmp_path)
    assert recorded.stdout == replayed.stdout == b'{"error":"127.0.0.1:1: connection refused"}502'
    assert recorded.stderr == b""
    ((request, error),) = exchanges_of((tmp_path / "r.ndjson").read_bytes())
    assert (request["status"], error["elapsed"]) == (502, 0)


def test_queries_and_headers_are_not_recorded(tmp_path: Path) -> None:
    with serve(send_lines(A, B)) as server:
        env = {"OLLAMA_HOST": server.url, "OLLAMA_API_KEY": "ecret"}
        script = 'send -m m hi >out; curl -sH "X: ecret" -d "{}" "$OLLAMA_HOST/api/chat?key=ecret"'
        assert sh(f"record r.ndjson -- sh -c '{script}'", cwd=tmp_path, env=env).returncode == 0
        keys = [(each.path, each.headers.get("Authorization")) for each in server.requests]  # type: ignore[attr-defined]
    assert keys == [("/api/chat", "Bearer ecret"), ("/api/chat?key=ecret", None)]
    recording = (tmp_path / "r.ndjson").read_bytes()
    assert b"ecret" not in recording
    assert [lines[0]["request"]["path"] for lines in exchanges_of(recording)] == ["/api/chat"] * 2


# FILE.
SEND = ["--", "send", "-m", "m", "hi"]


@pytest.fixture
def url() -> Any:
    with serve(send_lines(A, B)) as server:
        yield server.url


def test_an_existing_recording_is_not_changed_without_an_option(url: str, tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(A)
    result = call("record", tmp_path / "r", *SEND, env={"OLLAMA_HOST": url})
    message = f"record: {tmp_path}/r: already holds data; add to it with -a, or remove it first\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (2, b"", message)
    assert (tmp_path / "r").read_bytes() == A


@pytest.mark.parametrize("options", [[], ["-a"]])
@pytest.mark.parametrize("before", [None, b"", A, A[:-1]])
def test_a_recording_is_appended_to_with_a_or_if_empty(
    options: list[str], before: bytes | None, url: str, tmp_path: Path
) -> None:
    if before is not None:
        (tmp_path / "r").write_bytes(before)
    result = call("record", *options, tmp_path / "r", *SEND, env={"OLLAMA_HOST": url})
    if before and not options:
        assert result.returncode == 2
        return
    assert (result.returncode, result.stdout, result.stderr) == (0, A + B, b"")
    recorded = (tmp_path / "r").read_bytes()
    assert recorded.startswith(A + b'{"request":' if before else b'{"request":')
    assert len(recorded.splitlines()) == 3 + bool(before)


INCOMPLETE_LAST_LINES = [
    # the last line, and what becomes of it
    (b'{"model":"m","mess', "deleted"),
    (b'{"request":{"path":"' + b"x" * 100_000, "deleted"),
    (b'{ "note', "moved to r.torn"),
]


@pytest.mark.parametrize(("line", "what"), INCOMPLETE_LAST_LINES, ids=["chunk", "request", "other"])
def test_an_incomplete_last_line_is_removed(line: bytes, what: str, url: str, tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(A + B + line)
    result = sh(f"{PYTHON} record -a r -- send -m m hi", cwd=tmp_path, env={"OLLAMA_HOST": url})
    note = f"record: r: the last line was incomplete (was the program that wrote it killed?) and was {what}\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (0, A + B, note)
    recorded = (tmp_path / "r").read_bytes()
    assert recorded.startswith(A + B + b'{"request":')
    assert len(recorded.splitlines()) == 5
    assert (tmp_path / "r.torn").exists() is ("moved" in what)
    if "moved" in what:
        assert (tmp_path / "r.torn").read_bytes() == line + b"\n"
    assert call("replay", tmp_path / "r", "--", "send", "hi").returncode == 0


FOREIGN = [
    b"{{ mustache }}",
    b"text\n{{ mustache",
    b'{"name":"x"}\n',
    b"[1]\n",
    b'{"role":"user","content":"x"}\n',
    b"\xff\n",
]


@pytest.mark.parametrize("content", FOREIGN)
@pytest.mark.parametrize("option", ["-a", "--once", "--refresh"])
def test_a_file_that_is_not_a_recording_is_not_changed(option: str, content: bytes, url: str, tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(content)
    result = call("record", option, tmp_path / "r", *SEND, env={"OLLAMA_HOST": url})
    message = f"record: {tmp_path}/r: not a recording; it was not changed; choose another FILE\n"
    assert (result.returncode, result.stdout, result.stderr.decode()) == (2, b"", message)
    assert (tmp_path / "r").read_bytes() == content


@pytest.mark.parametrize("option", ["", "--once"])
def test_a_file_that_was_removed_is_reported(option: str, url: str, tmp_path: Path) -> None:
    result = sh(f"{PYTHON} record {option} r -- sh -c 'rm r; send -m m hi'", cwd=tmp_path, env={"OLLAMA_HOST": url})
    assert (result.returncode, result.stdout) == (1, A + B)
    assert result.stderr == b"record: r: the file was removed while recording; nothing more is recorded\n"


def test_file_may_be_an_open_descriptor(url: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(A)
    script = "record /dev/stdout -- send -m m hi >> log"
    assert sh(script, cwd=tmp_path, env={"OLLAMA_HOST": url}).returncode == 0
    assert len((tmp_path / "log").read_bytes().splitlines()) == 6


WRONG = [
    ([], 2, "no FILE given; usage: record FILE -- COMMAND"),
    (["--", "true"], 2, "no FILE given; usage: record FILE -- COMMAND"),
    (["r", "s", "--", "true"], 2, "s: only one FILE can be given; usage: record FILE -- COMMAND"),
    (["-", "--", "true"], 2, "-: standard output belongs to COMMAND; use /dev/stdout to record there anyway"),
    (["no/r", "--", "true"], 1, "no/r: No such file or directory"),
    (["/", "--", "true"], 1, "/: Is a directory"),
]


@pytest.mark.parametrize(("arguments", "status", "message"), WRONG)
def test_wrong_usage(arguments: list[str], status: int, message: str) -> None:
    result = call("record", *arguments)
    assert (result.returncode, result.stdout, result.stderr.decode()) == (status, b"", f"record: {message}\n")


def test_a_wrong_host_is_reported_before_file_is_created(tmp_path: Path) -> None:
    result = call("record", tmp_path / "r", "--", "true", env={"OLLAMA_HOST": "ftp://x"})
    assert (result.returncode, (tmp_path / "r").exists()) == (2, False)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize(("status", "expected"), [(0, 1), (75, 75)])
def test_a_full_disk_does_not_affect_the_command(status: int, expected: int, url: str) -> None:
    script = f"send -m m hi; send -m m hi; exit {status}"
    result = call("record", "/dev/full", "--", "sh", "-c", script, env={"OLLAMA_HOST": url})
    assert (result.returncode, result.stdout) == (expected, (A + B) * 2)
    assert result.stderr.decode() == "record: /dev/full: No space left on device; nothing more is recorded\n"


TWICE = "for n in 1 2; do curl -s -d {} $OLLAMA_HOST/api/chat > /dev/null || exit; done"


@pytest.mark.parametrize(
    ("filler", "failed", "kept"),
    [(b"x" * 300, "r", 1), (b"x" * (SPOOL_SIZE + 9), "the temporary file of the exchange", 0)],
)
def test_an_incomplete_exchange_is_removed(
    filler: bytes, failed: str, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    respond = send_lines(b'{"response":"%b"}\n' % filler, B)
    with serve(respond) as server, small_files(1000 if kept else SPOOL_SIZE):
        result = call("record", "r", "--", "sh", "-c", TWICE, env={"OLLAMA_HOST": server.url})
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == f"record: {failed}: File too large; nothing more is recorded\n"
    assert len(exchanges_of((tmp_path / "r").read_bytes())) == kept


def test_a_response_that_cannot_be_recorded_is_reported(tmp_path: Path) -> None:
    gzip = http_answer(200, b"\x1f\x8b", "Content-Encoding: gzip")
    with tcp(Answers(gzip)) as port:
        command = ["curl", "-s", "-d", "{}", f"127.0.0.1:{port}/api/chat"]
        script = "curl -s -d {} $OLLAMA_HOST/api/chat"
        direct = subprocess.run(command, capture_output=True, check=True).stdout
        result = call("record", tmp_path / "r", "--", "sh", "-c", script, env={"OLLAMA_HOST": f"127.0.0.1:{port}"})
    assert (result.returncode, result.stdout) == (1, direct)
    why = "the server sent an unrequested Content-Encoding: gzip; this exchange is not recorded"
    assert result.stderr.decode() == f"record: POST /api/chat: {why}\n"


def test_an_error_when_the_file_is_closed_is_reported() -> None:
    reports: list[str] = []
    reader, writer = os.pipe()
    file = RecordingFile(f"/dev/fd/{writer}", "new", reports.append, str)
    assert file._out
    os.close(file._out.fd)
    file.close()
    assert file.has_failed
    assert reports == [f"/dev/fd/{writer}: Bad file descriptor; nothing more is recorded"]
    os.close(reader)
    os.close(writer)


def test_a_reader_of_the_recording_that_leaves_does_not_affect_the_command(url: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = run("record", f"/dev/fd/{writer}", *SEND, env={"OLLAMA_HOST": url}, pass_fds=[writer])
    assert (result.returncode, result.stdout) == (1, A + B)
    assert result.stderr.decode() == f"record: /dev/fd/{writer}: Broken pipe; nothing more is recorded\n"
    command = ["sh", "-c", "send -m m hi >&2"]
    process = start("record", "/dev/stdout", "--", *command, stdout=writer, env={"OLLAMA_HOST": url})
    os.close(writer)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"record: standard output: Broken pipe; nothing more is recorded\n" in stderr
    assert len(stderr.splitlines()) == 3


def test_running_exchanges_are_recorded_when_the_command_ends(tmp_path: Path) -> None:
    """A client that the command left running is disconnected."""
    go = threading.Event()

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        exchange.chunk(A)
        go.wait(60)

    with serve(respond) as server:
        script = "curl -sN -d '{}' $OLLAMA_HOST/api/chat > out & while ! test -s out; do sleep 0.05; done"
        env = {"OLLAMA_HOST": server.url, "SCRIPT": script}
        result = sh('record r -- sh -c "$SCRIPT"', cwd=tmp_path, env=env)
        go.set()
    assert (result.returncode, result.stderr) == (0, b"")
    ((_, *lines),) = exchanges_of((tmp_path / "r").read_bytes())
    assert [line.get("error") for line in lines] == [None, "the client disconnected"]


def test_the_mode_of_file_follows_the_umask(url: str, tmp_path: Path) -> None:
    result = sh("umask 077; record r -- send -m m hi", cwd=tmp_path, env={"OLLAMA_HOST": url})
    assert result.returncode == 0
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o600


# --once and --refresh.
def count(exchange: RequestHandler) -> None:
    """Answer with the number of the request; a prompt names the status."""
    number = len(exchange.server.requests)
    prompt = json.loads(exchange.body)["messages"][0]["content"] if exchange.body else ""
    if prompt.isdecimal():
        exchange.send_body(int(prompt), "application/json", b'{"error":"x"}')
    elif prompt == "truncated":
        truncate(A)(exchange)
    elif prompt == "error":
        send_lines(A, b'{"error":"x"}\n')(exchange)
    elif prompt == "no done":
        send_lines(A)(exchange)
    else:
        send_lines(B.replace(b'"b"', b'"%d"' % number))(exchange)


@pytest.fixture
def once(tmp_path: Path) -> Any:
    """Run a script under record --once, and return its result and the number of requests to the server so far."""
    with serve(count) as server:

        def run_script(script: str, options: str = "--once") -> tuple[subprocess.CompletedProcess[bytes], int]:
            env = {"OLLAMA_HOST": server.url, "SCRIPT": script, "OLLAMA_API_KEY": "a-secret-key"}
            result = sh(f'{PYTHON} record {options} r -- sh -c "$SCRIPT"', cwd=tmp_path, env=env)
            return result, len(server.requests)  # type: ignore[attr-defined]

        yield run_script


ONE, TWO = "send -m m one | extract-content;", "send -m m two | extract-content;"


def test_once_records_only_what_the_file_lacks(once: Any, tmp_path: Path) -> None:
    first, requests = once(f"{ONE} {ONE} curl -s $OLLAMA_HOST/")
    assert (first.returncode, first.stdout[:4], requests) == (0, b"1\n2\n", 3)
    recorded = (tmp_path / "r").read_bytes()
    assert b"a-secret-key" not in recorded
    again, requests = once(f"{ONE} {ONE} curl -s $OLLAMA_HOST/")
    assert (again.stdout, again.stderr, requests) == (first.stdout, b"", 3)
    assert (tmp_path / "r").read_bytes() == recorded
    more, requests = once(TWO + ONE, "-v --once")
    assert (more.stdout, requests) == (b"4\n1\n", 4)
    assert b"record: POST /api/chat: forwarded\nrecord: POST /api/chat: r:1\n" in more.stderr
    assert len(exchanges_of((tmp_path / "r").read_bytes())) == 4


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("503", "HTTP status 503"),
        ("429", "HTTP status 429"),
        ("truncated", "the response was truncated"),
        ("error", "the response ended with an error"),
        ("no done", 'the response has no "done": true'),
        ("404", ""),
    ],
)
def test_once_does_not_record_what_may_succeed_later(prompt: str, problem: str, once: Any, tmp_path: Path) -> None:
    script = f"send -m m {shlex.quote(prompt)} > /dev/null 2>&1; exit 0"
    for number in (1, 2):
        result, requests = once(script)
        assert result.stderr.decode() == (f"record: POST /api/chat: {problem}; not added to r\n" if problem else "")
        assert requests == (number if problem else 1)
    assert len(exchanges_of((tmp_path / "r").read_bytes())) == (0 if problem else 1)


@pytest.mark.parametrize("options", ["--refresh", "--once --refresh"])
def test_refresh_replaces_the_file_if_the_command_succeeds(options: str, once: Any, tmp_path: Path) -> None:
    once(ONE)
    before = (tmp_path / "r").read_bytes()
    failed, _ = once(f"{ONE} exit 3", options)
    assert (failed.returncode, failed.stdout) == (3, b"2\n")
    assert failed.stderr == b"record: r: not replaced, because COMMAND failed or an exchange was not recorded\n"
    assert (tmp_path / "r").read_bytes() == before
    assert once("true", options)[0].returncode == 0
    assert (tmp_path / "r").read_bytes() == before, "nothing was recorded"
    replaced, requests = once(ONE, options)
    assert (replaced.returncode, replaced.stdout, requests) == (0, b"3\n", 3)
    assert [lines[1]["message"]["content"] for lines in exchanges_of((tmp_path / "r").read_bytes())] == ["3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]


def test_several_processes_record_in_one_file(tmp_path: Path) -> None:
    with serve(send_lines(A * 2000, B)) as server:
        script = "for n in 1 2 3 4; do record --once r -- send -m m $n > /dev/null & done; wait"
        assert sh(script, cwd=tmp_path, env={"OLLAMA_HOST": server.url}).stderr == b""
    exchanges = exchanges_of((tmp_path / "r").read_bytes())
    assert sorted(lines[0]["request"]["body"]["messages"][0]["content"] for lines in exchanges) == ["1", "2", "3", "4"]
    assert {len(lines) for lines in exchanges} == {2002}


def test_tls_is_verified_with_cacert(tmp_path: Path) -> None:
    pem = certificate(tmp_path, "server", "DNS:localhost")
    answers = Answers(http_answer(200, B[:-1]), tls=server_context(pem))
    with tcp(answers) as port:
        env = {"OLLAMA_HOST": f"https://localhost:{port}"}
        good = call("record", "--cacert", pem, tmp_path / "r", *SEND, env=env)
        assert (good.returncode, good.stderr) == (0, b"")
        bad = call("record", "--cacert", tmp_path / "missing", tmp_path / "s", *SEND, env=env)
    assert (bad.returncode, (tmp_path / "s").exists()) == (2, False)
    assert f"{tmp_path}/missing: No such file or directory" in bad.stderr.decode()
