"""Faults during the answer and after it."""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

from tests.fault_matrix.answer import ANSWER, DONE, HM, LINES, A, B, content_line, line
from tests.fault_matrix.outcomes import (
    BUSY,
    COMPLETE,
    EARLY,
    MAX_TIME,
    NO_TEXT,
    NO_TEXT_REJECTED,
    NOT_NDJSON,
    REJECTED,
    REJECTED_AFTER_DONE,
    SHORT,
    TIMED_OUT,
    TOO_LONG,
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
    Step,
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


TORN = content_line("next")
PART = TORN[:-9]
OTHER = line(detail="boom")
EARLY_ENDS = [
    # name, what the server does after two chunks, pattern of the message, the truncated line, more lines before it
    ("ended", [LAST], EARLY),
    ("closed between HTTP chunks", [], EARLY),
    ("closed in an HTTP chunk size", [b"7"], EARLY),
    ("closed inside an HTTP chunk", [chunk(TORN)[:30]], EARLY, TORN[:26]),
    ("ended after a partial line", [chunk(PART), LAST], EARLY, PART),
    ("ended after a partial character", [chunk(A[:HALF]), LAST], EARLY, A[:HALF]),
    ("ended after 30 equal tokens", [chunks(*[B] * 30), LAST], f"30 equal tokens|{EARLY}", b"", *[B] * 30),
    ("ended after an object without an answer", [chunks(OTHER), LAST], f"boom|{EARLY}", b"", OTHER),
    ("ended by HTTP trailers", [b"0\r\nX: y\r\n\r\n"], EARLY),
    ("endless HTTP trailers", [b"0\r\n", endless(b"X: y\r\n")], EARLY),
    ("reset", [reset], "connection lost: Connection reset"),
]


def early_end(name: str, steps: list[Step], pattern: str, part: bytes = b"", *more: bytes) -> Fault:
    partial = part.decode(errors="replace")
    return Fault(name, after_two(*steps), TRUNCATED, (HM, A, *more), pattern, partial=partial)


def expired(name: str, timeout: str, serve: Serve, lines: tuple[bytes, ...] = (HM, A), **more: Any) -> Fault:
    """A fault that ends when a timeout expires."""
    return Fault(name, serve, TIMED_OUT, lines, f"{timeout} timeout", **more)


ENDINGS = [
    Fault("reset after 1 chunk", sends(CHUNKED, chunks(HM), reset), TRUNCATED, (HM,), "connection lost"),
    *itertools.starmap(early_end, EARLY_ENDS),
    expired("stalled, idle timeout", "idle", after_two(stay_silent, idle_timeout=SHORT)),
    expired("stalled, max-time timeout", "max-time", after_two(stay_silent, max_time=MAX_TIME)),
    expired(
        "stalled in a line",
        "idle",
        sends(CHUNKED, chunks(HM, A, PART), stay_silent, idle_timeout=SHORT),
        partial=PART.decode(),
    ),
]

# A line that takes longer than the idle timeout, with shorter gaps between its bytes.
SLOWLY = send_bytewise(chunk(B), 6 / len(chunk(B)))
BLANKS = send_bytewise(chunk(b" " * 99), 1)
TIMEOUTS = [
    expired("no response", "first-byte", sends(stay_silent, first_byte_timeout=SHORT), ()),
    expired("headers only", "first-byte", sends(CHUNKED, stay_silent, first_byte_timeout=SHORT), ()),
    expired("no response, max-time timeout", "max-time", sends(stay_silent, max_time=SHORT), ()),
    expired(
        "headers at one byte per second", "first-byte", sends(send_bytewise(HEAD * 9, 1), first_byte_timeout=3), ()
    ),
    expired("body at one byte per second", "max-time", after_two(BLANKS, max_time=MAX_TIME), flooded=True),
    Fault("short gaps", after_two(SLOWLY, chunks(DONE) + LAST, idle_timeout=5), COMPLETE, LINES, slow=True),
]


def error_line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def bad_line(name: str, bad: bytes, pattern: str, outcome: Outcome = NOT_NDJSON) -> Fault:
    """A bad line after two chunks, followed by a proper end."""
    lines = (HM, A, bad, B, DONE) if outcome is COMPLETE else (HM, A)
    return Fault(name, streams(HM, A, bad, B, DONE), outcome, lines, pattern)


NO_ERROR = line(error=None, message={"role": "assistant", "content": "x"}, done=False)
CRASH = "an error was encountered while running the model: EOF"
ERRORS = [
    Fault("error line", streams(error_line(error="boom")), REJECTED, (), "boom"),
    Fault("error line without newline", streams(error_line(error="boom")[:-1]), REJECTED, (), "boom"),
    Fault("error line with a status code", streams(error_line(StatusCode=429, error="boom")), BUSY, (), "boom", 429),
    *(
        bad_line(f"{name}, after 2 chunks", bad, pattern, outcome)
        for name, bad, pattern, outcome in (
            ("error line", error_line(error="boom"), "boom", REJECTED),
            ("error line with CRLF", error_line(error="boom")[:-1] + b"\r\n", "boom", REJECTED),
            ("error object", error_line(error={"message": "boom", "code": 400}), "boom", REJECTED),
            ("error object without message", error_line(error={"kind": "boom"}), "boom", REJECTED),
            ("error as JSON text", error_line(error='{"error":{"message":"boom"}} and more'), "boom", REJECTED),
            ("error as an array", error_line(error=["boom"]), "boom", REJECTED),
            ("error as a number", error_line(error=500), "500", REJECTED),
            ("empty error", error_line(error=""), "error without a message", REJECTED),
            ("error with a sign-in URL", error_line(error="boom", signin_url="https://x.test/"), "boom", REJECTED),
            ("error in a chunk", line(error="boom", message={"content": "x"}, done=True), "boom", REJECTED),
            ("error with an escaped key", rb'{"\u0065rror":"boom","done":false}' + b"\n", "boom", REJECTED),
            ("error after a null error", b'{"error":null,"error":"boom","done":false}\n', "boom", REJECTED),
            ("error of a crashed model", error_line(error=CRASH), "encountered while running", BUSY),
        )
    ),
    *(
        bad_line(f"error with exit_status {forged!r}", error_line(error="boom", exit_status=forged), "boom", REJECTED)
        for forged in (0, 75, 130, "0", None, True)
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
DIGITS = NOT_NDJSON if hasattr(sys, "get_int_max_str_digits") else COMPLETE
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
    bad_line("an integer of 100,000 digits", value_last("1" * 100_000), "line 3 .*limit", DIGITS),
    bad_line("an integer of 100,000 digits, done last", done_last("1" * 100_000), "line 3 .*limit", DIGITS),
    bad_line("NUL byte", value_last('"\0"'), "line 3 .*not JSON"),
    bad_line("server-sent event among chunks", b"data: {}\n", "line 3 .*server-sent"),
    bad_line("100 levels deep", value_last(nested(100)), "", COMPLETE),
    bad_line("10,000 keys", line(**{f"k{i}": i for i in range(10_000)}, message={"content": "x"}), "", COMPLETE),
    *(
        bad_line(f"{key} from the server", line(**{key: "x"}, message={"content": "x"}, done=False), "", COMPLETE)
        for key in ("id", "custom_id", "role", "request", "elapsed", "exit_status", "body_sha256")
    ),
    bad_line("escaped NUL", value_last(r'"\u0000"'), "", COMPLETE),
    bad_line("NUL in the text", content_line("x\0y"), "", COMPLETE),
    bad_line("invalid UTF-8", content_line("x").replace(b"x", b"\xff"), "", COMPLETE),
    bad_line("lone surrogate", content_line("x").replace(b"x", rb"\ud83d"), "", COMPLETE),
    bad_line("raw U+0085 and U+2028", content_line("x\x85y\u2028z"), "", COMPLETE),
    bad_line("text that looks like an error line", content_line('{"error":"boom"}'), "", COMPLETE),
]


def ending(name: str, last: bytes, outcome: Outcome = COMPLETE, pattern: str = "", **options: Any) -> Fault:
    """An answer with this last line."""
    return Fault(name, sends(CHUNKED, chunks(HM, A, last), LAST, **options), outcome, (HM, A, last), pattern)


def no_text(name: str, outcome: Outcome, pattern: str, *more: bytes, **options: Any) -> Fault:
    """A complete answer without text."""
    return Fault(name, sends(CHUNKED, chunks(*more, DONE), LAST, **options), outcome, (*more, DONE), pattern)


CUT = DONE.replace(b'"stop"', b'"length"')
COUNTS = ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration")
REQUIREMENTS = [
    no_text("only thinking", NO_TEXT, "thinking but no text", HM),
    no_text("no text at all", NO_TEXT, "the answer is empty"),
    no_text("only thinking, --fail-on-empty", NO_TEXT_REJECTED, "no text|is empty", HM, fail_on_empty=True),
    ending("truncated by a length limit", CUT),
    ending("truncated by a length limit, --fail-on-length", CUT, TOO_LONG, "truncated by a", fail_on_length=True),
    ending("prompt truncated to 2,050 tokens", DONE[:-2] + b',"prompt_eval_count":2050}\n', pattern="2.?050"),
    *(
        ending(
            f"counts and durations of {value:.9}",
            DONE[:-2] + b"".join(b',"%b":%b' % (c.encode(), value.encode()) for c in COUNTS) + b"}\n",
        )
        for value in ("5e-324", "1e308", "-1", "1" + "0" * 400, '"text"', "[]")
    ),
    ending("done, then not done, in one object", DONE[:-2] + b',"done":false}\n', TRUNCATED, EARLY),
]

CRLF = tuple(each[:-1] + b"\r\n" for each in LINES)
GAPS = (b"\n", HM, b" \t\r\n", A, b"\n\n", B, DONE, b"\n")
SINGLE = line(model="m", message={"role": "assistant", "content": "a"}, done=True, done_reason="stop")
INDENTED = json.dumps(json.loads(SINGLE), indent=1).encode()
JOINED = b"\t".join(map(bytes.strip, INDENTED.splitlines())) + b"\n"
FLOOD = chunk(b"\n" * 1_000_000)
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
    Fault("1 MB of blank lines", sends(CHUNKED, FLOOD, chunks(*LINES), LAST), COMPLETE, LINES, flooded=True),
    Fault("HTTP trailers", after_done(b"0\r\nX: y\r\n\r\n"), COMPLETE, LINES),
    Fault("indented single object", answers(200, INDENTED), COMPLETE, (JOINED,)),
    Fault("single object", answers(200, SINGLE[:-1]), COMPLETE, (SINGLE,)),
]

BOTH = HEAD + b"Content-Length: 5\r\n" + CHUNKED[len(HEAD) :]
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
    Fault("Content-Length too large, done", sends(HEAD, b"Content-Length: 9999\r\n\r\n", ANSWER), COMPLETE, LINES),
    Fault("Content-Length too small", answers(200, ANSWER[: len(HM + A)], "X: " + "y" * 99), TRUNCATED, (HM, A), EARLY),
    Fault(
        "Content-Length ends inside a line",
        sends(HEAD, b"Content-Length: %d\r\n\r\n" % (len(HM) + 9), ANSWER),
        *(TRUNCATED, (HM,), EARLY, -1, A[:9].decode()),
    ),
    Fault("Content-Length negative", sends(HEAD, b"Content-Length: -5\r\n\r\n", ANSWER), COMPLETE, LINES),
    Fault("Content-Length and chunks", sends(BOTH, chunks(*LINES), LAST), COMPLETE, LINES),
    Fault("Content-Length not a number", sends(HEAD, b"Content-Length: x\r\n\r\n", ANSWER), COMPLETE, LINES),
    Fault("endless line", after_two(endless(chunk(b"z" * (1 << 20)))), NOT_NDJSON, (HM, A), "67,108,864 bytes"),
    expired("endless empty sizes", "max-time", after_two(endless(b"\r\n" * 99, 0.01), max_time=MAX_TIME)),
    expired("endless blanks", "max-time", after_two(endless(chunk(b"\n"), 0.01), max_time=MAX_TIME), flooded=True),
    Fault("endless last HTTP chunks", after_two(endless(LAST)), TRUNCATED, (HM, A), EARLY),
]

