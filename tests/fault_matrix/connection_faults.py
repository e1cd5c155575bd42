"""Faults before the answer, or in serve of an answer."""

from __future__ import annotations

import gzip

from tests.fault_matrix.answer import ANSWER, HM, LINES, A
from tests.fault_matrix.outcomes import (
    BUSY,
    COMPLETE,
    EARLY,
    EMPTY,
    NOT_NDJSON,
    REJECTED,
    SHORT,
    TIMED_OUT,
    TRUNCATED,
    UNREACHABLE,
    Fault,
    unanswered,
)
from tests.fault_matrix.servers import (
    CHUNKED,
    HEAD,
    LAST,
    answer_plain_http,
    answers,
    chunks,
    close,
    connected,
    endless,
    full_queue,
    keeps,
    redirects,
    refused,
    reject_non_tls,
    resolved,
    sends,
    stay_silent,
    streams,
    tls,
)
from tests.server import reset

CONNECTIONS = [
    unanswered("connection refused", refused, UNREACHABLE, "127.0.0.1:PORT: connection refused"),
    unanswered("full accept queue", lambda: full_queue(connect_timeout=SHORT), TIMED_OUT, "connect timeout"),
    unanswered("unknown host name", resolved("unknown"), UNREACHABLE, "ollama.test: host not found"),
    unanswered("no name server", resolved("nobody"), UNREACHABLE, "ollama.test: host not found"),
    unanswered("name server does not reply", resolved("silent", connect_timeout=SHORT), TIMED_OUT, "connect timeout"),
    Fault("slow name server", resolved("slow"), COMPLETE, LINES, slow=True),
]

TLS = [
    Fault("valid certificate", tls(CHUNKED, chunks(*LINES), LAST), COMPLETE, LINES),
    unanswered(
        "self-signed certificate", tls(stay_silent, trusted=False), UNREACHABLE, "PORT: TLS: self.signed certificate"
    ),
    unanswered(
        "certificate for another host", tls(stay_silent, names="DNS:other.test"), UNREACHABLE, "PORT: TLS: .*mismatch"
    ),
    unanswered(
        "expired certificate", tls(stay_silent, end="200102000000Z"), UNREACHABLE, "PORT: TLS: certificate has expired"
    ),
    unanswered(
        "https to a plain-http server",
        connected(answer_plain_http, "https"),
        UNREACHABLE,
        "PORT: TLS: the server does not",
    ),
    unanswered("http to a TLS server that closes", connected(reject_non_tls), TRUNCATED, "PORT: the server closed"),
    unanswered(
        "http to a TLS server that sends an alert",
        sends(b"\x15\x03\x01\0\2\2\x46"),
        REJECTED,
        "PORT: the response is not",
    ),
    unanswered("http to a TLS server that answers 400", answers(400, b"say https"), REJECTED, "say https", 400),
    unanswered(
        "handshake never completes",
        connected(stay_silent, "https", connect_timeout=SHORT),
        TIMED_OUT,
        "connect timeout",
    ),
    unanswered("closed during the handshake", connected(close, "https"), UNREACHABLE, "PORT: TLS: "),
    unanswered("reset during the handshake", connected(reset, "https"), UNREACHABLE, "PORT: TLS: Connection reset"),
    Fault("closed without close_notify", tls(CHUNKED, chunks(HM, A)), TRUNCATED, (HM, A), EARLY),
]

REPLIES = [
    unanswered("closed after connect", connected(close), TRUNCATED, "PORT: the server closed"),
    unanswered("reset after connect", connected(reset), TRUNCATED, "PORT: the server closed"),
    unanswered("closed after the request", sends(), TRUNCATED, "PORT: the server closed"),
    unanswered("reset after the request", sends(reset), TRUNCATED, "PORT: the server closed"),
    unanswered("truncated headers", sends(HEAD[:40]), TRUNCATED, EMPTY),
    unanswered("binary data", sends(b"\0\xff what?\r\n\r\n"), REJECTED, "PORT: the response is not HTTP"),
    unanswered("another protocol", sends(b"SSH-2.0-OpenSSH_9.6\r\n"), REJECTED, "PORT: the response is not HTTP"),
    unanswered("JSON without HTTP", sends(ANSWER), REJECTED, "PORT: the response is not HTTP"),
    unanswered("endless headers", sends(HEAD, endless(b"X: y\r\n")), REJECTED, "PORT: the response is not HTTP"),
    unanswered(
        "endless header line", sends(HEAD, b"X: ", endless(b"y" * 4096)), REJECTED, "PORT: the response is not HTTP"
    ),
    unanswered("endless status line", sends(b"HTTP/1.1 200 ", endless(b"y" * 4096)), REJECTED, "not HTTP"),
    unanswered(
        "endless 100 Continue",
        sends(endless(b"HTTP/1.1 100 Continue\r\n\r\n", 0.01), first_byte_timeout=1),
        TIMED_OUT,
        "first-byte timeout",
    ),
    Fault(
        "103 Early Hints first",
        sends(b"HTTP/1.1 103 X\r\nA: b\r\n\r\n", CHUNKED, chunks(*LINES), LAST),
        COMPLETE,
        LINES,
    ),
    Fault("kept connection closed after the answer", keeps(), COMPLETE, LINES),
    Fault("kept connection closed instead of the next answer", keeps(b""), COMPLETE, LINES),
    Fault("kept connection reset instead of the next answer", keeps(reset), COMPLETE, LINES),
]

