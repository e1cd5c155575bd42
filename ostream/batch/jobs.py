"""Build the requests of a batch (jobs) from the rows of the input and the defaults of the command line.

A row is one of these:
- a request body for Ollama, with `messages` or `prompt`;
- a prompt: a JSON string or a line of text;
- a request line, as `send --dry-run` prints it;
- a record of an OpenAI batch file.

The row's `id` (or `custom_id`) is returned with the answer. If a row has no id, its id is its position in the input,
counted from 0.
"""

from __future__ import annotations

import hashlib
import json

from ostream.errors import OstreamError, RequestError
from ostream.protocol.canonical import canonical_body
from ostream.protocol.request import CHAT, GENERATE, encode_body, override, with_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

# The addresses that a request line or a record of an OpenAI batch file may have: a path, never another host.
PATHS = ("/v1/chat/completions", "/v1/completions", CHAT, GENERATE)

_quote = json.encoder.encode_basestring_ascii


class RequestDefaults:
    """Fields that the command line sets in all requests.

    Arguments:
        model: the model of all requests; overrides the model of a row.
        default_model: the model of requests whose row names none.
        generate: True to send prompts to /api/generate instead of /api/chat.
        system: the system message of all requests; overrides the system message of a row.
        fields: fields of all requests; override the fields of a row.
        stream: the value of `stream` in requests to /api/chat and /api/generate.
        chat_fields, generate_fields: like `fields`, for one endpoint only.
    """

    def __init__(
        self,
        model: str | None = None,
        default_model: str | None = None,
        generate: bool = False,
        system: str | None = None,
        fields: Mapping[str, Any] | None = None,
        stream: bool = False,
        chat_fields: Mapping[str, Any] | None = None,
        generate_fields: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.default_model = default_model
        self.generate = generate
        self.system = system
        self.fields = _given(fields)
        self.overrides = {  # for each endpoint, the fields that replace those of a row
            CHAT: {**self.fields, **_given(chat_fields), "stream": stream},
            GENERATE: {**self.fields, **_given(generate_fields), "stream": stream},
        }

    def body(self, prompt: str, images: Sequence[str] = ()) -> dict[str, Any]:
        """Return the request body for a prompt with base64 images."""
        media = {"images": list(images)} if images else {}
        if self.generate:
            return {"prompt": prompt, **media}
        return {"messages": [{"role": "user", "content": prompt, **media}]}


def _given(fields: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (fields or {}).items() if value is not None}


class Job:
    """One request and the id of its answer. If the request can't be sent, `failure` is the reason.

    `number` is the row's position in the input. `name` and `lineno` are the file and line of the row, for messages. A
    job whose id is None represents an input that can't be read.
    """

    # Defaults in the class: setting them for each row would take 5 % of the time to read it.
    openai = False  # True for a record of an OpenAI batch file; its answer is also such a record
    path = ""
    body_sha256 = ""
    row_sha256 = ""  # hash of the cells that the prompt was made from
    row_columns: Sequence[str] = ()
    overridden: tuple[str, ...] = ()  # fields of the row that an option replaced
    failure: OstreamError | None = None

    def __init__(self, number: int | None = None, name: str = "", lineno: int = 0) -> None:
        self.id: Any = number
        self.number = number
        self.name = name
        self.lineno = lineno
        self.body: dict[str, Any] = {}

    @property
    def where(self) -> str:
        """The file and, if known, the line of the row."""
        return f"{self.name}:{self.lineno}" if self.lineno else self.name

    @property
    def key(self) -> bytes:
        """The id in a form that distinguishes 1 from "1"."""
        return key_of(self.id)

    def encode(self) -> bytes:
        """Return the request body as bytes."""
        return encode_body(self.body)

    def tag(self) -> dict[str, Any]:
        """Return the keys that are appended to the answer, such as the id and the hashes."""
        tag: dict[str, Any] = {} if self.id is None else {"id": self.id}
        if self.body_sha256:
            tag["body_sha256"] = self.body_sha256
        if self.row_sha256:
            tag["row_sha256"], tag["row_columns"] = self.row_sha256, self.row_columns
        return tag

    def dump(self) -> bytes:
        """Return the job as a line that `load` can read. The job must not have a failure."""
        return json.dumps(vars(self)).encode() + b"\n"

    @classmethod
    def load(cls, line: bytes) -> Job:
        """Return the job in a line that `dump` returned."""
        job = cls()
        vars(job).update(json.loads(line))
        return job


def key_of(id: Any) -> bytes:
    """Return an id as JSON. 1 and "1" are different ids."""
    if type(id) is int:
        return b"%d" % id  # json.dumps takes 15 times as long
    return (_quote(id) if type(id) is str else json.dumps(id)).encode()


def is_request_line(line: dict[str, Any] | str) -> bool:
    """True for the request line of a chat or generate request. Recordings may contain other requests, too."""
    request = line.get("request") if isinstance(line, dict) else None
    return isinstance(request, dict) and request.get("method", "POST") == "POST" and request.get("path") in PATHS


def set_request(job: Job, request: dict[str, Any] | str, defaults: RequestDefaults) -> None:
    """Set the request of a job from the value of its row. Raises RequestError if the value is not a request."""
    if isinstance(request, str):
        _set_body(job, defaults.body(request), defaults)
    elif "request" in request and is_request_line(request):
        _set_request_line(job, request, defaults)
    elif "custom_id" in request or "url" in request:
        _set_openai_record(job, request, defaults)
    else:
        set_id(job, request.pop("id", None))
        _set_body(job, request, defaults)


def set_prompt(job: Job, prompt: str, images: Sequence[str], defaults: RequestDefaults) -> None:
    """Set the request of a job from a prompt and base64 images."""
    _set_body(job, defaults.body(prompt, images), defaults)


def set_id(job: Job, id: Any) -> None:
    """Set the id of a job to the id of its row, if the row has one. Raises RequestError for an invalid id."""
    if type(id) in (str, int):
        job.id = id
    elif id is not None:
        raise RequestError("id: must be a string or an integer")


def _set_body(job: Job, body: dict[str, Any], defaults: RequestDefaults, path: str | None = None) -> None:
    if path is None:
        # Tables that were converted to JSON have each column in each row: null is no prompt, and [] no messages.
        has_prompt = body.get("prompt") is not None
        if not has_prompt and body.get("messages") is None:
            raise _no_prompt(body)
        path = GENERATE if has_prompt and not body.get("messages") else CHAT
    model = defaults.model or body.get("model") or defaults.default_model
    if not model:
        raise RequestError("no model given", advice='use -m NAME, set OLLAMA_MODEL, or add "model" to each request')
    overrides = defaults.overrides.get(path)
    if overrides is None:
        if defaults.fields or defaults.system is not None:
            raise RequestError(f"{path}: only -m applies to this path, no other request option")
        overrides = {"stream": False} if "stream" in body else {}
    elif defaults.system is not None:
        overrides = {**overrides, **_system(job, body, defaults.system, path)}
    if "model" in body or not body.keys().isdisjoint(overrides):
        job.overridden += _replaced(body, {"model": model, **overrides})
    job.path, job.body = path, override(body, overrides)
    job.body["model"] = model
    canonical = canonical_body(job.body)
    if b'"images"' in canonical:
        _check_images(body)
    job.body_sha256 = hashlib.sha256(canonical).hexdigest()


def _replaced(body: dict[str, Any], overrides: dict[str, Any]) -> tuple[str, ...]:
    """Return the fields of a row that an option replaces by another value. Options are merged, not replaced."""
    names = (name for name in overrides if name not in ("stream", "options", "messages"))
    return tuple(name for name in names if body.get(name) not in (None, "", overrides[name]))


def _no_prompt(body: dict[str, Any]) -> RequestError:
    texts = [name for name in body if name.isidentifier() and isinstance(body[name], str)]
    found = f" (it has {', '.join(list(body)[:8])})" if body else ""
    return RequestError(
        f'a request needs "messages" or "prompt"{found}',
        advice=f"if .{texts[0]} is the prompt: jq -c '{{prompt: .{texts[0]}}}' FILE" if texts else "",
    )


def _system(job: Job, body: dict[str, Any], system: str, path: str) -> dict[str, Any]:
    if path == GENERATE:
        return {"system": system}
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise RequestError("messages: must be an array")
    new = with_system(messages, system)
    if len(new) == len(messages) and new[0] != messages[0]:
        job.overridden += ("system",)
    return {"messages": new}


def _check_images(body: dict[str, Any]) -> None:
    """Raise RequestError for an image that is a URL, because servers accept only base64."""
    messages = body.get("messages")
    for holder in [body, *(messages if isinstance(messages, list) else ())]:
        if not isinstance(holder, dict) or "images" not in holder:
            continue
        images = holder["images"]
        for image in images if isinstance(images, list) else ():
            if isinstance(image, str) and image[:8].lower().startswith(("data:", "http:", "https:")):
                raise RequestError(
                    "images: must be base64, not a URL",
                    advice="download the image; from a data: URL, send only the part after the comma",
                )


def _set_request_line(job: Job, line: dict[str, Any], defaults: RequestDefaults) -> None:
    request = line["request"]
    set_id(job, line.get("id"))
    body = request.get("body")
    if not isinstance(body, dict):
        raise RequestError("body: must be an object")
    _set_body(job, body, defaults, request["path"])


def _set_openai_record(job: Job, record: dict[str, Any], defaults: RequestDefaults) -> None:
    job.openai = True
    set_id(job, record.get("custom_id"))
    method, url, body = record.get("method"), record.get("url"), record.get("body")
    if method != "POST":
        raise RequestError(f"method {_excerpt(method)}: must be POST")
    if url not in PATHS:
        raise RequestError(f"url {_excerpt(url)}: must be one of {', '.join(PATHS)}, without scheme and host")
    if not isinstance(body, dict):
        raise RequestError("body: must be an object")
    _set_body(job, body, defaults, url)


def _excerpt(value: Any) -> str:
    return json.dumps(value)[:200]
