"""The rows of what happens inside an answer, and behind it."""

from __future__ import annotations

import json
import sys

from tests.server import reset
from tests.torture.lines import ANSWER, DONE, HM, LINES, A, B, line, said
from tests.torture.sites import CHUNKED, HEAD, LAST, answers, chunk, chunks, dribble, endless, hold, sends
from tests.torture.verdicts import (
    AFTERWARDS_CUT,
    AFTERWARDS_REFUSED,
    BUSY,
    CUT,
    GARBAGE,
    LATE,
    MAX_TIME,
    REFUSED,
    SHORT,
    UNREAD,
    WHOLE,
    Fault,
    Verdict,
)

HALF = A.index("😀".encode()) + 2  # inside the character


def ends(k: int) -> list[Fault]:
    """Everything that can end an answer after k chunks."""
    came = LINES[:k]
    sent = CHUNKED + chunks(*came)
    torn = said("next")
    return [
        Fault(f"a clean end after {k}", sends(sent, LAST), CUT, came, "without done: true"),
        Fault(f"killed after {k}, between HTTP chunks", sends(sent), CUT, came, "without done: true"),
        Fault(f"killed after {k}, in a size", sends(sent, b"7"), CUT, came, "without done: true"),
        Fault(
            f"killed after {k}, inside an HTTP chunk",
            sends(sent, chunk(torn)[:30]),
            CUT,
            came,
            "cut|without done",
            partial=torn[:26].decode(),
        ),
        Fault(
            f"a clean end after {k} and half a line",
            sends(sent, chunk(torn[:-9]), LAST),
            CUT,
            came,
            "cut|without done",
            partial=torn[:-9].decode(),
        ),
        Fault(
            f"a clean end after {k} and half a character",
            sends(sent, chunk(A[:HALF]), LAST),
            CUT,
            came,
            "cut|without done",
            partial=A[:HALF].decode(errors="replace"),
        ),
        Fault(f"reset after {k}", sends(sent, reset), CUT, came, "the connection broke: Connection reset"),
        Fault(f"silence after {k}, idle clock", sends(sent, hold, idle_timeout=SHORT), LATE, came, "idle clock"),
        Fault(f"silence after {k}, max-time clock", sends(sent, hold, max_time=MAX_TIME), LATE, came, "max-time clock"),
        Fault(
            f"silence after {k} and half a line, idle clock",
            sends(sent + chunk(torn[:-9]), hold, idle_timeout=SHORT),
            LATE,
            came,
            "idle clock",
            partial=torn[:-9].decode(),
        ),
    ]


ENDS = [*ends(1), *ends(3)]

# A line that takes longer to come than the idle clock allows between two bytes.
SLOWLY = dribble(chunk(B), 6 / len(chunk(B)))
CLOCKS = [
    Fault("no reply", sends(hold, first_byte_timeout=SHORT), LATE, (), "first-byte clock"),
    Fault("headers and no more", sends(CHUNKED, hold, first_byte_timeout=SHORT), LATE, (), "first-byte clock"),
    Fault("no reply, max-time clock", sends(hold, max_time=SHORT), LATE, (), "max-time clock .*no answer"),
    Fault(
        "headers, one byte a second", sends(dribble(HEAD * 9, 1), first_byte_timeout=3), LATE, (), "first-byte clock"
    ),
    Fault(
        "one byte a second",
        sends(CHUNKED + chunks(HM, A), dribble(chunk(b" " * 99), 1), idle_timeout=60, max_time=MAX_TIME),
        LATE,
        (HM, A),
        "max-time clock",
        flooded=True,
    ),
    Fault(
        "gaps shorter than the idle clock",
        sends(CHUNKED + chunks(HM, A), SLOWLY, chunks(DONE) + LAST, idle_timeout=5),
        WHOLE,
        LINES,
        slow=True,
    ),
]


def error_line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def told(name: str, *lines: bytes, verdict: Verdict = REFUSED, words: str = "boom", code: int = -1) -> list[Fault]:
    """An error line, as the first line of all and after two chunks."""
    return [
        Fault(name, sends(CHUNKED, chunks(*lines), LAST), verdict, (), words, code),
        Fault(f"{name}, after 2", sends(CHUNKED, chunks(HM, A, *lines), LAST), verdict, (HM, A), words, code),
    ]


def inside(name: str, bad: bytes, words: str, verdict: Verdict = GARBAGE) -> Fault:
    """A bad line after two chunks, and a good end behind it."""
    came = (HM, A, bad, B, DONE) if verdict in (WHOLE, UNREAD) else (HM, A)
    return Fault(name, sends(CHUNKED, chunks(HM, A, bad, B, DONE), LAST), verdict, came, words)


