"""Turn the body of a response into one complete answer, and an answer or a failure into an output line."""

from __future__ import annotations

import hashlib
import json

from ostream.errors import EmptyError, IncompleteStream, LengthError, NotNDJSON, OstreamError, ResponseError
from ostream.protocol.accumulator import Accumulator
from ostream.protocol.chunk import content, tool_calls
from ostream.protocol.error_lines import is_error, response_error
from ostream.protocol.ndjson import decode_line, encode_line, is_torn
from ostream.protocol.openai import chunk_of, counts
from ostream.protocol.request import CHAT, GENERATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ostream.batch.jobs import Job

# At most this many bytes of an incomplete answer are copied into its error line.
PARTIAL_LIMIT = 1 << 20
# Keys that have a meaning in the lines that ostream writes. They are removed from a server's answer, because programs
# that read the line would misunderstand them.
OWN_KEYS = frozenset(
    ("id", "custom_id", "body_sha256", "row_sha256", "row_columns", "elapsed", "exit_status", "request", "role")
)
# Number of lines between two checks of the timeouts.
_LINES_PER_CHECK = 1000


class FormatError(ResponseError):
    """The answer is complete, but not in the format that the request asked for."""


def complete_answer(path: str, data: bytes, check: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """Return the complete answer in the body of a response. The chunks of a stream are combined into one object.

    Arguments:
        path: the path of the request, which determines when an answer is complete.
        data: the body of the response.
        check: called every 1,000 lines; may raise an error, such as a timeout.

    Raises ResponseError if the body contains an error or can't be decoded, and IncompleteStream if the answer is not
    complete. The `partial` of IncompleteStream is the part that was received.
    """
    answer = _fold(data, check)
    if is_error(answer):
        raise response_error(answer)
    if path in (CHAT, GENERATE):
        is_complete, missing = answer.get("done") is True, '"done": true'
    else:
        is_complete, missing = isinstance(answer.get("choices"), list), '"choices"'
    if not is_complete:
        error = IncompleteStream(f"the answer has no {missing}" if answer else "the answer is empty")
        raise _with_partial(error, encode_line(answer)[:-1] if b"\n" in data.strip() else data)
    return answer


def _with_partial(error: OstreamError, data: bytes) -> OstreamError:
    error.partial = data[:PARTIAL_LIMIT] or None
    return error


def _fold(data: bytes, check: Callable[[], object]) -> dict[str, Any]:
    total = Accumulator()
    # Skip blank lines here, where they take little time even if a server sends millions of them.
    lines = [line for line in data.split(b"\n") if line and not line.isspace()]
    for number, line in enumerate(lines):
        if number % _LINES_PER_CHECK == 0:
            check()
        try:
            chunk = decode_line(line) or {}
        except NotNDJSON as error:
            return _pretty_printed(data, error, total)
        if is_error(chunk):
            return chunk
        if len(lines) == 1:
            return chunk
        if not total.done:
            total.add(chunk)
    return total.response if lines else {}


def _pretty_printed(data: bytes, error: NotNDJSON, total: Accumulator) -> dict[str, Any]:
    """Decode a body that is one object on several lines. If it is not one, raise an error about the first bad line."""
    try:
        return decode_line(data) or {}
    except NotNDJSON:
        pass
    # If the bad line is the last line and the beginning of an object, the rest of the answer is missing.
    # Otherwise the body is damaged.
    is_truncated = data.rstrip().endswith(error.line.rstrip()) and is_torn(error.line)
    failure = IncompleteStream("the answer is truncated") if is_truncated else ResponseError(f"the answer: {error}")
    raise _with_partial(failure, encode_line(total.response)[:-1] if is_truncated and total.chunks else data) from None


def check_answer(job: Job, answer: dict[str, Any], fail_on_length: bool = False, fail_on_empty: bool = False) -> None:
    """Raise an error for a complete answer that does not meet the requirements.

    LengthError: a length limit truncated the answer, and either `fail_on_length` is set or the format is wrong.
    FormatError: the answer does not have the format that the request asks for.
    EmptyError: `fail_on_empty` is set, and the answer has no text, tool call or image.
    """
    chunk = chunk_of({"custom_id": None, "response": {"body": answer}}) if "choices" in answer else answer
    is_truncated = chunk.get("done_reason") == "length"
    if fail_on_length and is_truncated:
        raise LengthError("the answer was truncated by a limit (done_reason: length)")
    text = content(chunk)
    if tool_calls(chunk):
        return
    wrong = _format_error(_requested_format(job), text)
    if wrong and is_truncated:
        raise LengthError(f"{wrong}: truncated by a limit (done_reason: length)", advice="raise num_predict")
    if wrong:
        raise FormatError(wrong)
    if fail_on_empty and not text.strip() and not _has_image(chunk):
        raise EmptyError("the answer is empty")


def _requested_format(job: Job) -> Any:
    """Return the format that the request asks for: "json", a JSON schema, or None."""
    if job.path in (CHAT, GENERATE):
        return job.body.get("format") or None
    form = job.body.get("response_format")
    if not isinstance(form, dict):
        return None
    if form.get("type") == "json_schema" and isinstance(form.get("json_schema"), dict):
        return form["json_schema"].get("schema") or "json"
    return "json" if form.get("type") == "json_object" else None


def _format_error(form: Any, text: str) -> str:
    if form is None:
        return ""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "the answer is not JSON, which the request's format asks for"
    required = form.get("required") if isinstance(form, dict) else None
    if isinstance(required, list):
        keys = value if isinstance(value, dict) else {}
        missing = [key for key in required if isinstance(key, str) and key not in keys]
        if missing:
            return f"the answer lacks {', '.join(missing)}, which the schema requires"
    return ""


def _has_image(chunk: dict[str, Any]) -> bool:
    message = chunk.get("message")
    return bool(chunk.get("image") or (isinstance(message, dict) and message.get("images")))


def answer_line(job: Job, answer: dict[str, Any], data: bytes, status_code: int = 200, request_id: str = "") -> bytes:
    """Return the output line of an answer: the server's object, then the id and the request's hash.

    The object is copied byte for byte if possible. A record of an OpenAI batch file is answered with a record.
    """
    if job.openai:
        return _openai_line(job, {"status_code": status_code, "request_id": request_id, "body": answer}, None)
    body = data.strip()
    if b"\n" in body or not body.startswith(b"{") or not answer.keys().isdisjoint(OWN_KEYS):
        answer = {name: value for name, value in answer.items() if name not in OWN_KEYS}
        return encode_line({**answer, **job.tag()})
    return body[:-1].rstrip() + b"," + encode_line(job.tag())[1:]


def failure_line(job: Job, error: OstreamError) -> bytes:
    """Return the error line of a request that failed, with its id."""
    line = error.error_line()
    if not job.openai:
        return encode_line({**line, **job.tag()})
    code = line.get("status_code")
    response = None
    if code is not None:
        response = {"status_code": code, "request_id": "", "body": {"error": {"message": error.error}}}
    details = {name: line[name] for name in ("partial", "exit_status") if name in line}
    return _openai_line(job, response, {"code": str(code or line["exit_status"]), "message": error.error}, **details)


def _openai_line(job: Job, response: dict[str, Any] | None, error: dict[str, Any] | None, **details: Any) -> bytes:
    # The name of the request in the batch; it is the same in every run.
    name = hashlib.sha256(job.key + job.body_sha256.encode()).hexdigest()[:24]
    record = {"id": f"batch_req_{name}", "custom_id": job.id, "response": response, "error": error, **details}
    if job.body_sha256:
        record["body_sha256"] = job.body_sha256
    return encode_line(record)


def measurable(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the token counts of an OpenAI answer under Ollama's names, or any other answer unchanged."""
    return counts(answer) or answer
