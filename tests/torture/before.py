"""The rows of what happens before there is an answer, or instead of one."""

from __future__ import annotations

import gzip

from tests.server import reset
from tests.torture.lines import ANSWER, HM, LINES, A
from tests.torture.sites import (
    CHUNKED,
    HEAD,
    LAST,
    answers,
    chunks,
    connected,
    endless,
    hang_up,
    hold,
    in_the_clear,
    is_not_tls,
    looked_up,
    redirects,
    refused,
    sends,
    swallowed,
    tls,
)
from tests.torture.verdicts import BUSY, CUT, GARBAGE, LATE, REFUSED, SHORT, UNREACHABLE, WHOLE, Fault

CONNECTIONS = [
    Fault("refused", refused, UNREACHABLE, (), "127.0.0.1:PORT: connection refused"),
    Fault("swallowed: the queue is full", lambda: swallowed(connect_timeout=SHORT), LATE, (), "connect clock"),
    Fault("no such name", looked_up("unknown"), UNREACHABLE, (), "ollama.test: no such host"),
    Fault("no name server", looked_up("nobody"), UNREACHABLE, (), "ollama.test: no such host"),
    Fault("a silent name server", looked_up("silent", connect_timeout=SHORT), LATE, (), "connect clock"),
    Fault("a slow name server", looked_up("slow"), WHOLE, LINES, slow=True),
]

TLS = [
    Fault("a good certificate", tls(CHUNKED, chunks(*LINES), LAST), WHOLE, LINES),
    Fault("self-signed", tls(hold, trusted=False), UNREACHABLE, (), "PORT: TLS: self.signed certificate"),
    Fault("for another host", tls(hold, names="DNS:other.test"), UNREACHABLE, (), "PORT: TLS: .*mismatch"),
    Fault("expired", tls(hold, end="200102000000Z"), UNREACHABLE, (), "PORT: TLS: certificate has expired"),
    Fault("https to plain http", connected(in_the_clear, "https"), UNREACHABLE, (), "PORT: TLS: the server does not"),
    Fault("http to TLS, which hangs up", connected(is_not_tls), CUT, (), "PORT: the server hung up"),
    Fault(
        "http to TLS, which sends an alert", sends(b"\x15\x03\x01\0\2\2\x46"), REFUSED, (), "PORT: the answer is not"
    ),
    Fault("http to TLS, which says so", answers(400, b"say https"), REFUSED, (), "say https", 400),
    Fault("a handshake that never ends", connected(hold, "https", connect_timeout=SHORT), LATE, (), "connect clock"),
    Fault("hung up in the handshake", connected(hang_up, "https"), UNREACHABLE, (), "PORT: TLS: "),
    Fault("reset in the handshake", connected(reset, "https"), UNREACHABLE, (), "PORT: TLS: Connection reset"),
    Fault("cut without a goodbye", tls(CHUNKED, chunks(HM, A)), CUT, (HM, A), "without done"),
]

REPLIES = [
    Fault("hung up at once", connected(hang_up), CUT, (), "PORT: the server hung up"),
    Fault("reset at once", connected(reset), CUT, (), "PORT: the server hung up"),
    Fault("hung up", sends(), CUT, (), "PORT: the server hung up"),
    Fault("reset", sends(reset), CUT, (), "PORT: the server hung up"),
    Fault("cut inside the headers", sends(HEAD[:40]), CUT, (), "empty|hung up|without"),
    Fault("garbage", sends(b"\0\xff what?\r\n\r\n"), REFUSED, (), "PORT: the answer is not HTTP"),
    Fault("another protocol", sends(b"SSH-2.0-OpenSSH_9.6\r\n"), REFUSED, (), "PORT: the answer is not HTTP"),
    Fault("JSON without HTTP", sends(ANSWER), REFUSED, (), "PORT: the answer is not HTTP"),
    Fault("endless headers", sends(HEAD, endless(b"X: y\r\n")), REFUSED, (), "PORT: the answer is not HTTP"),
    Fault("an endless header", sends(HEAD, b"X: ", endless(b"y" * 4096)), REFUSED, (), "PORT: the answer is not HTTP"),
    Fault("an endless status line", sends(b"HTTP/1.1 200 ", endless(b"y" * 4096)), REFUSED, (), "not HTTP"),
    Fault(
        "endless 100 Continue",
        sends(endless(b"HTTP/1.1 100 Continue\r\n\r\n", 0.01), first_byte_timeout=1),
        LATE,
        (),
        "first-byte clock",
    ),
    Fault("early hints first", sends(b"HTTP/1.1 103 X\r\nA: b\r\n\r\n", CHUNKED, chunks(*LINES), LAST), WHOLE, LINES),
]

