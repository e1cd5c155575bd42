"""Convert the body of an HTTP error response to a ResponseError."""

from __future__ import annotations

import json
import re

from ostream.errors import ResponseError
from ostream.protocol.error_lines import error_text, response_error

# The messages of replay for status 404 begin with this text. These messages need no advice.
NO_RECORDING = "no recording"


def error_from_http_body(status_code: int, body: bytes) -> ResponseError:
    """Return a ResponseError for an HTTP error response.

    `body` is JSON from Ollama or another server, a page or text from a proxy, or empty.
    """
    text = body.decode("utf-8", "replace").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and value.get("error") is not None:
        error = response_error(value)
        error.status_code = status_code
        if isinstance(value["error"], dict):
            # Only scalars, because credentials inside nested values would not be masked.
            scalars = (str, int, type(None))
            error.server_error = {name: item for name, item in value["error"].items() if isinstance(item, scalars)}
    elif isinstance(value, dict) and value.get("detail") is not None:
        error = ResponseError(error_text(value["detail"]), status_code)
    else:
        error = ResponseError(_excerpt(text) or "empty response", status_code)
    is_ollama = isinstance(value, dict) and "error" in value
    error.advice = _advice(status_code, error.error, is_ollama, is_empty=not text)
    return error


def _excerpt(text: str) -> str:
    title = re.search(r"<title[^<>]*>([^<]*)", text[:100_000], re.IGNORECASE)
    words = " ".join((title.group(1) if title else text[:1000]).split())
    return words if len(words) <= 200 else words[:199] + "…"


def _advice(status_code: int, text: str, is_ollama: bool, is_empty: bool) -> str:
    """Return the advice for an HTTP error that follows from the response alone, or "".

    `net.credentials` adds advice about rejected credentials and about signing in.
    """
    if status_code == 404 and not text.startswith(NO_RECORDING):
        if not is_ollama or "model" not in text.lower():
            return "check OLLAMA_HOST and its path: is this an Ollama server?"
        # Only names that are safe to paste into a shell, because the server chooses the name.
        model = re.search(r"'([\w.:/@-]{1,100})'", text, re.ASCII)
        name = model[1] if model else "NAME"
        return f"run 'ollama list' to see installed models, or 'ollama pull {name}' to download it"
    if status_code == 403 and is_empty:
        return "the server rejects this host name: use its IP address, or set the Host header to localhost"
    if status_code == 407:
        return "the proxy needs credentials: set http_proxy=http://USER:PASSWORD@HOST:PORT"
    if status_code == 400 and "context" in text and "exceed" in text:
        return "raise --option num_ctx=N, or let the server truncate the prompt (leave out --no-truncate)"
    return ""
