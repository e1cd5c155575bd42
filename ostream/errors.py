"""What can go wrong, and the exit status of each.

Every error is an `OstreamError`. `str(error)` is "object: reason"; `error.advice`, where there is any, says what
to do next. All can be pickled.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OK = 0
REFUSED = 1  # the server or the model said no, or an output could not be written
USAGE = 2  # usage, a file that can't be read, input that is not NDJSON
INCOMPLETE = 3  # a stream ended without done, or there was no response at all
LENGTH = 4  # cut by a limit, with --fail-on-length
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h: cannot connect
BUG = 70  # EX_SOFTWARE
TRY_LATER = 75  # EX_TEMPFAIL: busy, or a clock ran out

# Permanent failures beat temporary ones, so that a loop "until the status is not 75" ends.
_WORST_FIRST = (BUG, USAGE, REFUSED, INCOMPLETE, UNAVAILABLE, TRY_LATER, LENGTH, OK)

# What an error line may claim for itself: no success, no signal, no bug of ours.
TRUSTED_STATUSES = frozenset((REFUSED, USAGE, INCOMPLETE, LENGTH, UNAVAILABLE, TRY_LATER))

# The HTTP statuses that mean "try again later".
BUSY_CODES = frozenset((429, 502, 503, 504))


def worst(a: int, b: int) -> int:
    """The exit status that wins when both happened."""
    return min(a, b, key=_WORST_FIRST.index)


def reason(error: Exception) -> str:
    """What the system said, in its own words."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


class OstreamError(Exception):
    """Everything this package raises on purpose."""

    exit_status = REFUSED
    advice = ""
    retryable = False  # would the same request, sent again, have a chance? Only while nothing of the answer has come
    partial: Any = None  # what had come of the response; of a line that was cut, its bytes

    def __init__(self, error: str = "", *, advice: str = "") -> None:
        super().__init__(error)
        self.error = error
        if advice:
            self.advice = advice

    def error_line(self) -> dict[str, Any]:
        """The error line of this failure, as the pipe carries it."""
        line: dict[str, Any] = {"error": self.error, **self._details()}
        if isinstance(self.partial, bytes):
            line["partial"] = self.partial.decode("utf-8", "replace")
        return {**line, "exit_status": self.exit_status}

    def _details(self) -> dict[str, Any]:
        return {}


class ResponseError(OstreamError):
    """The server, or the model, said no.

    `status_code` is the HTTP status, -1 when there is none (an error line inside a stream); `signin_url` is where a
    cloud model asks to sign in.
    """

    def __init__(self, error: str = "", status_code: int = -1, *, signin_url: str = "", advice: str = "") -> None:
        super().__init__(error, advice=advice)
        self.status_code = status_code
        self.signin_url = signin_url
        self.retry_after: str | None = None

    @property
    def exit_status(self) -> int:  # type: ignore[override]
        return TRY_LATER if self.status_code in BUSY_CODES else REFUSED

    def __str__(self) -> str:
        return self.error if self.status_code == -1 else f"{self.error} (status code: {self.status_code})"

    def _details(self) -> dict[str, Any]:
        details: dict[str, Any] = {}
        if self.status_code != -1:
            details["status_code"] = self.status_code
        if self.signin_url:
            details["signin_url"] = self.signin_url
        return details


class LengthError(OstreamError):
    """The answer was cut by a limit, and the caller asked that to be a failure."""

    exit_status = LENGTH


class IncompleteStream(OstreamError):
    """The stream ended without `done: true`. `partial` is what came of the response; of a line, its bytes."""

    exit_status = INCOMPLETE

    def __init__(self, error: str = "", partial: Any = None, *, advice: str = "") -> None:
        super().__init__(error, advice=advice)
        self.partial = partial


class ConnectError(OstreamError, ConnectionError):
    """No connection: refused, no such host, TLS."""

    exit_status = UNAVAILABLE


class StreamTimeout(OstreamError, TimeoutError):
    """One of the four timeouts ran out; `timeout` says which: connect, first-byte, idle or max-time."""

    exit_status = TRY_LATER

    def __init__(self, error: str = "", timeout: str = "", *, advice: str = "") -> None:
        super().__init__(error, advice=advice)
        self.timeout = timeout


class NotNDJSON(OstreamError, ValueError):
    """A line that is not one JSON object. `line` is its bytes, `lineno` counts from 1 (0: not known)."""

    exit_status = USAGE

    def __init__(self, error: str = "", line: bytes = b"", lineno: int = 0, *, advice: str = "") -> None:
        super().__init__(error, advice=advice)
        self.line = line
        self.lineno = lineno


class RequestError(OstreamError, ValueError):
    """Arguments that can't become a request."""

    exit_status = USAGE


class InputError(OstreamError):
    """A file that can't be read."""

    exit_status = USAGE


class OutputError(OstreamError):
    """An output that can't be written."""