ERROR_AFTER_DONE = error_line(error="late")
MORE = 'sent more data after "done": true and did not end the response|no "done": true after its last chunk'
AFTER_DONE = [
    Fault("second complete answer", streams(*LINES, *LINES), COMPLETE, (*LINES, *LINES)),
    Fault("second answer, truncated", streams(*LINES, A), TRUNCATED_AFTER_DONE, (*LINES, A), EARLY),
    Fault("error line", streams(*LINES, ERROR_AFTER_DONE), REJECTED_AFTER_DONE, LINES, "late"),
    Fault("not JSON", streams(*LINES, b"what?\n"), REJECTED_AFTER_DONE, LINES, "line 5 .*not", 200),
    Fault("partial line", streams(*LINES, A[:9]), TRUNCATED_AFTER_DONE, LINES, EARLY, -1, A[:9].decode()),
    Fault("no end of the connection", after_done(stay_silent), COMPLETE, LINES, slow=True),
    Fault(
        "more, and no end",
        sends(CHUNKED, chunks(*LINES, A), stay_silent),
        *(TRUNCATED_AFTER_DONE, (*LINES, A), MORE),
        slow=True,
    ),
    Fault("no end, idle timeout", after_done(stay_silent, idle_timeout=SHORT), COMPLETE, LINES, slow=True),
    Fault("closed without the last HTTP chunk", sends(CHUNKED, chunks(*LINES)), COMPLETE, LINES),
    Fault("reset", after_done(reset), COMPLETE, LINES),
]