BODIES = [
    # name, body, content type, pattern of the message
    ("JSON", b'{"error":"boom"}', "application/json", "boom"),
    ("nested JSON", b'{"error":{"message":"boom","code":7}}', "application/json", "boom"),
    ("detail", b'{"detail":"boom"}', "application/json", "boom"),
    ("HTML", b"<html><title>boom</title><h1>Oh no", "text/html", "boom"),
    ("text", b"boom", "text/plain", "boom"),
    ("empty", b"", "text/plain", "empty response"),
    ("10 MB", b"boom " * (2 << 20), "text/plain", "boom"),
]
CRASHED = b'{"error":"an error was encountered while running the model: EOF"}'
REJECTING_CODES = [400, 401, 403, 404, 405, 413, 499, 500]
BUSY_CODES = [408, 425, 429, 502, 503, 504, 520, 524, 530]

STATUSES = [
    unanswered(
        f"{code}, {what}",
        answers(code, body, content_type=content_type),
        BUSY if code in BUSY_CODES else REJECTED,
        pattern,
        code,
    )
    for code in REJECTING_CODES + BUSY_CODES
    for what, body, content_type, pattern in (BODIES if code in (400, 403, 404, 503) else BODIES[:1])
] + [
    unanswered("500, the model crashed", answers(500, CRASHED), BUSY, "encountered while running", 500),
    unanswered(
        "503, body never arrives", sends(b"HTTP/1.1 503 X\r\n\r\nboom", stay_silent), BUSY, "boom", 503, slow=True
    ),
]

REDIRECTS = [
    unanswered(
        f"{code} to {'another' if other else 'the same'} origin",
        redirects(code, other),
        REJECTED,
        r"PORT: redirected to http://127.0.0.1:\d+/elsewhere; redirects are not followed",
        code,
    )
    for code, other in ((301, False), (301, True), (302, True), (303, True), (307, True), (308, True))
] + [unanswered("302 without Location", answers(302, b""), REJECTED, "empty response", 302)]

NOT_AN_ANSWER = [
    unanswered("web page", answers(200, b"<html><title>Log in", content_type="text/html"), REJECTED, "Log in", 200),
    unanswered("web page with an NDJSON content type", sends(HEAD, b"\r\n<html>Log in\n"), NOT_NDJSON, "line 1 .*HTML"),
    unanswered("text", answers(200, b"Ollama is running", content_type="text/plain"), NOT_NDJSON, "line 1 .*not JSON"),
    unanswered(
        "server-sent events", sends(HEAD, b"\r\ndata: {}\n\ndata: [DONE]\n"), NOT_NDJSON, "line 1 .*server-sent"
    ),
    unanswered(
        "JSON array", answers(200, b"[" + ANSWER.replace(b"\n", b",") + b"{}]"), NOT_NDJSON, "line 1 .*an array"
    ),
    unanswered(
        "gzip with Content-Encoding",
        answers(200, gzip.compress(ANSWER), "Content-Encoding: gzip"),
        REJECTED,
        "Content-Encoding: gzip",
        200,
    ),
    unanswered("gzip without Content-Encoding", answers(200, gzip.compress(ANSWER)), NOT_NDJSON, "line 1 .*not JSON"),
    unanswered("101 Switching Protocols", sends(b"HTTP/1.1 101 X\r\n\r\n", ANSWER), REJECTED, "empty response", 101),
    unanswered("empty body", sends(CHUNKED, LAST), TRUNCATED, EMPTY),
    unanswered("empty body, Content-Length: 0", answers(200, b""), TRUNCATED, EMPTY),
    unanswered("empty body, connection closed", sends(HEAD, b"\r\n"), TRUNCATED, EMPTY),
    unanswered("204 No Content", sends(b"HTTP/1.1 204 X\r\n\r\n"), TRUNCATED, EMPTY),
    Fault("blank lines only", streams(b"\n", b"\r\n"), TRUNCATED, (b"\n", b"\r\n"), EMPTY),
]
