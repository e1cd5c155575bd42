"""Faults during the answer and after it."""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.fault_matrix.answer import ANSWER, DONE, HM, LINES, A, B, content_line, line
from tests.fault_matrix.outcomes import (
    BUSY,
    COMPLETE,
    EARLY,
    MAX_TIME,
    NOT_NDJSON,
    REJECTED,
    REJECTED_AFTER_DONE,
    SHORT,
    TIMED_OUT,
    TRUNCATED,
    TRUNCATED_AFTER_DONE,
    Fault,
    Outcome,
)
from tests.fault_matrix.servers import (
    CHUNKED,
    HEAD,
    LAST,
    Serve,
    answers,
    chunk,
    chunks,
    endless,
    send_bytewise,
    sends,
    stay_silent,
    streams,
)
from tests.server import reset

HALF = A.index("😀".encode()) + 2  # inside the character


def after_two(*steps: Any, **options: Any) -> Serve:
    """A server that sends two chunks of content, then performs the steps."""
    return sends(CHUNKED, chunks(HM, A), *steps, **options)


def after_done(*steps: Any, **options: Any) -> Serve:
    """A server that sends a complete answer, then performs the steps instead of ending the response."""
    return sends(CHUNKED, chunks(*LINES), *steps, **options)


def endings(k: int) -> list[Fault]:
    """All ways in which an answer can end after k chunks."""
    lines = LINES[:k]
    sent = CHUNKED + chunks(*lines)
    torn = content_line("next")
    return [
        Fault(f"ended after {k} chunks", sends(sent, LAST), TRUNCATED, lines, EARLY),
        Fault(f"closed after {k}, between HTTP chunks", sends(sent), TRUNCATED, lines, EARLY),
        Fault(f"closed after {k}, in an HTTP chunk size", sends(sent, b"7"), TRUNCATED, lines, EARLY),
        Fault(
            f"closed after {k}, inside an HTTP chunk",
            sends(sent, chunk(torn)[:30]),
            TRUNCATED,
            lines,
            EARLY,
            partial=torn[:26].decode(),
        ),
        Fault(
            f"ended after {k} and a partial line",
            sends(sent, chunk(torn[:-9]), LAST),
            TRUNCATED,
            lines,
            EARLY,
            partial=torn[:-9].decode(),
        ),
        Fault(
            f"ended after {k} and a partial character",
            sends(sent, chunk(A[:HALF]), LAST),
            TRUNCATED,
            lines,
            EARLY,
            partial=A[:HALF].decode(errors="replace"),
        ),
        Fault(f"reset after {k}", sends(sent, reset), TRUNCATED, lines, "connection lost: Connection reset"),
        Fault(
            f"stalled after {k}, idle timeout",
            sends(sent, stay_silent, idle_timeout=SHORT),
            TIMED_OUT,
            lines,
            "idle timeout",
        ),
        Fault(
            f"stalled after {k}, max-time timeout",
            sends(sent, stay_silent, max_time=MAX_TIME),
            TIMED_OUT,
            lines,
            "max-time timeout",
        ),
        Fault(
            f"stalled after {k} and a partial line, idle timeout",
            sends(sent + chunk(torn[:-9]), stay_silent, idle_timeout=SHORT),
            TIMED_OUT,
            lines,
            "idle timeout",
            partial=torn[:-9].decode(),
        ),
    ]


ENDINGS = [*endings(1), *endings(3)]

