"""Determine the kind of a line, and convert error lines to ResponseErrors."""

from __future__ import annotations

from ostream.errors import CLAIMABLE_STATUSES, ResponseError
from ostream.protocol.json_codec import decode_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping


def is_error(chunk: Mapping[str, Any]) -> bool:
    """Return True if a line is an error line.

    A line with an empty `error` is an error line only if it has no `message`, `response` or `done`.
    """
    error = chunk.get("error")
    if error in ("", {}, []):
        return not ("message" in chunk or "response" in chunk or "done" in chunk)
    return error is not None


# An object without any of these keys contains no part of an answer.
ANSWER_KEYS = frozenset(("message", "response", "choices"))


def holds_answer(chunk: Mapping[str, Any]) -> bool:
    """Return True if a chunk contains part of an answer. A server may also send other objects, such as debug output."""
    return not (is_error(chunk) or chunk.keys().isdisjoint(ANSWER_KEYS))


# The key of an error line for a message that has not been printed yet: the next filter prints it.
REPORT = "report"

# The kinds of lines. A chunk is an object of a response, as the server sent it.
CHUNK, ERROR, REQUEST, MESSAGE = "chunk", "error", "request", "message"
# An object without any of these keys is a chunk.
KIND_KEYS = frozenset(("error", "request", "role", "custom_id"))


def line_kind(line: Mapping[str, Any]) -> str:
    """Return the kind of a line: CHUNK, ERROR, REQUEST or MESSAGE.

    An object with `message` or `response` is a chunk, even if the server adds `request` or `role`, unless it is an
    error line.
    """
    if is_error(line):
        return ERROR
    if "message" in line or "response" in line:
        return CHUNK
    return REQUEST if "request" in line else MESSAGE if "role" in line else CHUNK


def classify(line: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the kind of a line and the line. A record of an OpenAI batch output file is converted first.

    A filter reads such records, so a record with an error is a failure for the commands that write lines, too.
    """
    kind = line_kind(line)
    if kind == CHUNK and is_openai_record(line):
        from ostream.protocol.openai import chunk_of

        line = chunk_of(line)
        kind = line_kind(line)
    return kind, line


def is_openai_record(line: Mapping[str, Any]) -> bool:
    """Return True if a line is a record of an OpenAI batch output file.

    `custom_id` alone is not enough, because a server may add `custom_id` to an ordinary chunk.
    """
    return (
        "custom_id" in line
        and isinstance(line.get("response", {}), (dict, type(None)))
        and not ("message" in line or "done" in line)
    )


def trusted_status(line: Mapping[str, Any]) -> int | None:
    """Return the `exit_status` of an error line if it is in CLAIMABLE_STATUSES, else None."""
    status = line.get("exit_status")
    return status if type(status) is int and status in CLAIMABLE_STATUSES else None


def line_status(line: Mapping[str, Any]) -> int:
    """Return the exit status for an error line.

    This is the result of `trusted_status`, or else the exit status of the ResponseError for the line.
    """
    return trusted_status(line) or response_error(line).exit_status


def response_error(line: Mapping[str, Any]) -> ResponseError:
    """Return a ResponseError for an error object from a server, in any of the known formats."""
    code = line.get("StatusCode", line.get("status_code"))
    url = line.get("signin_url")
    return ResponseError(
        error_text(line.get("error")),
        code if type(code) is int else -1,
        signin_url=url if isinstance(url, str) else "",
    )


def error_text(error: Any) -> str:
    """Return the message in the `error` value of an error object.

    The value is text, an object with a `message`, or text that begins with the JSON of an object with `error` or
    `message`.
    """
    if isinstance(error, str) and error.lstrip().startswith("{"):
        # The server may quote JSON from the model runner and append a remark.
        try:
            quoted = decode_first(error.lstrip())[0]
            error = quoted.get("error") or (quoted if "message" in quoted else error)
        except (ValueError, RecursionError):
            pass
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        error = error["message"]
    if isinstance(error, str):
        return error.strip() or "error without a message"
    import json

    try:
        return json.dumps(error)
    except RecursionError:
        return "error nested too deeply"
