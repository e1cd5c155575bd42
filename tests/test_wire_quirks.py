"""What servers are known to do to a reader, numbered as in the project's notes on the wire: one row for each trap.

Every answer goes over a real socket into `send`, and what `send` prints into `extract-content`; both exit with the
same status, and the text that came is written.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.process import call
from tests.server import http_answer, send_raw, serve

NDJSON = "Content-Type: application/x-ndjson"


def chat(text: str, **more: Any) -> bytes:
    chunk = {"message": {"role": "assistant", "content": text}, "done": False, **more}
    return json.dumps(chunk, separators=(",", ":")).encode() + b"\n"


def done(text: str = "", **more: Any) -> bytes:
    return chat(text, **{"done": True, "done_reason": "stop", **more})


def streamed(*lines: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A chunked answer, one line as one HTTP chunk, and what comes behind the last."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(line), line) for line in lines)
    return f"HTTP/1.1 200 OK\r\n{NDJSON}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks + end


def plain(body: bytes, status: int = 200, content_type: str = "application/json", *headers: str) -> bytes:
    return http_answer(status, body, *headers, content_type=content_type)


CALL = {"function": {"index": 0, "name": "f", "arguments": {"x": 1}}}
LONG = "x" * 8_000_000

TRAPS: list[tuple[str, bytes, int, str]] = [
    # trap, answer, status of both, text
    ("1 clean end without done", streamed(chat("a")), 3, "a\n"),
    ("2 nothing at all", streamed(), 3, ""),
    ("3 killed between two HTTP chunks", streamed(chat("a"), end=b""), 3, "a\n"),
    ("4 cut inside an HTTP chunk", streamed(chat("a"), end=b'40\r\n{"message":{"co'), 3, "a\n"),
    ("5 an error line after data", streamed(chat("a"), b'{"error":"boom"}\n'), 1, "a\n"),
    ("6 an error line at once, with 200", streamed(b'{"error":"boom"}\n'), 1, ""),
    ("7 an error object", streamed(b'{"error":{"message":"x","code":400}}\n'), 1, ""),
    ("8 an error in an error", streamed(rb'{"error":"{\"error\":{\"message\":\"long\"}}"}' + b"\n"), 1, ""),
    ("8 an error that is JSON, no object", streamed(b'{"error":"123"}\n'), 1, ""),
    ("9 a status in the stream", streamed(chat("a"), b'{"StatusCode":429,"error":"slow"}'), 75, "a\n"),
    ("10 sign in", plain(b'{"error":"unauthorized","signin_url":"https://x.test/"}', 401), 1, ""),
    ("11 no error: null", streamed(chat("a", error=None), done()), 0, "a\n"),
    ("11 no error: empty, on a chunk", streamed(chat("a", error=""), done()), 0, "a\n"),
    ("11 an empty error alone", streamed(b'{"error":""}\n'), 1, ""),
    ("12 only the exact key counts", streamed(chat('"error":', error_count=0), done()), 0, '"error":\n'),
    ("13 no newline at the end", streamed(chat("a"), done("b")[:-1]), 0, "ab\n"),
    ("14 one object for load", plain(done().strip()), 0, ""),
    ("15 CRLF", streamed(chat("a")[:-1] + b"\r\n", done("b")[:-1] + b"\r\n"), 0, "ab\n"),
    ("16 blank lines and spaces", streamed(b"\n \t\n", b"  " + chat("a"), b"\r\n", done()), 0, "a\n"),
    ("17 two objects on a line", streamed(chat("a")[:-1] + done()), 1, ""),
    ("17 one object over many lines", plain(json.dumps({"done": True}, indent=1).encode()), 1, ""),
    ("18 lines cut anywhere", streamed(*[bytes([byte]) for byte in chat("😀") + done()]), 0, "😀\n"),
    ("18 lines together", streamed(chat("a") + chat("b") + done()), 0, "ab\n"),
    ("19 a raw U+0085", streamed('{"response":"a\x85b","done":true}\n'.encode()), 0, "a\x85b\n"),
    (
        "20 escapes",
        streamed(rb'{"response":"\u003c\u2028\ufffd\ud83d\ude00","done":true}' + b"\n"),
        0,
        "<\u2028\ufffd😀\n",
    ),
    ("21 a lone surrogate", streamed(rb'{"response":"\ud83d!","done":true}' + b"\n"), 0, "\ufffd!\n"),
    ("22 a byte that is not UTF-8", streamed(b'{"response":"a\xffb","done":true}\n'), 0, "a\ufffdb\n"),
    ("23 a byte order mark", streamed(b"\xef\xbb\xbf" + chat("a"), done()), 0, "a\n"),
    ("24 server-sent events", streamed(b"data: " + chat("a"), b"\n", b"data: [DONE]\n"), 1, ""),
    ("25 null", streamed(chat("a"), b"null\n", done()), 1, "a\n"),
    ("25 an array", streamed(b"[1]\n"), 1, ""),
    ("25 a string", streamed(b'"x"\n'), 1, ""),
    ("25 NaN", streamed(chat("a"), b"NaN\n"), 1, "a\n"),
    ("26 a web page with 200", plain(b"<html>Log in", 200, "text/html"), 1, ""),
    ("26 a web page with 502", plain(b"<html>Bad gateway", 502, "text/html"), 75, ""),
    ("27 403, empty", plain(b"", 403), 1, ""),
    ("27 500, empty", plain(b"", 500), 1, ""),
    ("28 detail", plain(b'{"detail":"Not authenticated"}', 401), 1, ""),
    ("29 404 of another server", plain(b"404 page not found", 404, "text/plain"), 1, ""),
    ("29 404 of a model", plain(b'{"error":"model \'x\' not found"}', 404), 1, ""),
    ("30 moved", plain(b"", 301, "text/html", "Location: http://127.0.0.1:9/"), 1, ""),
    ("30 moved, keep the method", plain(b"", 307, "text/html", "Location: http://127.0.0.1:9/"), 1, ""),
    ("31 thinking and content together", streamed(done("b", message={"thinking": "a", "content": "b"})), 0, "b\n"),
    ("32 text in the last chunk", streamed(chat("a"), done("b")), 0, "ab\n"),
    ("33 calls in the last chunk", streamed(done(message={"content": "", "tool_calls": [CALL]})), 0, ""),
    ("34 calls of equal index", streamed(done(message={"content": "a", "tool_calls": [CALL, CALL]})), 0, "a\n"),
    ("35 arguments as text", streamed(done(message={"tool_calls": [{"function": {"arguments": "{"}}]})), 0, ""),
    ("36 a call of nothing", streamed(done(message={"content": "a", "tool_calls": [{}]})), 0, "a\n"),
    ("37 no message at the end", streamed(chat("a"), b'{"done":true}\n'), 0, "a\n"),
    ("37 null for text and images", streamed(done(message={"content": None, "images": None})), 0, ""),
    ("38 metrics missing, huge and negative", streamed(done("a")[:-2] + b',"eval_count":1e999,"x":-1}\n'), 0, "a\n"),
    ("38 metrics as zero and float", streamed(done("a", eval_count=0, eval_duration=0.5)), 0, "a\n"),
    ("39 odd times", streamed(done("a", created_at="0001-01-01T00:00:00Z")), 0, "a\n"),
    ("40 an unknown reason", streamed(chat("a", done_reason="stop"), done("b", done_reason="tool_calls")), 0, "ab\n"),
    ("41 done twice", streamed(done("a"), done(eval_count=3)), 0, "a\n"),
    ("41 a late error", streamed(done("a"), b'{"error":"late"}\n'), 1, "a\n"),
    ("42 done as text", streamed(chat("a", done="true")), 3, "a\n"),
    ("42 no done", streamed(b'{"response":"a"}\n'), 3, "a\n"),
    ("43 another model", streamed(done("a", model="other")), 0, "a\n"),
    ("44 a long context", streamed(done("a", context=list(range(100_000)))), 0, "a\n"),
    ("44 8 MB of text", streamed(done(LONG)), 0, LONG + "\n"),
    ("45 log-probabilities alone", streamed(chat("", logprobs=[{"token": "a", "logprob": 0}]), done("a")), 0, "a\n"),
]


@pytest.mark.parametrize(("trap", "answer", "status", "text"), TRAPS, ids=[trap for trap, *_ in TRAPS])
def test_send_and_the_filter_behind_it_agree(trap: str, answer: bytes, status: int, text: str) -> None:
    with serve(send_raw(answer)) as server:
        sent = call("send", "-m", "m", "--host", server.url, "hi")
    assert sent.returncode == status, sent.stderr
    assert len(sent.stderr.splitlines()) == (status != 0)
    filtered = call("extract-content", stdin=sent.stdout)
    assert filtered.returncode == status, filtered.stderr
    assert filtered.stdout.decode() == text
    # A failure was printed by who found it; what else a filter says is a note.
    assert b"tool calls" in filtered.stderr or not filtered.stderr


def test_there_is_a_row_for_every_trap_that_an_answer_can_set() -> None:
    numbers = {int(trap.split()[0]) for trap, *_ in TRAPS}
    # 46 to 54 are about time, requests, closing, tags and terminals: see test_clocks, test_client, test_extract and
    # test_terminal.
    assert numbers == set(range(1, 46))