# A line that takes longer than the idle timeout, with shorter gaps between its bytes.
SLOWLY = send_bytewise(chunk(B), 6 / len(chunk(B)))
TIMEOUTS = [
    Fault("no response", sends(stay_silent, first_byte_timeout=SHORT), TIMED_OUT, (), "first-byte timeout"),
    Fault("headers only", sends(CHUNKED, stay_silent, first_byte_timeout=SHORT), TIMED_OUT, (), "first-byte timeout"),
    Fault("no response, max-time timeout", sends(stay_silent, max_time=SHORT), TIMED_OUT, (), "max-time timeout"),
    Fault(
        "headers at one byte per second",
        sends(send_bytewise(HEAD * 9, 1), first_byte_timeout=3),
        TIMED_OUT,
        (),
        "first-byte timeout",
    ),
    Fault(
        "body at one byte per second",
        sends(CHUNKED + chunks(HM, A), send_bytewise(chunk(b" " * 99), 1), idle_timeout=60, max_time=MAX_TIME),
        TIMED_OUT,
        (HM, A),
        "max-time timeout",
        flooded=True,
    ),
    Fault(
        "gaps shorter than the idle timeout",
        sends(CHUNKED + chunks(HM, A), SLOWLY, chunks(DONE) + LAST, idle_timeout=5),
        COMPLETE,
        LINES,
        slow=True,
    ),
]


def error_line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def error_rows(
    name: str, *lines: bytes, outcome: Outcome = REJECTED, pattern: str = "boom", code: int = -1
) -> list[Fault]:
    """An error line as the first line, and after two chunks."""
    return [
        Fault(name, streams(*lines), outcome, (), pattern, code),
        Fault(f"{name}, after 2 chunks", streams(HM, A, *lines), outcome, (HM, A), pattern, code),
    ]


def bad_line(name: str, bad: bytes, pattern: str, outcome: Outcome = NOT_NDJSON) -> Fault:
    """A bad line after two chunks, followed by a proper end."""
    lines = (HM, A, bad, B, DONE) if outcome is COMPLETE else (HM, A)
    return Fault(name, streams(HM, A, bad, B, DONE), outcome, lines, pattern)


NO_ERROR = line(error=None, message={"role": "assistant", "content": "x"}, done=False)
ERRORS = [
    *error_rows("error line", error_line(error="boom")),
    *error_rows("error line without newline", error_line(error="boom")[:-1]),
    *error_rows("error line with CRLF", error_line(error="boom")[:-1] + b"\r\n"),
    *error_rows("error object", error_line(error={"message": "boom", "code": 400})),
    *error_rows("error object without message", error_line(error={"kind": "boom"})),
    *error_rows("error as JSON text in an error", error_line(error='{"error":{"message":"boom"}} and more')),
    *error_rows("error as an array", error_line(error=["boom"])),
    *error_rows("error as a number", error_line(error=500), pattern="500"),
    *error_rows("empty error", error_line(error=""), pattern="error without a message"),
    *error_rows(
        "error with a status code", error_line(StatusCode=429, Status="429", error="boom"), outcome=BUSY, code=429
    ),
    *error_rows("error with a sign-in URL", error_line(error="boom", signin_url="https://x.test/"), pattern="boom"),
    *error_rows("error in a chunk", line(error="boom", message={"content": "x"}, done=True)),
    *error_rows("error followed by chunks", error_line(error="boom"), B, DONE),
    *error_rows("error with exit_status 0", error_line(error="boom", exit_status=0)),
    *(
        bad_line(f"error with exit_status {forged!r}", error_line(error="boom", exit_status=forged), "boom", REJECTED)
        for forged in (75, 130, 70, "0", None, True)
    ),
    Fault("error: null", streams(HM, NO_ERROR, DONE), COMPLETE, (HM, NO_ERROR, DONE)),
]


def value_last(value: str) -> bytes:
    """A chunk line with this value at its end."""
    return b'{"message":{"content":"x"},"done":false,"x":%b}\n' % value.encode()


def done_last(value: str) -> bytes:
    """A chunk line with this value, which ends like an ordinary chunk."""
    return b'{"message":{"content":"x"},"x":%b,"done":false}\n' % value.encode()


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


