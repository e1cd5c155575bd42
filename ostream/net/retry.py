"""Whether a failed request is sent again, and when."""

from __future__ import annotations

import random
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ostream.errors import OstreamError

# The pauses between tries, in seconds: doubled each time, a random half of it taken off.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# Who is asked to come back later than this is better told so.
LONGEST_ASKED = 600.0


def pause_before(error: OstreamError, tries: int, limit: int) -> float | None:
    """Seconds to wait before the request that failed is sent again, after so many new tries; None: it is not."""
    asked = asked_pause(error)
    if not error.retryable or tries >= limit or asked > LONGEST_ASKED:
        return None
    return max(backoff(tries + 1), asked)


def backoff(tries: int) -> float:
    pause: float = min(FIRST_PAUSE * 2 ** min(tries - 1, 16), LONGEST_PAUSE)
    return pause * random.uniform(0.5, 1)


def asked_pause(error: OstreamError) -> float:
    """Seconds that a Retry-After asks for: a number, or a date."""
    # What str.strip takes for space, float does not always.
    asked = (getattr(error, "retry_after", None) or "").strip()
    if not asked:
        return 0
    if asked.isdecimal():
        return float(asked)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (TypeError, ValueError, IndexError, OverflowError):  # what is no date raises any of them
        return 0