NO_ERROR = line(error=None, message={"role": "assistant", "content": "x"}, done=False)
ERRORS = [
    *told("an error line", error_line(error="boom")),
    *told("an error line without its newline", error_line(error="boom")[:-1]),
    *told("an error line with CRLF", error_line(error="boom")[:-1] + b"\r\n"),
    *told("an error object", error_line(error={"message": "boom", "code": 400})),
    *told("an error object without a message", error_line(error={"kind": "boom"})),
    *told("an error in an error", error_line(error='{"error":{"message":"boom"}} and more')),
    *told("an error list", error_line(error=["boom"])),
    *told("an error number", error_line(error=500), words="500"),
    *told("an error without words", error_line(error=""), words="an error without a message"),
    *told("an error with its status", error_line(StatusCode=429, Status="429", error="boom"), verdict=BUSY, code=429),
    *told("an error that asks to sign in", error_line(error="boom", signin_url="https://x.test/"), words="boom"),
    *told("an error on a chunk", line(error="boom", message={"content": "x"}, done=True)),
    *told("an error, and more behind it", error_line(error="boom"), B, DONE),
    *told("an error with a forged exit_status", error_line(error="boom", exit_status=0)),
    *(
        inside(f"an error with {forged!r} forged", error_line(error="boom", exit_status=forged), "boom", REFUSED)
        for forged in (75, 130, 70, "0", None, True)
    ),
    Fault("an error that is null", sends(CHUNKED, chunks(HM, NO_ERROR, DONE), LAST), WHOLE, (HM, NO_ERROR, DONE)),
]  # fmt: skip


def x(value: str) -> bytes:
    """A chunk line with this value, such that send reads it."""
    return b'{"message":{"content":"x"},"done":false,"x":%b}\n' % value.encode()


def unread(value: str) -> bytes:
    """A chunk line with this value, such that send passes it on unread."""
    return b'{"message":{"content":"x"},"x":%b,"done":false}\n' % value.encode()


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


# The first releases of 3.8 to 3.10 take an integer of any length.
LIMITED = hasattr(sys, "get_int_max_str_digits")
DAMAGED = [
    inside("not JSON", b"what?\n", "line 3 .*not JSON"),
    inside("half an object, and a newline", b'{"message":{"conte\n', "line 3 .*not JSON"),
    inside("two objects on a line", B[:-1] + DONE, "line 3 .*not JSON"),
    inside("two objects on a line, unread", B[:-1] + B, "not JSON", UNREAD),
    inside("an array", b"[1]\n", "line 3 .*an array"),
    inside("a string", b'"x"\n', "line 3 .*a string"),
    inside("a number", b"7\n", "line 3 .*a number"),
    inside("null", b"null\n", "line 3 .*null"),
    inside("NaN alone", b"NaN\n", "line 3 .*NaN"),
    inside("NaN", x("NaN"), "line 3 .*NaN"),
    inside("NaN, unread", unread("NaN"), "NaN", UNREAD),
    inside("Infinity", x("-Infinity"), "line 3 .*Infinity"),
    inside("100,000 levels deep", x(nested(100_000)), "line 3 .*nested too deeply"),
    inside("100,000 levels deep, unread", unread(nested(100_000)), "nested too deeply", UNREAD),
    inside("an integer of 100,000 digits", x("1" * 100_000), "line 3 .*limit", GARBAGE if LIMITED else WHOLE),
    inside("an integer of 100,000 digits, unread", unread("1" * 100_000), "limit", UNREAD if LIMITED else WHOLE),
    inside("a NUL as a byte", x('"\0"'), "line 3 .*not JSON"),
    inside("server-sent events in between", b"data: {}\n", "line 3 .*server-sent"),
    inside("100 levels deep", x(nested(100)), "", WHOLE),
    inside("a NUL as an escape", x(r'"\u0000"'), "", WHOLE),
    inside("a NUL in the text", said("x\0y"), "", WHOLE),
    inside("a byte that is not UTF-8", said("x").replace(b"x", b"\xff"), "", WHOLE),
    inside("a lone surrogate", said("x").replace(b"x", rb"\ud83d"), "", WHOLE),
    inside("a raw U+0085 and U+2028", said("x\x85y\u2028z"), "", WHOLE),
    inside("the word error in the text", said('{"error":"boom"}'), "", WHOLE),
]

CRLF = tuple(each[:-1] + b"\r\n" for each in LINES)
GAPS = (b"\n", HM, b" \t\r\n", A, b"\n\n", B, DONE, b"\n")
LONG = said("y" * (8 << 20))
HARMLESS = [
    Fault("as the real server sends it", sends(CHUNKED, chunks(*LINES), LAST), WHOLE, LINES),
    Fault("CRLF", sends(CHUNKED, chunks(*CRLF), LAST), WHOLE, CRLF),
    Fault("blank lines", sends(CHUNKED, chunks(*GAPS), LAST), WHOLE, GAPS),
    Fault("a byte order mark", sends(CHUNKED, chunks(b"\xef\xbb\xbf" + HM, A, B, DONE), LAST), WHOLE,
          (b"\xef\xbb\xbf" + HM, A, B, DONE)),
    Fault("no last newline", sends(CHUNKED, chunk(ANSWER[:-1]), LAST), WHOLE, LINES),
    Fault("several lines in an HTTP chunk", sends(CHUNKED, chunk(HM + A), chunk(B + DONE), LAST), WHOLE, LINES),
    Fault("lines cut anywhere", sends(CHUNKED, chunks(ANSWER[:70], ANSWER[70:99], ANSWER[99:]), LAST), WHOLE, LINES),
    Fault("an HTTP chunk for each byte", sends(CHUNKED, chunks(*(bytes([b]) for b in ANSWER)), LAST), WHOLE, LINES),
    Fault("a segment for each byte", sends(dribble(CHUNKED + chunks(*LINES) + LAST, 0)), WHOLE, LINES),
    Fault("of known length", answers(200, ANSWER), WHOLE, LINES),
    Fault("HTTP/1.0, to the end of the connection", sends(b"HTTP/1.0 200 OK\r\n\r\n", ANSWER), WHOLE, LINES),
    Fault("a line of 8 MB", sends(CHUNKED, chunks(HM, A, LONG, DONE), LAST), WHOLE, (HM, A, LONG, DONE)),
    Fault("one whole object", answers(200, DONE[:-1]), WHOLE, (DONE,)),
]  # fmt: skip

