"""Decide whether a failed request is sent again, and after which pause."""

from __future__ import annotations

import random
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.errors import OstreamError

# Pauses between tries, in seconds: each is twice the one before, less a random half.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# Longest Retry-After that is honoured; beyond it the request fails at once.
LONGEST_RETRY_AFTER = 600.0


def pause_before(error: OstreamError, retries: int, limit: int) -> float | None:
    """Return the seconds to wait before a failed request is sent again, or None if it is not.

    `error` is the failure, `retries` how often the request was sent again before it, and `limit` how often it may be.
    When None is returned, the error's advice names what else can be done.
    """
    retry_after = retry_after_s(error)
    if not error.retryable:
        return None
    if retry_after > LONGEST_RETRY_AFTER:
        error.advice = f"the server asks to wait {min(retry_after, 1e9):,.0f} s (Retry-After)"
        return None
    if retries >= limit:
        if not error.advice:
            error.advice = f"gave up after {retries + 1} tries" if retries else "try again later, or use --retry N"
        return None
    return max(backoff(retries + 1), retry_after)


def backoff(retries: int) -> float:
    """Return the seconds to wait before the retry of this number, counted from 1."""
    pause: float = min(FIRST_PAUSE * 2 ** min(retries - 1, 16), LONGEST_PAUSE)
    return pause * random.uniform(0.5, 1)


def retry_after_s(error: OstreamError) -> float:
    """Return the seconds that a Retry-After header asks for, as a number or a date; 0 without a valid one."""
    # float() does not accept all the white space that str.strip() removes.
    value = (getattr(error, "retry_after", None) or "").strip()
    if not value:
        return 0
    if value.isdecimal():
        return float(value)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):  # any of these for an invalid date
        return 0