BODIES = [
    # what, body, content type, words
    ("JSON", b'{"error":"boom"}', "application/json", "boom"),
    ("nested JSON", b'{"error":{"message":"boom","code":7}}', "application/json", "boom"),
    ("detail", b'{"detail":"boom"}', "application/json", "boom"),
    ("HTML", b"<html><title>boom</title><h1>Oh no", "text/html", "boom"),
    ("text", b"boom", "text/plain", "boom"),
    ("empty", b"", "text/plain", "an empty answer"),
    ("10 MB", b"boom " * (2 << 20), "text/plain", "boom"),
]
CODES = [400, 401, 403, 404, 405, 413, 429, 499, 500, 502, 503, 504]
BUSY_CODES = [429, 502, 503, 504]

STATUSES = [
    Fault(
        f"{code}, {what}",
        answers(code, body, content_type=content_type),
        BUSY if code in BUSY_CODES else REFUSED,
        (),
        words,
        code,
    )
    for code in CODES
    for what, body, content_type, words in BODIES
] + [
    Fault(
        "503, and its text never comes",
        sends(b"HTTP/1.1 503 X\r\n\r\n", hold),
        BUSY,
        (),
        "an empty answer",
        503,
        slow=True,
    ),
]

REDIRECTS = [
    Fault(
        f"{code} to {'another' if other else 'the same'} origin",
        redirects(code, other),
        REFUSED,
        (),
        r"PORT: redirected to http://127.0.0.1:\d+/elsewhere, which is not followed",
        code,
    )
    for code in (301, 302, 303, 307, 308)
    for other in (False, True)
] + [Fault("302 to nowhere", answers(302, b""), REFUSED, (), "an empty answer", 302)]

NOT_OURS = [
    Fault("a web page", answers(200, b"<html><title>Log in", content_type="text/html"), REFUSED, (), "Log in", 200),
    Fault("a web page that says NDJSON", sends(HEAD, b"\r\n<html>Log in\n"), GARBAGE, (), "line 1 .*HTML"),
    Fault("text", answers(200, b"Ollama is running", content_type="text/plain"), GARBAGE, (), "line 1 .*not JSON"),
    Fault("server-sent events", sends(HEAD, b"\r\ndata: {}\n\ndata: [DONE]\n"), GARBAGE, (), "line 1 .*server-sent"),
    Fault("a JSON array", answers(200, b"[" + ANSWER.replace(b"\n", b",") + b"{}]"), GARBAGE, (), "line 1 .*an array"),
    Fault("a pretty-printed object", answers(200, b'{\n "done": true\n}\n'), GARBAGE, (), "line 1 .*not JSON"),
    Fault(
        "gzip, and says so",
        answers(200, gzip.compress(ANSWER), "Content-Encoding: gzip"),
        REFUSED,
        (),
        "compressed",
        200,
    ),
    Fault("gzip, and does not say so", answers(200, gzip.compress(ANSWER)), GARBAGE, (), "line 1 .*not JSON"),
    Fault("nothing", sends(CHUNKED, LAST), CUT, (), "empty|without done"),
    Fault("nothing, of length 0", answers(200, b""), CUT, (), "empty|without done"),
    Fault("nothing, to the end of the connection", sends(HEAD, b"\r\n"), CUT, (), "empty|without done"),
    Fault("nothing, by its status", sends(b"HTTP/1.1 204 X\r\n\r\n"), CUT, (), "empty|without done"),
    Fault("blank lines only", sends(CHUNKED, chunks(b"\n", b"\r\n"), LAST), CUT, (b"\n", b"\r\n"), "empty|without"),
]
