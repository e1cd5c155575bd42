"""Read and write a file with the `context` of /api/generate: the token numbers of the turns so far.

Ollama has deprecated this field.
"""

from __future__ import annotations

import contextlib
import os

from ostream.errors import InputError, OstreamError, OutputError, RequestError, reason
from ostream.protocol.ndjson import encode_line
from ostream.protocol.request import parse_json
from ostream.system.files import remove_unfinished, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read_context(path: str, model: str) -> list[int] | None:
    """Return the context in a file, or None if the file does not exist or is empty.

    The file may contain what `write_context` writes, the last chunk of an answer, or an array of token numbers.
    Also removes the temporary files of processes that were killed.

    Raises InputError for a file that can't be read. Raises RequestError for a file without a context, or with a context
    that another model made: each model has its own token numbers.
    """
    with contextlib.suppress(OSError, ValueError):
        remove_unfinished(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{path}: not a regular file")  # opening a FIFO would block
    try:
        with open(path, "rb") as file:
            data = file.read()
        if not data:
            return None  # as mktemp(1) makes it
        value: Any = parse_json(data, path)
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
                f"{path}: the context was made by model {made_by}, not {model}",
                advice="use a new FILE for another model",
            )
        value = value.get("context")
    if not is_context(value):
        raise RequestError(f'{path}: has no "context" array of integers')
    return value  # type: ignore[no-any-return]


def _full_name(model: str) -> str:
    """Return the model name with its tag; a name without a tag gets ":latest"."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def is_context(value: Any) -> bool:
    """True for an array of token numbers."""
    return isinstance(value, list) and all(type(number) is int for number in value)


def write_context(path: str, model: str, context: Any) -> None:
    """Replace the context in a file. Raises OstreamError; the old context is then unchanged."""
    try:
        replace(path, [encode_line({"model": model, "context": context})])
    except OutputError as error:
        # After an OutputError no error line is written to standard output. Here standard output works, so raise an
        # OstreamError, for which the line is written.
        raise OstreamError(str(error), advice="the answer is complete, but its context was not saved") from None
