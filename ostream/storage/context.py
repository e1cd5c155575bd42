"""The legacy context of /api/generate in a file: what a model remembers of the turns so far, as token numbers."""

from __future__ import annotations

import os

from ostream.errors import InputError, OstreamError, OutputError, RequestError, reason
from ostream.protocol.ndjson import encode_line
from ostream.protocol.request import parse_json
from ostream.system.files import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read_context(path: str, model: str) -> list[int] | None:
    """The context in a file, None if there is no such file yet.

    The file is what `write_context` wrote, the last chunk of an answer, or a bare array. Raises InputError,
    RequestError; also for the context of another model, to which the numbers would mean other words.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{path}: not a regular file")  # a FIFO would be waited for
    try:
        with open(path, "rb") as file:
            value: Any = parse_json(file.read(), path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        if isinstance(error, OstreamError):
            raise
        raise InputError(f"{path}: {reason(error)}") from None
    if isinstance(value, dict):
        made_by = value.get("model")
        if isinstance(made_by, str) and _full_name(made_by) != _full_name(model):
            raise RequestError(
                f"{path}: the context is of {made_by}, not of {model}", advice="give another FILE to begin anew"
            )
        value = value.get("context")
    if not isinstance(value, list) or any(type(number) is not int for number in value):
        raise RequestError(f"{path}: no context in it, which is an array of whole numbers")
    return value


def _full_name(model: str) -> str:
    """A name without a tag means its latest."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def write_context(path: str, model: str, context: Any) -> None:
    """Put a context in the place of the one before."""
    try:
        replace(path, [encode_line({"model": model, "context": context})])
    except OutputError as error:
        # The answer went to standard output, and so does the news of this failure.
        raise OstreamError(str(error), advice="the answer is whole, but the context is the old one") from None
