"""A batch on paper: lines that ask to requests, answers to lines that tell them by their id.

A request is a body of Ollama's own (`messages` or `prompt`), a JSON string or a line of text, which is a prompt, or a
record of OpenAI's batch files. Its `id`, or `custom_id`, or else the number of its line, comes back with the answer.
"""

from __future__ import annotations

import hashlib
import json
import re

from ostream.errors import IncompleteStream, NotNDJSON, OstreamError, RequestError, ResponseError
from ostream.protocol.accumulator import Accumulator
from ostream.protocol.error_lines import is_error, response_error
from ostream.protocol.ndjson import decode_line, encode_line, is_torn, strict
from ostream.protocol.openai import counts
from ostream.protocol.request import CHAT, GENERATE, encode_body, override, with_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

# What a record of OpenAI's may ask for: a path, never a host.
PATHS = ("/v1/chat/completions", "/v1/completions", CHAT, GENERATE)
# Of an answer that is not whole, so much goes into its error line.
PARTIAL_LIMIT = 1 << 20


class Settings:
    """What is said once for all requests; `model` wins over that of a body, `default_model` is for those without."""

    def __init__(
        self,
        model: str | None = None,
        default_model: str | None = None,
        generate: bool = False,
        system: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.default_model = default_model
        self.generate = generate
        self.system = system
        self.fields = {name: value for name, value in (fields or {}).items() if value is not None}


class Job:
    """One request: what to send where, and by which id its answer is told; or `failure`, why it can't be sent."""

    def __init__(self, id: Any = None) -> None:
        self.id = id  # None: of no request, but of an input
        self.openai = False  # asked, and so answered, in that format
        self.path = ""
        self.body = b""
        self.body_sha256 = ""
        self.failure: OstreamError | None = None

    @property
    def key(self) -> bytes:
        """The id as bytes: 1 and "1" are two ids."""
        return key_of(self.id)


def key_of(id: Any) -> bytes:
    return json.dumps(id).encode()


def job_of(line: bytes, number: int, settings: Settings, as_text: bool = False) -> Job | None:
    """The request on a line of the input, or None for a blank one; `number` is its id if it names none.

    `as_text`: the line is a prompt as it is. What is wrong with it is the `failure` of the job.
    """
    job = Job(number)
    if not line.strip():
        return None
    try:
        request = _text(line) if as_text else _value(line)
        if isinstance(request, str):
            _ask(job, _prompt(request, settings), settings)
        elif "custom_id" in request or "url" in request:
            _ask_openai(job, request, settings)
        else:
            job.id = _id(request.pop("id", None), number)
            _ask(job, request, settings)
    except OstreamError as error:
        job.failure = error
    return job


def _text(line: bytes) -> str:
    """A line of a text file; what its editor puts around it, a byte order mark or CRLF, is no text."""
    return re.sub("^\ufeff|\r?\n$", "", line.decode("utf-8", "replace"))


def _value(line: bytes) -> dict[str, Any] | str:
    text = line.decode("utf-8", "replace").lstrip("\ufeff").strip()
    if text.startswith('"'):
        try:
            value: str = strict.decode(text)
            return value
        except ValueError:
            pass  # decode_line says what is wrong
    try:
        return decode_line(line) or {}
    except NotNDJSON as error:
        if not text.startswith(("{", '"')):  # a request that is damaged is no prompt
            error.advice = "with --lines, each line is a prompt as it is"
        raise


def _id(id: Any, number: int) -> Any:
    if id is None:
        return number
    if isinstance(id, bool) or not isinstance(id, (str, int)):
        raise RequestError("id: must be a string or a whole number")
    return id


def _prompt(text: str, settings: Settings) -> dict[str, Any]:
    return {"prompt": text} if settings.generate else {"messages": [{"role": "user", "content": text}]}


def _ask(job: Job, body: dict[str, Any], settings: Settings, path: str | None = None) -> None:
    """Make this body what the job sends: with what the settings say, and not streaming."""
    if path is None:
        if "messages" not in body and "prompt" not in body:
            raise RequestError("neither messages nor a prompt in it")
        path = CHAT if "messages" in body else GENERATE
    model = settings.model or body.get("model") or settings.default_model
    if not model:
        raise RequestError("no model", advice="name one in the body, with -m or with OLLAMA_MODEL")
    ours: dict[str, Any] = {"model": model, **settings.fields}
    if path not in (CHAT, GENERATE):
        if settings.fields or settings.system is not None:
            raise RequestError(f"{path}: of the request's options, only -m is for this path")
        if "stream" in body:
            ours["stream"] = False
    else:
        ours["stream"] = False
        if settings.system is not None:
            ours.update(_system(body, settings.system, path))
    job.path, job.body = path, encode_body(override(body, ours))
    job.body_sha256 = hashlib.sha256(job.body).hexdigest()


def _system(body: dict[str, Any], system: str, path: str) -> dict[str, Any]:
    if path == GENERATE:
        return {"system": system}
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise RequestError("messages: must be an array")
    return {"messages": with_system(messages, system)}


def _ask_openai(job: Job, record: dict[str, Any], settings: Settings) -> None:
    job.openai = True
    job.id = _id(record.get("custom_id"), job.id)
    method, url, body = record.get("method"), record.get("url"), record.get("body")
    if method != "POST":
        raise RequestError(f"method {_shown(method)}: must be POST")
    if url not in PATHS:
        raise RequestError(f"url {_shown(url)}: must be one of {', '.join(PATHS)}, without a scheme or a host")
    if not isinstance(body, dict):
        raise RequestError("body: must be an object")
    _ask(job, body, settings, url)


def _shown(value: Any) -> str:
    return json.dumps(value)[:200]


def answer_of(path: str, data: bytes) -> dict[str, Any]:
    """The whole answer in a body; chunks, as a server may send that streams all the same, are folded.

    Raises ResponseError for an error in it, and IncompleteStream, with what came as `partial`, for one that is not
    whole.
    """
    answer = _fold(data)
    if is_error(answer):
        raise response_error(answer)
    if path in (CHAT, GENERATE):
        whole, missing = answer.get("done") is True, "done: true"
    else:
        whole, missing = isinstance(answer.get("choices"), list), "choices"
    if not whole:
        raise _with_partial(
            IncompleteStream(f"the answer is without {missing}" if answer else "the answer is empty"), data
        )
    return answer


def _with_partial(error: OstreamError, data: bytes) -> OstreamError:
    error.partial = data[:PARTIAL_LIMIT] or None
    return error


def _fold(data: bytes) -> dict[str, Any]:
    try:
        chunks = [decode_line(line) for line in data.split(b"\n")]
    except NotNDJSON as error:
        try:
            chunks = [decode_line(data)]  # one object on several lines
        except NotNDJSON:
            cut = is_torn(error.line)
            failure = IncompleteStream("the answer was cut") if cut else ResponseError(f"the answer: {error}")
            raise _with_partial(failure, data) from None
    present = [chunk for chunk in chunks if chunk is not None]
    if len(present) == 1:
        return present[0]
    whole = Accumulator()
    for chunk in present:
        if is_error(chunk):
            return chunk
        if not whole.done:
            whole.add(chunk)
    return whole.response if present else {}


def answer_line(job: Job, answer: dict[str, Any], data: bytes, status_code: int = 200, request_id: str = "") -> bytes:
    """The line of an answer: the server's object as it came, with `id` and `body_sha256` as its last keys; for a record
    of OpenAI's, their response record."""
    if job.openai:
        response = {"status_code": status_code, "request_id": request_id, "body": answer}
        return _openai_line(job, response, None)
    tag = {"id": job.id, "body_sha256": job.body_sha256}
    body = data.strip()
    if b"\n" in body or not body.startswith(b"{") or "id" in answer or "body_sha256" in answer:
        return encode_line({**answer, **tag})
    return body[:-1].rstrip() + b"," + encode_line(tag)[1:]


def failure_line(job: Job, error: OstreamError) -> bytes:
    """The error line of a request that failed, with its id."""
    line = error.error_line()
    if job.openai:
        code = line.get("status_code")
        response = None
        if code is not None:
            response = {"status_code": code, "request_id": "", "body": {"error": {"message": error.error}}}
        said = {"code": str(code or line["exit_status"]), "message": error.error}
        more = {name: line[name] for name in ("partial", "exit_status") if name in line}
        return _openai_line(job, response, said, **more)
    if job.id is not None:
        line["id"] = job.id
    if job.body_sha256:
        line["body_sha256"] = job.body_sha256
    return encode_line(line)


def _openai_line(job: Job, response: dict[str, Any] | None, error: dict[str, Any] | None, **more: Any) -> bytes:
    # Theirs is a name of the request within the batch; so is ours, and the same in every run.
    name = hashlib.sha256(job.key + job.body_sha256.encode()).hexdigest()[:24]
    record = {"id": f"batch_req_{name}", "custom_id": job.id, "response": response, "error": error, **more}
    if job.body_sha256:
        record["body_sha256"] = job.body_sha256
    return encode_line(record)


def entry_of(line: dict[str, Any]) -> tuple[bytes, str] | None:
    """The key and the body's hash of an answer that was written; None for a failure. Raises ValueError for what batch
    never wrote."""
    if is_error(line):
        return None
    id = line.get("custom_id", line.get("id"))
    sha256 = line.get("body_sha256")
    if id is None or not isinstance(sha256, str) or len(sha256) != 64 or sha256.strip("0123456789abcdef"):
        raise ValueError("not an answer that batch wrote")
    return key_of(id), sha256


def measurable(answer: dict[str, Any]) -> dict[str, Any]:
    """The counts of an answer where Ollama's own API has them."""
    return counts(answer) or answer