FRAMING = [
    *(
        Fault(f"a chunk size of {size}", sends(CHUNKED, chunks(HM, A), sent, b"\r\n", B), CUT, (HM, A), "framing")
        for size, sent in (("-5", b"-5"), ("0x5", b"0x5"), ("what?", b"what?"), ("20 digits", b"1" * 20))
    ),
    Fault("an endless chunk size", sends(CHUNKED, chunks(HM, A), endless(b"1" * 512)), CUT, (HM, A), "framing"),
    Fault("an endless extension", sends(CHUNKED, chunks(HM, A), b"5;", endless(b"x" * 512)), CUT, (HM, A), "framing"),
    Fault("more size than data", sends(CHUNKED, chunks(HM, A), b"ffff\r\n" + B), CUT, (HM, A, B), "without done"),
    Fault("less size than data", sends(CHUNKED, chunks(HM, A), b"9\r\n" + B), CUT, (HM, A), "", partial=B[:9].decode()),
    Fault("a length that is too long", sends(HEAD, b"Content-Length: 9999\r\n\r\n", HM + A), CUT, (HM, A), "without"),
    Fault("a length that is too long, done", sends(HEAD, b"Content-Length: 9999\r\n\r\n", ANSWER), WHOLE, LINES),
    Fault("a length that is too short", answers(200, ANSWER[: len(HM + A)], "X: " + "y" * 99), CUT, (HM, A), "without"),
    Fault("a length that ends in a line", sends(HEAD, b"Content-Length: %d\r\n\r\n" % (len(HM) + 9), ANSWER), CUT,
          (HM,), "cut|without", partial=A[:9].decode()),
    Fault("a length that is no number", sends(HEAD, b"Content-Length: x\r\n\r\n", ANSWER), WHOLE, LINES),
    Fault("an endless line", sends(CHUNKED, chunks(HM, A), endless(chunk(b"z" * (1 << 20)))), GARBAGE, (HM, A),
          "a line of more than 67,108,864 bytes"),
    Fault("endless line ends for chunk sizes", sends(CHUNKED, chunks(HM, A), endless(b"\r\n" * 99, 0.01), max_time=2),
          LATE, (HM, A), "max-time clock"),
    Fault("endless blank HTTP chunks", sends(CHUNKED, chunks(HM, A), endless(chunk(b"\n"), 0.01), max_time=2),
          LATE, (HM, A), "max-time clock", flooded=True),
    Fault("endless last HTTP chunks", sends(CHUNKED, chunks(HM, A), endless(LAST)), CUT, (HM, A), "without done"),
]  # fmt: skip

LATE_ERROR = error_line(error="late")
AFTERWARDS = [
    Fault("done twice", sends(CHUNKED, chunks(*LINES, DONE), LAST), WHOLE, (*LINES, DONE)),
    Fault("another whole answer", sends(CHUNKED, chunks(*LINES, *LINES), LAST), WHOLE, (*LINES, *LINES)),
    Fault("half of another answer", sends(CHUNKED, chunks(*LINES, A), LAST), AFTERWARDS_CUT, (*LINES, A), "without"),
    Fault("an error line", sends(CHUNKED, chunks(*LINES, LATE_ERROR), LAST), AFTERWARDS_REFUSED, LINES, "late"),
    Fault("garbage", sends(CHUNKED, chunks(*LINES, b"what?\n"), LAST), AFTERWARDS_REFUSED, LINES, "line 5 .*not", 200),
    Fault("a cut line", sends(CHUNKED, chunks(*LINES, A[:9]), LAST), AFTERWARDS_CUT, LINES, "cut", -1, A[:9].decode()),
    Fault("silence", sends(CHUNKED, chunks(*LINES), hold), WHOLE, LINES, slow=True),
    Fault("silence, and a clock", sends(CHUNKED + chunks(*LINES), hold, idle_timeout=SHORT), WHOLE, LINES, slow=True),
    Fault("killed", sends(CHUNKED, chunks(*LINES)), WHOLE, LINES),
    Fault("reset", sends(CHUNKED, chunks(*LINES), reset), WHOLE, LINES),
]  # fmt: skip
