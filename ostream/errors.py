"""The errors of this package and the exit statuses of its commands.

    Exception
     └── OstreamError
          ├── ResponseError                    the server rejected the request, or the model failed
          ├── IncompleteStream                 the response ended without "done": true
          ├── ConnectError (ConnectionError)   no connection: refused, unknown host, TLS
          ├── StreamTimeout (TimeoutError)     a time limit was exceeded
          ├── NotNDJSON (ValueError)           a line that is not a JSON object
          ├── RequestError (ValueError)        arguments that do not make a valid request
          └── raised mainly by commands: LengthError, EmptyError, InputError, OutputError

A builtin exception in parentheses is a second base class. Every error can be pickled.
"""

from __future__ import annotations

# At most this many bytes of the `partial` of an error are copied into its error line.
PARTIAL_LIMIT = 1 << 20

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    E = TypeVar("E", bound="OstreamError")


class Status:
    """An exit status: its number, the kind of failure in a few words, its meaning, and whether it is claimable.

    A status is claimable if an error line in a stream may contain it as `exit_status`. The statuses of a success, of a
    bug in ostream and of "no tool calls" are not claimable.
    """

    __slots__ = ("claimable", "code", "kind", "meaning")

    def __init__(self, code: int, kind: str, meaning: str, claimable: bool = True) -> None:
        self.code = code
        self.kind = kind
        self.meaning = meaning
        self.claimable = claimable


# All exit statuses, most severe first. Permanent failures are more severe than temporary failures, so that a loop that
# repeats a pipeline while its status is 75 ends at a permanent failure. The numbers 69, 70 and 75 are from sysexits.h.
STATUSES = (
    Status(70, "bug", "a bug in ostream", claimable=False),
    Status(2, "usage or input", "wrong usage, a file that cannot be read, or input that is not NDJSON"),
    Status(1, "rejected", "the server rejected the request, the model failed, or an output could not be written"),
    Status(3, "incomplete", 'the stream ended without "done": true, or there was no response'),
    Status(69, "no connection", "no connection: refused, unknown host, or TLS failure"),
    Status(75, "temporary", "temporary: HTTP 408, 425, 429, 502 to 504, 520 to 530, a crashed model, or a timeout"),
    Status(4, "truncated by a limit", "the answer was truncated by a length limit (--fail-on-length)"),
    Status(5, "empty", "the answer is complete but empty"),
    Status(10, "no tool calls", "run-tools --status: the answer calls no tool", claimable=False),
    Status(0, "success", "every response is complete", claimable=False),
)
BUG, USAGE, REJECTED, INCOMPLETE, UNAVAILABLE, TEMPORARY, LENGTH, EMPTY, NO_TOOL_CALLS, OK = (
    status.code for status in STATUSES
)
_SEVERITY = tuple(status.code for status in STATUSES)
CLAIMABLE_STATUSES = frozenset(status.code for status in STATUSES if status.claimable)

# HTTP statuses after which the same request may succeed later. 520 to 530 are Cloudflare's.
TEMPORARY_HTTP_STATUSES = frozenset((408, 425, 429, 502, 503, 504, *range(520, 531)))
# Errors of the model runner after which the same request may succeed, because the server starts a new runner or because
# the model may generate a valid tool call next time. The HTTP status of these errors is 500; inside a stream, they have
# no status.
TEMPORARY_ERRORS = (
    "an error was encountered while running the model",
    "error parsing tool call",
    "timed out waiting for llama runner",
)


def worst(a: int, b: int) -> int:
    """Return the more severe of two exit statuses."""
    return min(a, b, key=_SEVERITY.index)


