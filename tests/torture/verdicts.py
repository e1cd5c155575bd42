"""What a row of the matrix says: the fault, where it is met, and what must come of it."""

from __future__ import annotations

from typing import NamedTuple

from tests.torture.sites import Place


class Verdict(NamedTuple):
    raised: str  # by the library; nothing: an answer
    send: int  # the status of send alone
    filters: int  # of the last filter behind it


WHOLE = Verdict("", 0, 0)
REFUSED = Verdict("ResponseError", 1, 1)
BUSY = Verdict("ResponseError", 75, 75)
CUT = Verdict("IncompleteStream", 3, 3)
UNREACHABLE = Verdict("ConnectError", 69, 69)
LATE = Verdict("StreamTimeout", 75, 75)
GARBAGE = Verdict("NotNDJSON", 1, 1)
# In a line that send passes on unread, as it ends like an ordinary chunk: the filter sees it.
UNREAD = Verdict("NotNDJSON", 0, 2)
# Behind `done: true` the library reads no further: it has its answer. A pipe has more to say.
AFTERWARDS_REFUSED = Verdict("", 1, 1)
AFTERWARDS_CUT = Verdict("", 3, 3)


class Fault(NamedTuple):
    name: str
    place: Place
    verdict: Verdict
    came: tuple[bytes, ...] = ()  # the lines before it: send passes them on, byte for byte, and all others read them
    words: str = ""  # a regular expression; PORT is the server's
    code: int = -1  # the HTTP status that the failure names; of send's GARBAGE it is 200
    partial: str = ""  # of the line that was cut, as it ends
    flooded: bool = False  # blank lines came too, more than can be told
    slow: bool = False  # it takes seconds, and no processor

    @property
    def waits(self) -> bool:
        return self.slow or self.verdict is LATE


# Long enough for what must happen before, on a busy machine; the others begin after it.
MAX_TIME = 4
SHORT = 0.5
