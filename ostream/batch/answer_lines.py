"""Lines of a file of answers: which id each one answers, recognised by its end where that is possible."""

from __future__ import annotations

import json
import re

from ostream.batch.jobs import key_of
from ostream.errors import NotNDJSON
from ostream.protocol.error_lines import is_error
from ostream.protocol.ndjson import decode_line, encode_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What batch appends to an answer. An id with an escape or a byte beyond ASCII is decoded instead, as is an answer with
# an error (perhaps a failure) or a custom_id (perhaps a record of an OpenAI batch file).
_TAIL = re.compile(
    rb',"id":("[^"\\\x00-\x1f\x7f-\xff]*"|-?\d{1,18}),"body_sha256":"([0-9a-f]{64})"'
    rb'(?:,"row_sha256":"[0-9a-f]{64}","row_columns":\[[^\\\]]*\])?\}\n'
)
# How answers of Ollama, failures, and records of OpenAI batch files begin.
_BEGINNINGS = re.compile(rb'\{"(model":"[^"]*","(created_at|remote_)|error":|id":"batch_req_)')


def parse_answer(line: bytes) -> tuple[bytes | None, str]:
    """Return the id, as `key_of` has it, and the request's hash on a line that batch wrote; no hash for a failure.

    (None, "") is a line without an answer: a blank one, one of NULs as a crash of the machine leaves them, or the
    failure of an input. Raises NotNDJSON, and ValueError for what batch never wrote.
    """
    at = line.rfind(b',"id":')
    match = _TAIL.fullmatch(line, at) if at > 0 else None
    if match and line.startswith(b"{") and not (b'"error"' in line or b'"custom_id"' in line or b"\0" in line):
        return match[1], match[2].decode()
    try:
        answer = decode_line(line)
    except NotNDJSON:
        if b"\0" in line:
            return None, ""
        raise
    return (None, "") if answer is None else _entry(answer)


def _entry(answer: dict[str, Any]) -> tuple[bytes | None, str]:
    id = answer.get("custom_id", answer.get("id"))
    if isinstance(id, bool) or not isinstance(id, (str, int, type(None))):
        raise ValueError("not an answer that batch wrote")
    if is_error(answer):
        # Another program's log may have error lines, too.
        if type(answer.get("exit_status")) is not int:
            raise ValueError("not a failure that batch wrote")
        return (None if id is None else key_of(id)), ""
    sha256 = answer.get("body_sha256")
    if id is None or not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError("not an answer that batch wrote")
    return key_of(id), sha256


def with_id(line: bytes, id: int) -> bytes:
    """Return an answer's line with another id."""
    at = line.rfind(b',"id":')
    match = _TAIL.fullmatch(line, at) if at > 0 else None
    if match:
        return line[: match.start(1)] + b"%d" % id + line[match.end(1) :]
    answer = json.loads(line)
    answer["custom_id" if "custom_id" in answer else "id"] = id
    return encode_line(answer)


def begins_as_answer(line: bytes, known: bytes) -> bool:
    """True if a truncated line is the beginning of one that batch writes. `known` is a complete line, or empty."""
    if _BEGINNINGS.match(line):
        return True
    # An answer begins with the same key as the others of its server.
    begin = known[: known.find(b":") + 1]
    return bool(begin) and (line.startswith(begin) or begin.startswith(line) or b'{"error":'.startswith(line))