# The first releases of 3.8 to 3.10 accept an integer of any length.
LIMITED = hasattr(sys, "get_int_max_str_digits")
DAMAGED = [
    bad_line("not JSON", b"what?\n", "line 3 .*not JSON"),
    bad_line("partial object and a newline", b'{"message":{"conte\n', "line 3 .*not JSON"),
    bad_line("two objects on a line", B[:-1] + DONE, "line 3 .*not JSON"),
    bad_line("two objects on a line, done last", B[:-1] + B, "line 3 .*not JSON"),
    bad_line("an array", b"[1]\n", "line 3 .*an array"),
    bad_line("a string", b'"x"\n', "line 3 .*a string"),
    bad_line("a number", b"7\n", "line 3 .*a number"),
    bad_line("null", b"null\n", "line 3 .*null"),
    bad_line("NaN as the line", b"NaN\n", "line 3 .*NaN"),
    bad_line("NaN as a value", value_last("NaN"), "line 3 .*NaN"),
    bad_line("NaN, done last", done_last("NaN"), "line 3 .*NaN"),
    bad_line("Infinity", value_last("-Infinity"), "line 3 .*Infinity"),
    bad_line("100,000 levels deep", value_last(nested(100_000)), "line 3 .*nested too deeply"),
    bad_line("100,000 levels deep, done last", done_last(nested(100_000)), "line 3 .*nested too deeply"),
    bad_line(
        "an integer of 100,000 digits", value_last("1" * 100_000), "line 3 .*limit", NOT_NDJSON if LIMITED else COMPLETE
    ),
    bad_line(
        "an integer of 100,000 digits, done last",
        done_last("1" * 100_000),
        "line 3 .*limit",
        NOT_NDJSON if LIMITED else COMPLETE,
    ),
    bad_line("NUL byte", value_last('"\0"'), "line 3 .*not JSON"),
    bad_line("server-sent event among chunks", b"data: {}\n", "line 3 .*server-sent"),
    bad_line("100 levels deep", value_last(nested(100)), "", COMPLETE),
    bad_line("escaped NUL", value_last(r'"\u0000"'), "", COMPLETE),
    bad_line("NUL in the text", content_line("x\0y"), "", COMPLETE),
    bad_line("invalid UTF-8", content_line("x").replace(b"x", b"\xff"), "", COMPLETE),
    bad_line("lone surrogate", content_line("x").replace(b"x", rb"\ud83d"), "", COMPLETE),
    bad_line("raw U+0085 and U+2028", content_line("x\x85y\u2028z"), "", COMPLETE),
    bad_line("text that looks like an error line", content_line('{"error":"boom"}'), "", COMPLETE),
]

CRLF = tuple(each[:-1] + b"\r\n" for each in LINES)
GAPS = (b"\n", HM, b" \t\r\n", A, b"\n\n", B, DONE, b"\n")
SINGLE = line(model="m", message={"role": "assistant", "content": "a"}, done=True, done_reason="stop")
LONG = content_line("y" * (8 << 20))
HARMLESS = [
    Fault("as Ollama sends it", streams(*LINES), COMPLETE, LINES),
    Fault("CRLF", streams(*CRLF), COMPLETE, CRLF),
    Fault("blank lines", streams(*GAPS), COMPLETE, GAPS),
    Fault("byte order mark", streams(b"\xef\xbb\xbf" + HM, A, B, DONE), COMPLETE, (b"\xef\xbb\xbf" + HM, A, B, DONE)),
    Fault("no final newline", sends(CHUNKED, chunk(ANSWER[:-1]), LAST), COMPLETE, LINES),
    Fault("several lines in an HTTP chunk", sends(CHUNKED, chunk(HM + A), chunk(B + DONE), LAST), COMPLETE, LINES),
    Fault("HTTP chunks that split lines", streams(ANSWER[:70], ANSWER[70:99], ANSWER[99:]), COMPLETE, LINES),
    Fault("one HTTP chunk per byte", streams(*(bytes([b]) for b in ANSWER)), COMPLETE, LINES),
    Fault("one TCP segment per byte", sends(send_bytewise(CHUNKED + chunks(*LINES) + LAST, 0)), COMPLETE, LINES),
    Fault("Content-Length instead of chunks", answers(200, ANSWER), COMPLETE, LINES),
    Fault("HTTP/1.0, ended by close", sends(b"HTTP/1.0 200 OK\r\n\r\n", ANSWER), COMPLETE, LINES),
    Fault("line of 8 MB", streams(HM, A, LONG, DONE), COMPLETE, (HM, A, LONG, DONE)),
    Fault("single object", answers(200, SINGLE[:-1]), COMPLETE, (SINGLE,)),
]

