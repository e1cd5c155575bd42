"""batch and send give the same exit status for the same response."""

from __future__ import annotations

import pytest

from tests.commands.test_batch import asked
from tests.process import call
from tests.server import Answers, http_answer, tcp

ONE = b'{"message":{"content":"one"},"done":true}\n'
OPEN = b'{"message":{"content":"two"},"done":false}\n'

# The body of a response, and the exit status.
BODIES: dict[str, tuple[bytes, int]] = {
    "complete": (ONE, 0),
    "complete stream": (OPEN + ONE, 0),
    "no last newline": (OPEN + ONE[:-1], 0),
    "two ends": (ONE + ONE, 0),
    "blank lines": (b" \t\r\n\n" + OPEN + b"\r\n" + ONE + b"\n", 0),
    "a message before the answer": (b'{"role":"assistant"}\n' + ONE, 0),
    "no end": (OPEN, 3),
    "more after the end": (ONE + OPEN, 3),
    "truncated": (OPEN + ONE[:-3], 3),
    "truncated after the end": (ONE + OPEN[:9], 3),
    "truncated indented object": (b'{\n "message"', 1),
    "empty": (b"", 3),
    "a message": (b'{"role":"assistant","content":"x","done":true}\n', 3),
    "NaN": (b'{"x":NaN,"message":{"content":"one"},"done":true}\n', 1),
    "NaN without a newline": (b'{"x":NaN,"message":{"content":"one"},"done":true}', 1),
    "two objects on a line": (ONE[:-1] + ONE, 1),
    "a NUL byte": (ONE[:-1] + b"\0\n", 1),
    "a vertical tab": (b"\x0b\n" + ONE, 1),
    "a form feed": (ONE + b"\x0c\n", 1),
    "a request": (b'{"request":{"messages":[]}}\n' + ONE, 1),
    "an error after the end": (ONE + b'{"error":"boom"}\n', 1),
    "a deeply nested value": (b'{"x":' + b"[" * 600 + b"]" * 600 + b',"done":true}\n', 1),
    "a long line": (b'{"x":"' + b"x" * 2000 + b'","message":{"content":"one"},"done":true}\n', 0),
    "a deeply nested message": (b'{"role":' + b"[" * 600 + b"]" * 600 + b"}\n" + ONE, 1),
}
INDENTED = b'{\n "message": {"content":\n"one"},\n "done": true\n}\n'
CASES = [
    *((name, *case, streamed, "x-ndjson") for name, case in BODIES.items() for streamed in (True, False)),
    ("indented", INDENTED, 0, False, "x-ndjson"),
    ("indented", INDENTED, 0, True, "json"),
    ("indented", INDENTED, 1, True, "x-ndjson"),
]


@pytest.mark.parametrize(("name", "body", "status", "streamed", "subtype"), CASES)
def test_status_of_batch_is_the_status_of_send(
    name: str, body: bytes, status: int, streamed: bool, subtype: str
) -> None:
    with tcp(Answers(http_answer(200, body, "Connection: close", content_type=f"application/{subtype}"))) as port:
        options = ["-m", "m", "--host", f"127.0.0.1:{port}", "--retry", "0"]
        sent = call("send", *options, *([] if streamed else ["--no-stream"]), "hi")
        done = call("batch", *options, *(["--stream"] if streamed else []), stdin=asked("hi"))
    assert (name, sent.returncode, done.returncode) == (name, status, status), done.stderr