def reason(error: Exception) -> str:
    """Return the operating system's message for an error, or else the error's own text or the name of its class."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


# Command options that advice may name, and the library arguments with the same effect.
_ARGUMENTS = {"header-file": "headers=", "option": "options="}


def _argument(match: Any) -> str:
    option: str = match.group(1)
    return _ARGUMENTS.get(option, option.replace("-", "_") + "=") + (match.group(2) or "")


def explain(error: E) -> E:
    """Add the advice of an error to its traceback, and return the error. The library does this for its errors.

    Options of the commands in the advice are replaced by arguments of the library. Python before 3.11 has no exception
    notes, so there the advice is added to `str(error)`.
    """
    if error.advice and not error._is_explained:
        error._is_explained = True
        if "--" in error.advice:
            import re

            error.advice = re.sub(r"--([a-z][a-z-]*)(?: ([A-Z]+\b))?", _argument, error.advice)
        add_note = getattr(error, "add_note", None)
        if add_note:
            add_note(error.advice)
        else:
            error._shows_advice = True
    return error


class OstreamError(Exception):
    """Base class of all errors.

    Attributes:
        error: the message, in the form "object: what happened". `str(error)` may also contain an HTTP status or advice.
        advice: what to do next, or "".
        partial: the part of the response that arrived, as a ChatResponse or GenerateResponse, or None.
        retryable: True if the same request may succeed when it is sent again.
        exit_status: the exit status of a command that fails with this error.
    """

    exit_status = REJECTED
    advice = ""
    _is_explained = False  # the advice has been added to the traceback
    _shows_advice = False  # str() contains the advice
    retryable = False
    partial: Any = None  # in the commands: bytes, the part of a truncated line that arrived

    def __init__(self, error: str = "", *, advice: str = "") -> None:
        super().__init__(error)
        self.error = error
        if advice:
            self.advice = advice

    def __str__(self) -> str:
        return f"{self._text()}; {self.advice}" if self._shows_advice else self._text()

    def _text(self) -> str:
        return self.error

    def error_line(self) -> dict[str, Any]:
        """Return this error as an error line of a stream."""
        line: dict[str, Any] = {"error": self.error, **self._details()}
        if isinstance(self.partial, bytes):
            line["partial"] = self.partial[:PARTIAL_LIMIT].decode("utf-8", "replace")
        return {**line, "exit_status": self.exit_status}

    def _details(self) -> dict[str, Any]:
        return {}


class ResponseError(OstreamError):
    """The server rejected the request, or the model failed.

    Attributes:
        status_code: the HTTP status, or -1 for an error inside a stream.
        signin_url: the URL at which the user can sign in, if a cloud model requires it, or "".
        retry_after: the Retry-After header of the response, or None.
        server_error: text, whole numbers and nulls of the server's error object, such as `type` and `code`, or {}.
    """

    def __init__(self, error: str = "", status_code: int = -1, *, signin_url: str = "", advice: str = "") -> None:
        super().__init__(error, advice=advice)
        self.status_code = status_code
        self.signin_url = signin_url
        self.retry_after: str | None = None
        self.server_error: dict[str, Any] = {}

    @property
    def exit_status(self) -> int:  # type: ignore[override]
        is_temporary = self.status_code in TEMPORARY_HTTP_STATUSES or (
            self.status_code in (-1, 500) and any(text in self.error for text in TEMPORARY_ERRORS)
        )
        return TEMPORARY if is_temporary else REJECTED

    def _text(self) -> str:
        return self.error if self.status_code == -1 else f"{self.error} (status code: {self.status_code})"

    def _details(self) -> dict[str, Any]:
        details: dict[str, Any] = {}
        if self.status_code != -1:
            details["status_code"] = self.status_code
        if self.signin_url:
            details["signin_url"] = self.signin_url
        return details


class LengthError(OstreamError):
    """The answer was truncated by a length limit, and --fail-on-length was given."""

    exit_status = LENGTH


class EmptyError(OstreamError):
    """The answer is complete but has no text, and the caller asked for text."""

    exit_status = EMPTY


class IncompleteStream(OstreamError):
    """The response ended without `"done": true`, so it is truncated. `partial` is the part that arrived."""

    exit_status = INCOMPLETE

    def __init__(self, error: str = "", partial: Any = None, *, advice: str = "") -> None:
        super().__init__(error, advice=advice)
        self.partial = partial


class ConnectError(OstreamError, ConnectionError):
    """No connection: it was refused, the host is unknown, or its certificate is not trusted."""

    exit_status = UNAVAILABLE


class StreamTimeout(OstreamError, TimeoutError):
    """A time limit was exceeded. `timeout` is the name of the limit: connect, first-byte, idle or max-time."""

    exit_status = TEMPORARY

    def __init__(self, error: str = "", timeout: str = "", *, advice: str = "") -> None:
        super().__init__(error, advice=advice)
        self.timeout = timeout


class NotNDJSON(OstreamError, ValueError):
    """A line is not a JSON object.

    Attributes:
        line: the bytes of the line; only the beginning if the line is too long.
        lineno: the number of the line, counted from 1, or 0 if it is unknown.
    """

    exit_status = USAGE

    def __init__(self, error: str = "", line: bytes = b"", lineno: int = 0, *, advice: str = "") -> None:
        super().__init__(error, advice=advice)
        self.line = line
        self.lineno = lineno


class RequestError(OstreamError, ValueError):
    """The arguments do not make a valid request."""

    exit_status = USAGE


class InputError(OstreamError):
    """A file cannot be read."""

    exit_status = USAGE


class OutputError(OstreamError):
    """An output cannot be written."""
