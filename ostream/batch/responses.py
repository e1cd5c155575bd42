"""Turn the body of a response into one complete answer, and an answer or a failure into an output line."""

from __future__ import annotations

import hashlib

from ostream.errors import EmptyError, IncompleteStream, LengthError, OstreamError, ResponseError
from ostream.protocol.accumulator import Accumulator
from ostream.protocol.chunk import content, tool_calls
from ostream.protocol.error_lines import CHUNK, ERROR, KIND_KEYS, REQUEST, classify, response_error
from ostream.protocol.json_codec import strict_decoder
from ostream.protocol.ndjson import decode_server_lines, encode_line, is_object_prefix, split_lines
from ostream.protocol.openai import chunk_of, counts
from ostream.protocol.request import CHAT, GENERATE
from ostream.protocol.response_lines import join_indented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator

    from ostream.batch.jobs import Job

# Keys that have a meaning in the lines that ostream writes. They are removed from a server's answer, because programs
# that read the line would misunderstand them.
OWN_KEYS = frozenset(
    ("id", "custom_id", "body_sha256", "row_sha256", "row_columns", "elapsed", "exit_status", "request", "role")
)
# Number of lines, and of bytes, between two checks of the timeouts.
_LINES_PER_CHECK = 1000
_BYTES_PER_CHECK = 1 << 16


class FormatError(ResponseError):
    """The answer is complete, but not in the format that the request asked for."""


def complete_answer(
    path: str, data: bytes, check: Callable[[], object] = lambda: None, may_be_indented: bool = True
) -> dict[str, Any]:
    """Return the complete answer in the body of a response. The chunks of a stream are combined into one object.

    The rules for a complete body are the same as in `send`.

    Arguments:
        path: the path of the request, which determines when an answer is complete.
        data: the body of the response.
        check: called every 1,000 lines and every 64 KiB; may raise an error, such as a timeout.
        may_be_indented: True to accept a body that is one object on several lines.

    Raises ResponseError if the body contains an error or can't be decoded, and IncompleteStream if the answer is not
    complete. The `partial` of IncompleteStream is the part that was received.
    """
    lines = _lines(data, check, may_be_indented)
    total = Accumulator()
    chunk: dict[str, Any] = {}
    is_open = False  # the last chunk has no "done":true
    try:
        for chunk in _chunks(path, data, lines, check):
            is_open = chunk.get("done") is not True
            if not total.done:
                total.add(chunk)
        if not total.chunks:
            raise IncompleteStream("the answer contains no chunk" if lines else "the answer is empty")
        answer = chunk if len(lines) == 1 else total.response
        if path not in (CHAT, GENERATE):
            if not isinstance(answer.get("choices"), list):
                raise IncompleteStream('the answer has no "choices"')
        elif is_open:
            place = " after its last chunk" if total.done else ""
            raise IncompleteStream(f'the answer has no "done": true{place}')
    except IncompleteStream as error:
        is_stream = len(lines) > 1 and total.chunks and not total.done
        raise _with_partial(error, encode_line(total.response)[:-1] if is_stream else data) from None
    return answer


def _with_partial(error: OstreamError, data: bytes) -> OstreamError:
    error.partial = data or None
    return error


def _lines(data: bytes, check: Callable[[], object], may_be_indented: bool) -> list[bytes]:
    """Return the lines that are not blank. An indented object becomes one line."""
    if data.find(b"\n", 0, -1) < 0:  # the usual case: one object
        return [data] if data.strip(b" \t\r\n") else []
    # In blocks: joining a list of all lines would take 80 bytes for each blank line.
    blocks = split_lines(_blocks(data, check))
    lines: list[bytes] = []
    for block in join_indented(blocks) if may_be_indented else blocks:
        lines += [line for line in block if line.strip(b" \t\r\n")]
    return lines


def _blocks(data: bytes, check: Callable[[], object]) -> Iterator[bytes]:
    for start in range(0, len(data), _BYTES_PER_CHECK):
        check()
        yield data[start : start + _BYTES_PER_CHECK]


def _chunks(path: str, data: bytes, lines: list[bytes], check: Callable[[], object]) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a body. Raises ResponseError and IncompleteStream for lines that are not chunks."""
    for start in range(0, len(lines), _LINES_PER_CHECK):
        check()
        block = lines[start : start + _LINES_PER_CHECK]
        decoded, damage = decode_server_lines(block)
        for chunk in decoded:
            if chunk is None:
                continue
            kind, read = (CHUNK, chunk) if chunk.keys().isdisjoint(KIND_KEYS) else classify(chunk)
            if kind == ERROR:
                raise response_error(read)
            if path not in (CHAT, GENERATE):
                kind = CHUNK  # the other kinds are defined only for the lines of Ollama's own API
            if kind == REQUEST:
                raise _with_partial(ResponseError("the answer contains a request line"), data)
            if kind == CHUNK:
                yield chunk
        if damage and is_object_prefix(damage.line):
            raise IncompleteStream("the answer is truncated")
        if damage:
            raise _with_partial(ResponseError(f"the answer: {damage}"), data)


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
        value = strict_decoder().decode(text)
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
    if job.row_sha256 or b"\\" in job.key:
        return body[:-1].rstrip() + b"," + encode_line(job.tag())[1:]
    return b'%b,"id":%b,"body_sha256":"%b"}\n' % (body[:-1].rstrip(), job.key, job.body_sha256.encode())


def failure_line(job: Job, error: OstreamError) -> bytes:
    """Return the error line of a request that failed, with its id."""
    line = error.error_line()
    if not job.openai:
        return encode_line({**line, **job.tag()})
    code = line.get("status_code")
    response = None
    if code is not None:
        body = {**getattr(error, "server_error", {}), "message": error.error}
        response = {"status_code": code, "request_id": "", "body": {"error": body}}
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
