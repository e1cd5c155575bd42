"""Properties of real servers' responses, one row each, read by `send` and then by `extract-content`.

Both exit with the same status, and all text that arrived is written.
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
    """A chunked response, one HTTP chunk per line, then `end`."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(line), line) for line in lines)
    return f"HTTP/1.1 200 OK\r\n{NDJSON}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks + end


def plain(body: bytes, status: int = 200, content_type: str = "application/json", *headers: str) -> bytes:
    return http_answer(status, body, *headers, content_type=content_type)


CALL = {"function": {"index": 0, "name": "f", "arguments": {"x": 1}}}
LONG = "x" * 8_000_000

QUIRKS: list[tuple[str, bytes, int, str]] = [
    # name, response, exit status of both, text
    ("proper end without done", streamed(chat("a")), 3, "a\n"),
    ("empty body", streamed(), 3, ""),
    ("closed between two HTTP chunks", streamed(chat("a"), end=b""), 3, "a\n"),
    ("closed inside an HTTP chunk", streamed(chat("a"), end=b'40\r\n{"message":{"co'), 3, "a\n"),
    ("error line after data", streamed(chat("a"), b'{"error":"boom"}\n'), 1, "a\n"),
    ("error line first, with status 200", streamed(b'{"error":"boom"}\n'), 1, ""),
    ("error object", streamed(b'{"error":{"message":"x","code":400}}\n'), 1, ""),
    ("error as JSON text in an error", streamed(rb'{"error":"{\"error\":{\"message\":\"long\"}}"}' + b"\n"), 1, ""),
    ("error that is a JSON number as text", streamed(b'{"error":"123"}\n'), 1, ""),
    ("status code in an error line", streamed(chat("a"), b'{"StatusCode":429,"error":"slow"}'), 75, "a\n"),
    ("sign-in URL", plain(b'{"error":"unauthorized","signin_url":"https://x.test/"}', 401), 1, ""),
    ("error: null", streamed(chat("a", error=None), done()), 0, "a\n"),
    ("empty error on a chunk", streamed(chat("a", error=""), done()), 0, "a\n"),
    ("empty error line", streamed(b'{"error":""}\n'), 1, ""),
    ("similar keys", streamed(chat('"error":', error_count=0), done()), 0, '"error":\n'),
    ("no final newline", streamed(chat("a"), done("b")[:-1]), 0, "ab\n"),
    ("single object", plain(done("a").strip()), 0, "a\n"),
    ("CRLF", streamed(chat("a")[:-1] + b"\r\n", done("b")[:-1] + b"\r\n"), 0, "ab\n"),
    ("blank lines and spaces", streamed(b"\n \t\n", b"  " + chat("a"), b"\r\n", done()), 0, "a\n"),
    ("two objects on a line", streamed(chat("a")[:-1] + done()), 1, ""),
    ("pretty-printed object", plain(json.dumps({"response": "a", "done": True}, indent=1).encode()), 0, "a\n"),
    ("one byte per HTTP chunk", streamed(*[bytes([byte]) for byte in chat("😀") + done()]), 0, "😀\n"),
    ("several lines per HTTP chunk", streamed(chat("a") + chat("b") + done()), 0, "ab\n"),
    ("raw U+0085", streamed('{"response":"a\x85b","done":true}\n'.encode()), 0, "a\x85b\n"),
    (
        "escapes",
        streamed(rb'{"response":"\u003c\u2028\ufffd\ud83d\ude00","done":true}' + b"\n"),
        0,
        "<\u2028\ufffd😀\n",
    ),
    ("lone surrogate", streamed(rb'{"response":"\ud83d!","done":true}' + b"\n"), 0, "\ufffd!\n"),
    ("invalid UTF-8", streamed(b'{"response":"a\xffb","done":true}\n'), 0, "a\ufffdb\n"),
    ("byte order mark", streamed(b"\xef\xbb\xbf" + chat("a"), done()), 0, "a\n"),
    ("server-sent events", streamed(b"data: " + chat("a"), b"\n", b"data: [DONE]\n"), 1, ""),
    ("null", streamed(chat("a"), b"null\n", done()), 1, "a\n"),
    ("an array", streamed(b"[1]\n"), 1, ""),
    ("a string", streamed(b'"x"\n'), 1, ""),
    ("NaN", streamed(chat("a"), b"NaN\n"), 1, "a\n"),
    ("web page with status 200", plain(b"<html>Log in", 200, "text/html"), 1, ""),
    ("web page with status 502", plain(b"<html>Bad gateway", 502, "text/html"), 75, ""),
    ("403, empty", plain(b"", 403), 1, ""),
    ("500, empty", plain(b"", 500), 1, ""),
    ("detail", plain(b'{"detail":"Not authenticated"}', 401), 1, ""),
    ("404 from another server", plain(b"404 page not found", 404, "text/plain"), 1, ""),
    ("404 for a model", plain(b'{"error":"model \'x\' not found"}', 404), 1, ""),
    ("redirect 301", plain(b"", 301, "text/html", "Location: http://127.0.0.1:9/"), 1, ""),
    ("redirect 307", plain(b"", 307, "text/html", "Location: http://127.0.0.1:9/"), 1, ""),
    ("thinking and content together", streamed(done("b", message={"thinking": "a", "content": "b"})), 0, "b\n"),
    ("text in the last chunk", streamed(chat("a"), done("b")), 0, "ab\n"),
    ("tool calls in the last chunk", streamed(done(message={"content": "", "tool_calls": [CALL]})), 0, ""),
    ("tool calls with equal index", streamed(done(message={"content": "a", "tool_calls": [CALL, CALL]})), 0, "a\n"),
    ("arguments as a string", streamed(done(message={"tool_calls": [{"function": {"arguments": "{"}}]})), 0, ""),
    ("empty tool call", streamed(done(message={"content": "a", "tool_calls": [{}]})), 0, "a\n"),
    ("last chunk without message", streamed(chat("a"), b'{"done":true}\n'), 0, "a\n"),
    ("null content and images", streamed(chat("a"), done(message={"content": None, "images": None})), 0, "a\n"),
    ("metrics missing, huge and negative", streamed(done("a")[:-2] + b',"eval_count":1e999,"x":-1}\n'), 0, "a\n"),
    ("zero and fractional metrics", streamed(done("a", eval_count=0, eval_duration=0.5)), 0, "a\n"),
    ("year 1 timestamp", streamed(done("a", created_at="0001-01-01T00:00:00Z")), 0, "a\n"),
    ("unknown done_reason", streamed(chat("a", done_reason="stop"), done("b", done_reason="tool_calls")), 0, "ab\n"),
    ("done twice", streamed(done("a"), done("b")), 0, "a\nb\n"),
    ("error after done", streamed(done("a"), b'{"error":"late"}\n'), 1, "a\n"),
    ("done as a string", streamed(chat("a", done="true")), 3, "a\n"),
    ("done missing", streamed(b'{"response":"a"}\n'), 3, "a\n"),
    ("different model name", streamed(done("a", model="other")), 0, "a\n"),
    ("long context", streamed(done("a", context=list(range(100_000)))), 0, "a\n"),
    ("8 MB of text", streamed(done(LONG)), 0, LONG + "\n"),
    ("logprobs without text", streamed(chat("", logprobs=[{"token": "a", "logprob": 0}]), done("a")), 0, "a\n"),
]


@pytest.mark.parametrize(("name", "answer", "status", "text"), QUIRKS, ids=[name for name, *_ in QUIRKS])
def test_send_and_a_filter_agree(name: str, answer: bytes, status: int, text: str) -> None:
    with serve(send_raw(answer)) as server:
        sent = call("send", "-m", "m", "--host", server.url, "hi")
    assert sent.returncode == status, sent.stderr
    assert len(sent.stderr.splitlines()) == (status != 0)
    filtered = call("extract-content", stdin=sent.stdout)
    assert filtered.returncode == status, filtered.stderr
    assert filtered.stdout.decode() == text
    # send has reported the failure; the filter may print a note.
    assert b"tool calls" in filtered.stderr or not filtered.stderr
