"""Error lines and error answers: what the server meant by them, and what an error line may claim."""

from __future__ import annotations

import json
import re

from ostream.errors import CLAIMABLE_STATUSES, REJECTED, ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping


# How replay begins its 404, which says all there is to say.
NO_RECORDING = "no recording"


def is_error(chunk: Mapping[str, Any]) -> bool:
    """Is this an error line? An empty `error` on an otherwise normal chunk is not."""
    error = chunk.get("error")
    if error in ("", {}, []):
        return not ("message" in chunk or "response" in chunk or "done" in chunk)
    return error is not None


# The key of an error line that holds a message nobody has printed yet: the next filter prints it.
REPORT = "report"

# The kinds of lines. A chunk is an object as the server sends it.
CHUNK, ERROR, REQUEST, MESSAGE = "chunk", "error", "request", "message"
# An object without any of these keys is a chunk.
KIND_KEYS = frozenset(("error", "request", "role"))


def line_kind(line: Mapping[str, Any]) -> str:
    """Return the kind of a line: CHUNK, ERROR, REQUEST or MESSAGE.

    An object with `message` or `response` is a chunk whatever other keys a server gives it, unless it is an error.
    """
    if is_error(line):
        return ERROR
    if "message" in line or "response" in line:
        return CHUNK
    return REQUEST if "request" in line else MESSAGE if "role" in line else CHUNK


def is_openai_record(line: Mapping[str, Any]) -> bool:
    """True for a line of an OpenAI batch output file; a server may give `custom_id` to an ordinary chunk."""
    return (
        "custom_id" in line
        and isinstance(line.get("response", {}), (dict, type(None)))
        and not ("message" in line or "done" in line)
    )


def trusted_status(line: Mapping[str, Any]) -> int | None:
    """The exit status an error line carries, when it is one that an error line may claim."""
    status = line.get("exit_status")
    return status if type(status) is int and status in CLAIMABLE_STATUSES else None


def line_status(line: Mapping[str, Any]) -> int:
    """The exit status an error line stands for."""
    return trusted_status(line) or REJECTED


def response_error(line: Mapping[str, Any]) -> ResponseError:
    """The error that a server's error object stands for, whatever its shape."""
    code = line.get("StatusCode", line.get("status_code"))
    url = line.get("signin_url")
    return ResponseError(
        error_text(line.get("error")),
        code if type(code) is int else -1,
        signin_url=url if isinstance(url, str) else "",
    )


def error_text(error: Any) -> str:
    """The words in an `error` value: text, an object with a `message`, or either of them as JSON inside text."""
    if isinstance(error, str) and error.lstrip().startswith("{"):
        # A runner's answer is sometimes quoted whole, with a remark behind it.
        try:
            quoted = json.JSONDecoder().raw_decode(error.lstrip())[0]
            error = quoted.get("error") or (quoted if "message" in quoted else error)
        except (ValueError, RecursionError):
            pass
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        error = error["message"]
    if isinstance(error, str):
        return error.strip() or "an error without a message"
    try:
        return json.dumps(error)
    except RecursionError:
        return "an error nested too deeply"


def error_from_http_body(status_code: int, body: bytes) -> ResponseError:
    """The error in the body of an HTTP error answer: Ollama's, a proxy's, or none."""
    text = body.decode("utf-8", "replace").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and value.get("error") is not None:
        error = response_error(value)
        error.status_code = status_code
    elif isinstance(value, dict) and value.get("detail") is not None:
        error = ResponseError(error_text(value["detail"]), status_code)
    else:
        error = ResponseError(_excerpt(text) or "an empty answer", status_code)
    error.advice = _advice(status_code, error, json_error=isinstance(value, dict) and "error" in value)
    return error


def _excerpt(text: str) -> str:
    title = re.search(r"<title[^<>]*>([^<]*)", text[:100_000], re.IGNORECASE)
    words = " ".join((title.group(1) if title else text[:1000]).split())
    return words if len(words) <= 200 else words[:199] + "…"


def _advice(status_code: int, error: ResponseError, json_error: bool) -> str:
    if error.signin_url:
        return f"sign in at {error.signin_url}"
    if status_code == 404 and error.error.startswith(NO_RECORDING):
        return ""
    if status_code == 404:
        return (
            "'ollama list' shows the models there are, 'ollama pull' fetches one"
            if json_error and "model" in error.error.lower()
            else ("is this the address of an Ollama server? check OLLAMA_HOST and its path")
        )
    if status_code == 403 and not json_error:
        return "the server refuses this host name; reach it by its address, or set the Host header to localhost"
    if status_code == 407:
        return "this is a proxy: put its user and password into http_proxy, http://USER:PASSWORD@HOST:PORT"
    if status_code == 401:
        return "give the key in OLLAMA_API_KEY, or a header with --header-file"
    if status_code in (429, 502, 503, 504):
        return "try again later, or let --retry do it"
    return ""
