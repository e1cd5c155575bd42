"""send: what it writes to stdout and stderr for each kind of response, and its exit status."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, Tuple

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import ROOT, call
from tests.server import NAMES, body_of, raw_of, send_lines, send_raw, serve, tcp
from tests.tiers import sample

A = b'{"message":{"role":"assistant","content":"a"},"done":false}\n'
B = b'{"message":{"role":"assistant","content":"b"},"done":true,"done_reason":"stop"}\n'
LENGTH = B.replace(b"stop", b"length")
QUOTED = A.replace(b'"a"', b'"\\"error\\""')
INDENTED = json.dumps(json.loads(B), indent=2).encode()
NO_DONE = '(no "done": true)'
EARLY = f"the stream ended early {NO_DONE}"
DETAIL = b'{"detail":"Internal Server Error"}\n'
REQUEST = b'{"request":{}}\n'
LONG = A.replace(b'"a"', b'"%b"' % (b"x" * 9999))
OVER_LIMIT = "the answer: a line of more than 67,108,864 bytes"
RECORD = b'{"custom_id":"a","response":{"body":{"error":"boom"}}}\n'


Respond = Callable[[RequestHandler], Any]
Send = Callable[..., Tuple[int, bytes, str]]


@pytest.fixture(scope="module", name="send")
def _send() -> Iterator[Send]:
    """send(respond, options, environment): status, stdout and stderr of send with this response."""
    answers: list[Respond] = []

    def send(respond: Respond, *options: str, **env: str) -> tuple[int, bytes, str]:
        answers.append(respond)
        result = call("send", "-m", "m", *options, "hi", env={"OLLAMA_HOST": server.url, **env})
        return result.returncode, result.stdout, result.stderr.decode().replace(server.url, "URL")

    with serve(lambda exchange: answers[-1](exchange)) as server:
        yield send


def torn(lineno: int, partial: str) -> dict[str, Any]:
    error = f"the stream ended inside line {lineno} of the answer"
    return {"error": error, "partial": partial, "exit_status": 3}


def early(error: str) -> dict[str, Any]:
    return {"error": error, "exit_status": 3}


def refused(error: str, **more: Any) -> dict[str, Any]:
    return {"error": error, **more, "exit_status": 1}


def not_ndjson(lineno: int, what: str, partial: str) -> dict[str, Any]:
    return refused(f"line {lineno} of the answer: {what}", status_code=200, partial=partial)


OWN_KEYS = (
    b'{"request":{},"role":"x","custom_id":1,"id":2,"body_sha256":"","row_sha256":"","elapsed":9,"exit_status":3,'
)
ANSWERS: dict[str, tuple[list[bytes], bytes | None, dict[str, Any] | None]] = {
    # the HTTP chunks of a body; what send writes of it; the error line after that, if any
    "one read": ([A + A + B], A + A + B, None),
    "a line in pieces": ([A[:5], A[5:30], A[30:] + B[:7], B[7:]], A + B, None),
    "a character in pieces": ([b'{"done":true,"x":"\xc3', b'\xa9"}\n'], '{"done":true,"x":"é"}\n'.encode(), None),
    "no newline at the end": ([A, B[:-1]], A + B, None),
    "lines after done": ([A, B, B, b"\n"], A + B + B + b"\n", None),
    "a chunk after done": ([A, B, A], A + B + A, early(EARLY)),
    "the word error in the text": ([QUOTED + B], QUOTED + B, None),
    "cut between lines": ([A, A], A + A, early(EARLY)),
    "cut in a line": ([A, B[:9]], A, torn(2, B[:9].decode())),
    "only a message": ([b'{"role":"user"}\n'], None, early("the response contains no chunk")),
    "an error line": ([A, b'{"error":"boom"}\n', A], A, refused("boom")),
    "an error after done": ([B, b'{"error":"late"}'], B, refused("late")),
    "an error with our own keys": ([b'{"error":"x","exit_status":75,"partial":"y"}\n'], b"", refused("x")),
    "garbage": ([A, b"what?\n", B], A, not_ndjson(2, "not JSON: Expecting value at column 1", "what?\n")),
    "an error whose key is escaped": ([A, b'{"\\u0065rror":"boom","done":false}\n'], A, refused("boom")),
    "keys of the line format in a chunk": ([B.replace(b"{", OWN_KEYS, 1)], None, None),
    "no chunk at the end": ([A, DETAIL], A + DETAIL, early(f"{EARLY}; its last line is {DETAIL.decode()[:-1]}")),
    "a request line": ([A, REQUEST, B], A, not_ndjson(2, "not a chunk but a request line", REQUEST.decode())),
    "a line over the limit": ([A, b"x" * (65 << 20)], A, {**refused(OVER_LIMIT), "status_code": 200}),
    "a long line before an early end": ([A, LONG], A + LONG, early(f"{EARLY}; its last line is {LONG.decode()[:300]}")),
    "equal tokens": ([A] * 31, A * 31, early(f"the server stopped after 30 equal tokens {NO_DONE}")),
    "a record of an OpenAI batch with an error": ([A, RECORD, B], A, refused("boom")),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_complete_lines_are_written_before_the_error_line(send: Send, name: str) -> None:
    body, expected, line = ANSWERS[name]
    expected = b"".join(body) if expected is None else expected
    status, stdout, stderr = send(send_lines(*body))
    assert stdout.startswith(expected)
    rest = stdout[len(expected) :]
    assert (json.loads(rest) if rest else None) == line
    assert status == (line["exit_status"] if line else 0)
    assert (stderr.count("\n"), stderr.startswith(f"send: {line['error']}" if line else "")) == (line is not None, True)


@pytest.mark.parametrize("name", [name for name in NAMES if b'"done":true' in body_of(name)])
def test_a_recorded_answer_is_written_byte_for_byte(send: Send, name: str) -> None:
    body = body_of(name)
    assert send(send_raw(raw_of(name))) == (0, body if body.endswith(b"\n") else body + b"\n", "")


@pytest.mark.parametrize("option", [[], ["--fail-on-length"]])
@pytest.mark.parametrize("lines", [[A, LENGTH], [LENGTH], [A, B, A, LENGTH]])
def test_an_answer_truncated_by_a_limit_fails_only_with_fail_on_length(
    send: Send, lines: list[bytes], option: list[str]
) -> None:
    status, stdout, stderr = send(send_lines(*lines), *option)
    assert stdout.startswith(b"".join(lines))
    rest = stdout[len(b"".join(lines)) :]
    if not option:
        assert (status, rest, stderr) == (0, b"", "")
        return
    assert status == 4
    assert json.loads(rest) == {
        "error": "the answer was truncated by a length limit (done_reason: length)",
        "exit_status": 4,
    }
    assert (
        stderr == "send: the answer was truncated by a length limit (done_reason: length); "
        "raise --option num_predict=N or num_ctx=N\n"
    )
    after = call("extract-content", stdin=stdout)
    assert (after.returncode, after.stderr) == (4, b"")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "text/plain"])
@pytest.mark.parametrize("body", [INDENTED, b"\r\n" + INDENTED.replace(b"\n", b"\r\n") + b"\r\n", B, b" \n"])
def test_an_indented_response_is_written_as_one_line(send: Send, body: bytes, content_type: str) -> None:
    status, stdout, _ = send(lambda exchange: exchange.send_body(200, content_type, body), "--no-stream")
    assert status == (0 if body.strip() else 3)
    if status == 0:
        assert [json.loads(line) for line in stdout.splitlines() if line] == [json.loads(B)]


@pytest.mark.parametrize("body", sample([b"{\n" + A, A + INDENTED, b"{\n" + b"\n" * (65 << 20)], 3))
def test_an_indented_response_that_is_no_object_is_an_error(send: Send, body: bytes) -> None:
    status, _, stderr = send(lambda exchange: exchange.send_body(200, "application/json", body), "--no-stream")
    assert (status, "of the answer: not JSON" in stderr) == (1, True)


def test_a_truncated_prompt_is_noted(send: Send) -> None:
    body = (ROOT / "examples/recordings/truncated-prompt.ndjson").read_bytes().partition(b"\n")[2]
    note = "send: the prompt was probably truncated to 2050 tokens; enlarge the context window with --option num_ctx=N"
    for options, notes in (([], 1), (["-o", "num_ctx=4096"], 1), (["-o", "num_ctx=9000"], 0), (["--no-truncate"], 0)):
        status, _, stderr = send(send_lines(body), *options)
        assert (status, stderr.count("\n"), stderr.startswith(note)) == (0, notes, bool(notes))


@pytest.mark.parametrize("option", [[], ["--fail-on-empty"]])
def test_an_empty_answer_fails_only_with_fail_on_empty(send: Send, option: list[str]) -> None:
    thinking = A.replace(b'"a"', b'" ","thinking":"hm"') + B.replace(b'"b"', b'"\\n"')
    loaded = B.replace(b'"b"', b'""').replace(b"stop", b"load")
    ordinary = b'{"model":"m","created_at":"","message":{"role":"assistant","content":""},"done":false}\n' * 20
    for body in (A + B, ordinary + A + B.replace(b'"b"', b'""'), loaded):
        assert send(send_lines(body), *option) == (0, body, "")
    status, stdout, stderr = send(send_lines(ordinary + thinking), *option)
    assert stdout.startswith(ordinary + thinking)
    assert (status, stderr.startswith("send: the answer contains thinking but no text; ")) == (
        (5, True) if option else (0, False)
    )


def test_a_timeout_names_itself_and_the_bytes_received(send: Send) -> None:
    over = threading.Event()

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        exchange.chunk(A)
        over.wait(60)

    status, stdout, stderr = send(respond, "--idle-timeout=0.1")
    message = f"idle timeout after 0.1 s: {len(A)} bytes of the response received"
    assert (status, stdout[: len(A)]) == (75, A)
    assert json.loads(stdout[len(A) :]) == {"error": message, "exit_status": 75}
    assert stderr == f"send: {message}; allow more with --idle-timeout\n"
    for clock, option in (("first-byte", "--first-byte-timeout"), ("max-time", "--max-time")):
        status, _, stderr = send(lambda exchange: over.wait(60) and None, f"{option}=0.2")
        assert status == 75
        assert stderr.startswith(f"send: {clock} timeout after 0.2 s: ")
        assert stderr.endswith(f"; allow more with {option}\n")
    over.set()


def test_data_after_done_without_an_end_is_dropped_with_a_message(send: Send) -> None:
    over = threading.Event()

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        exchange.chunk(B + A)
        over.wait(60)

    status, _, stderr = send(respond)
    over.set()
    message = 'the server sent more data after "done": true and did not end the response'
    assert (status, stderr) == (3, f"send: {message}; the answer before that data is complete\n")


def test_each_retry_is_noted_unless_quiet(send: Send) -> None:
    for option, note in (("--verbose", "send: busy (status code: 503); retry 1 of 3 in "), ("--quiet", "")):
        answers = [send_lines(B), send_lines(b'{"error":"busy"}', status=503)]
        status, stdout, stderr = send(lambda exchange, answers=answers: answers.pop()(exchange), "--retry=3", option)
        assert (status, stdout) == (0, B)
        assert note in stderr
        assert note or not stderr


def test_a_later_header_overrides_an_earlier_one(send: Send, tmp_path: Path) -> None:
    (tmp_path / "headers").write_text("X-One: 1\nX-Two: file\r\n\n")
    asked: list[RequestHandler] = []

    def respond(exchange: RequestHandler) -> None:
        asked.append(exchange)
        send_lines(B)(exchange)

    options = ["--header-file", str(tmp_path / "headers"), "--header", "X-Two: line: 2", "--header", "X-Three:"]
    assert send(respond, *options, OLLAMA_API_KEY="key")[0] == 0
    headers = asked[0].headers
    assert [headers[f"X-{name}"] for name in ("One", "Two", "Three")] == ["1", "line: 2", ""]
    assert headers["Authorization"] == "Bearer key"
    assert json.loads(asked[0].body) == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def test_a_key_is_not_sent_over_plain_http_to_another_machine() -> None:
    asked: list[bytes] = []

    def proxy(connection: socket.socket) -> None:
        asked.append(connection.recv(1 << 16))
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + B)

    note = "send: OLLAMA_API_KEY is not sent over plain http to http://ollama.example:80; use https\n"
    with tcp(proxy) as port:
        env = {"http_proxy": f"http://127.0.0.1:{port}", "OLLAMA_API_KEY": "secret"}
        for options, said in (([], note), (["-q"], "")):
            result = call("send", "-m", "m", "--host", "http://ollama.example", *options, "hi", env=env)
            assert (result.returncode, result.stdout, result.stderr.decode()) == (0, B, said)
    assert len(asked) == 2
    assert not any(b"secret" in request for request in asked)


def test_insecure_is_noted_unless_quiet(send: Send) -> None:
    note = "send: URL: the certificate is not verified; any server could answer\n"
    assert send(send_lines(B), "--insecure") == (0, B, note)
    assert send(send_lines(B), "--insecure", "-q") == (0, B, "")
