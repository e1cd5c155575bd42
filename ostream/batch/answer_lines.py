"""Parse the lines of a file of answers: find the id that each line answers.

Most lines are recognised by their end alone, without decoding the JSON.
"""

from __future__ import annotations

import re

from ostream.batch.jobs import key_of
from ostream.protocol.error_lines import is_error, trusted_status
from ostream.protocol.ndjson import decode_line, encode_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The keys that batch appends to an answer. A line is decoded as JSON instead if its id has an escape or a non-ASCII
# byte, if it begins as a failure, or if it contains a NUL byte. A record of an OpenAI batch file has a different end.
_TAIL = re.compile(
    rb',"id":("[^"\\\x00-\x1f\x7f-\xff]*"|-?\d{1,18}),"body_sha256":"([0-9a-f]{64})"'
    rb'(?:,"row_sha256":"[0-9a-f]{64}","row_columns":\[[^\\\]]*\])?\}\n'
)
# How Ollama's answers, failures, and records of OpenAI batch files begin.
_BEGINNINGS = re.compile(rb'\{"(model":"[^"]*","(created_at|remote_)|error":|id":"batch_req_)')


def parse_answer(line: bytes) -> tuple[bytes | None, str]:
    """Return the id on a line that batch wrote, as `key_of` encodes it, and the hash of its request.

    The hash is "" for a failure. The result is (None, "") for a line that belongs to no id: a blank line, or a failure
    to read an input file.

    Raises NotNDJSON for a line that is not a JSON object, and ValueError for an object that batch did not write.
    """
    at = line.rfind(b',"id":')
    match = _TAIL.fullmatch(line, at) if at > 0 else None
    # Searching the whole line for "error" would take as long as the rest of this function.
    if match and line.startswith(b'{"') and not line.startswith(b'{"error"') and b"\0" not in line:
        return match[1], match[2].decode()
    answer = decode_line(line)
    return (None, "") if answer is None else _entry(answer)


def may_be_answer(line: bytes) -> bool:
    """Return False for a failure or a blank line, and True for an answer or a line that batch did not write."""
    try:
        return bool(parse_answer(line)[1])
    except ValueError:
        return True


def _entry(answer: dict[str, Any]) -> tuple[bytes | None, str]:
    id = answer.get("custom_id", answer.get("id"))
    if isinstance(id, bool) or not isinstance(id, (str, int, type(None))):
        raise ValueError("not an answer that batch wrote")
    if is_error(answer):
        # The log of another program may contain error lines, too, but without an `exit_status` of ostream.
        if trusted_status(answer) is None:
            raise ValueError("not a failure that batch wrote")
        return (None if id is None else key_of(id)), ""
    sha256 = answer.get("body_sha256")
    if id is None or not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError("not an answer that batch wrote")
    return key_of(id), sha256


def with_id(line: bytes, id: int) -> bytes:
    """Return an answer line with its id replaced by `id`."""
    at = line.rfind(b',"id":')
    match = _TAIL.fullmatch(line, at) if at > 0 else None
    if match:
        return line[: match.start(1)] + b"%d" % id + line[match.end(1) :]
    answer: Any = decode_line(line)
    answer["custom_id" if "custom_id" in answer else "id"] = id
    return encode_line(answer)


def begins_as_answer(line: bytes, known: bytes) -> bool:
    """True if a truncated line is the beginning of a line that batch writes.

    `known` is a complete answer line of the same file, or empty.
    """
    if _BEGINNINGS.match(line):
        return True
    # All answers of one server begin with the same key.
    begin = known[: known.find(b":") + 1]
    return bool(begin) and (line.startswith(begin) or begin.startswith(line) or b'{"error":'.startswith(line))


def is_damaged(line: bytes, known: bytes) -> bool:
    """True if the line may be one that batch wrote, with a part overwritten by NUL bytes in a crash of the machine.

    The line consists of NUL bytes, or begins as a line of batch up to its first NUL byte, or has NUL bytes at its
    beginning and the end of an answer. `known` is a complete answer line of the same file, or empty.
    """
    begin, nul, rest = line.partition(b"\0")
    if not nul:
        return False
    if begin:
        return begins_as_answer(begin, known)
    at = rest.rfind(b',"id":')
    return not rest.strip(b"\0\n") or (at >= 0 and _TAIL.fullmatch(rest, at) is not None)
