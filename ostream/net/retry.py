"""Decide whether a failed request is sent again, and after how many seconds."""

from __future__ import annotations

import random
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.errors import OstreamError

# Seconds between tries. The pause doubles from FIRST_PAUSE up to LONGEST_PAUSE, less a random part of up to one half.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# Longest Retry-After to wait for, in seconds. If the server sends a longer one, the request fails at once.
LONGEST_RETRY_AFTER = 600.0


def pause_before(error: OstreamError, retries: int, limit: int) -> float | None:
    """Return the seconds to wait before a failed request is sent again, or None if it is not sent again.

    Arguments:
        error: the failure. Its advice is set if Retry-After is too long, or if `limit` is reached and it has no advice.
        retries: how many times the request has been sent again so far.
        limit: how many times the request may be sent again.
    """
    retry_after = retry_after_s(error)
    if not error.retryable:
        return None
    if retry_after > LONGEST_RETRY_AFTER:
        error.advice = f"the server asked for a wait of {min(retry_after, 1e9):,.0f} s (Retry-After)"
        return None
    if retries >= limit:
        if not error.advice:
            error.advice = f"gave up after {retries + 1} tries" if retries else "try again later, or use --retry N"
        return None
    return max(backoff(retries + 1), retry_after)


def backoff(retries: int) -> float:
    """Return the seconds to wait before a retry. `retries` is the number of that retry, counted from 1."""
    pause: float = min(FIRST_PAUSE * 2 ** min(retries - 1, 16), LONGEST_PAUSE)
    return pause * random.uniform(0.5, 1)


def retry_after_s(error: OstreamError) -> float:
    """Return the seconds that the Retry-After header specifies as a number or a date; 0 if it is missing or invalid."""
    # Remove spaces here: str.strip() removes some that float() does not accept.
    value = (getattr(error, "retry_after", None) or "").strip()
    if not value:
        return 0
    if value.isdecimal():
        return float(value)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):  # an invalid date raises any of these
        return 0
