"""Improve the errors of public functions: add advice to tracebacks, suggest alternatives to unknown names."""

from __future__ import annotations

from functools import wraps

from ostream.errors import OstreamError, explain

TYPE_CHECKING: bool = False  # with the annotation, jedi reads the block below, and shows docstrings
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

# Names that the official SDK has and this package does not have, and what to use instead.
SDK_ONLY = {
    "AsyncClient": "read the stream in a thread, as examples/from_asyncio.py does",
    **dict.fromkeys(
        ("pull", "push", "create", "delete", "list", "copy", "show", "ps"),
        "use the command 'ollama {name}' or the official SDK (pip install ollama)",
    ),
    **dict.fromkeys(
        ("embed", "embeddings", "web_search", "web_fetch", "systemone"),
        "use the official SDK (pip install ollama)",
    ),
}
# Arguments that `chat` and `generate` do not have, and what to use instead.
_OTHER_ARGUMENTS = {
    **{name: f"Client({name}={{value}})" for name in ("allow_plain_http", "cacert", "host", "insecure", "max_time")},
    **{name: f"Client({name}={{value}})" for name in ("retry", "timeout", "verify")},
    "headers": "Client(headers={{...}})",
    "max_tokens": 'options={{"num_predict": {value}}}',
    "messages": "chat",
    "prompt": 'messages=[{{"role": "user", "content": {value}}}], or generate',
    "system": 'a message {{"role": "system", "content": ...}}',
}


def explained(function: F) -> F:
    """Decorate a public function so that its errors are more helpful.

    The traceback of an OstreamError includes its advice. An unknown argument raises a TypeError that suggests what to
    use instead.
    """
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @wraps(function)
    def call(*args: Any, **fields: Any) -> Any:
        for name, value in fields.items():
            if name not in names:
                raise TypeError(_unknown_argument(function.__name__, names, name, value))
        try:
            return function(*args, **fields)
        except OstreamError as error:
            explain(error)
            raise

    return call  # type: ignore[return-value]


def _unknown_argument(function: str, names: Sequence[str], name: str, value: Any) -> str:
    from difflib import get_close_matches

    from ostream.protocol.option_names import OPTION_NAMES

    text = f"{function}() has no argument {name!r}"
    if function == "run_tools":
        return text
    if function == "__init__":
        return f"Client() has no argument {name!r}; the only httpx arguments it accepts are headers, timeout and verify"
    if name in OPTION_NAMES:
        return f'{text}; use options={{"{name}": {value!r:.60}}}'
    if name in _OTHER_ARGUMENTS:
        return f"{text}; use {_OTHER_ARGUMENTS[name].format(value=repr(value)[:60])}"
    for similar in get_close_matches(name, names, 1):
        return f"{text}; did you mean {similar}?"
    return f"{text}; pass model options as options={{...}}"


def warn_of_misspellings(options: Iterable[str]) -> None:
    """Issue a UserWarning, at the line that called `chat`, for each option name that is probably misspelled."""
    from ostream.protocol.option_names import misspelling

    for hint in filter(None, map(misspelling, options)):
        import warnings

        warnings.warn(f"options: {hint}", stacklevel=5)


def missing_name(name: str, owner: str) -> str:
    """Return the message for an AttributeError. If the official SDK has the name, suggest what to use instead."""
    alternative = SDK_ONLY.get(name, "").format(name=name)
    return f"{owner} has no attribute {name!r}{'; ' if alternative else ''}{alternative}"