FRAMING = [
    *(
        Fault(f"chunk size {size}", after_two(sent, b"\r\n", B), TRUNCATED, (HM, A), "framing")
        for size, sent in (("-5", b"-5"), ("0x5", b"0x5"), ("what?", b"what?"), ("20 digits", b"1" * 20))
    ),
    Fault("endless chunk size", after_two(endless(b"1" * 512)), TRUNCATED, (HM, A), "framing"),
    Fault("endless chunk extension", after_two(b"5;", endless(b"x" * 512)), TRUNCATED, (HM, A), "framing"),
    Fault("chunk size larger than the data", after_two(b"ffff\r\n" + B), TRUNCATED, (HM, A, B), EARLY),
    Fault("chunk size smaller than the data", after_two(b"9\r\n" + B), TRUNCATED, (HM, A), "", partial=B[:9].decode()),
    Fault("Content-Length too large", sends(HEAD, b"Content-Length: 9999\r\n\r\n", HM + A), TRUNCATED, (HM, A), EARLY),
    Fault(
        "Content-Length too large, answer done", sends(HEAD, b"Content-Length: 9999\r\n\r\n", ANSWER), COMPLETE, LINES
    ),
    Fault("Content-Length too small", answers(200, ANSWER[: len(HM + A)], "X: " + "y" * 99), TRUNCATED, (HM, A), EARLY),
    Fault(
        "Content-Length ends inside a line",
        sends(HEAD, b"Content-Length: %d\r\n\r\n" % (len(HM) + 9), ANSWER),
        TRUNCATED,
        (HM,),
        EARLY,
        partial=A[:9].decode(),
    ),
    Fault("Content-Length not a number", sends(HEAD, b"Content-Length: x\r\n\r\n", ANSWER), COMPLETE, LINES),
    Fault(
        "endless line",
        after_two(endless(chunk(b"z" * (1 << 20)))),
        NOT_NDJSON,
        (HM, A),
        "a line of more than 67,108,864 bytes",
    ),
    Fault(
        "endless empty chunk sizes",
        after_two(endless(b"\r\n" * 99, 0.01), max_time=MAX_TIME),
        TIMED_OUT,
        (HM, A),
        "max-time timeout",
    ),
    Fault(
        "endless blank HTTP chunks",
        after_two(endless(chunk(b"\n"), 0.01), max_time=MAX_TIME),
        TIMED_OUT,
        (HM, A),
        "max-time timeout",
        flooded=True,
    ),
    Fault("endless last HTTP chunks", after_two(endless(LAST)), TRUNCATED, (HM, A), EARLY),
]

ERROR_AFTER_DONE = error_line(error="late")
AFTER_DONE = [
    Fault("second complete answer", streams(*LINES, *LINES), COMPLETE, (*LINES, *LINES)),
    Fault("second answer, truncated", streams(*LINES, A), TRUNCATED_AFTER_DONE, (*LINES, A), EARLY),
    Fault("error line", streams(*LINES, ERROR_AFTER_DONE), REJECTED_AFTER_DONE, LINES, "late"),
    Fault("not JSON", streams(*LINES, b"what?\n"), REJECTED_AFTER_DONE, LINES, "line 5 .*not", 200),
    Fault("partial line", streams(*LINES, A[:9]), TRUNCATED_AFTER_DONE, LINES, EARLY, -1, A[:9].decode()),
    Fault("no end of the connection", after_done(stay_silent), COMPLETE, LINES, slow=True),
    Fault(
        "no end of the connection, idle timeout",
        after_done(stay_silent, idle_timeout=SHORT),
        COMPLETE,
        LINES,
        slow=True,
    ),
    Fault("closed without the last HTTP chunk", sends(CHUNKED, chunks(*LINES)), COMPLETE, LINES),
    Fault("reset", after_done(reset), COMPLETE, LINES),
]
