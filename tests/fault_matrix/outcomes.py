"""A row of the matrix: the fault, the server that causes it, and the expected outcome."""

from __future__ import annotations

from typing import NamedTuple

from tests.fault_matrix.servers import Serve


class Outcome(NamedTuple):
    raised: str  # exception of the library; empty: none
    send: int  # exit status of send alone
    filters: int  # exit status of the last filter after send
    content: int = 0  # exit status of extract-content, for a failure that it alone finds


COMPLETE = Outcome("", 0, 0)
REJECTED = Outcome("ResponseError", 1, 1)
BUSY = Outcome("ResponseError", 75, 75)
TRUNCATED = Outcome("IncompleteStream", 3, 3)
UNREACHABLE = Outcome("ConnectError", 69, 69)
TIMED_OUT = Outcome("StreamTimeout", 75, 75)
NOT_NDJSON = Outcome("NotNDJSON", 1, 1)
# The library stops reading at `done: true`; a pipeline reads on.
REJECTED_AFTER_DONE = Outcome("", 1, 1)
TRUNCATED_AFTER_DONE = Outcome("", 3, 3)
# The library returns the answer. send rejects it only with an option.
NO_TEXT = Outcome("", 0, 0, content=5)
NO_TEXT_REJECTED = Outcome("", 5, 5)
TOO_LONG = Outcome("", 4, 4)


class Fault(NamedTuple):
    name: str
    serve: Serve
    outcome: Outcome
    lines: tuple[bytes, ...] = ()  # lines before the fault; send passes them on unchanged
    pattern: str = ""  # of the message, or of a note of send; PORT is replaced by the server's port
    code: int = -1  # status_code of the error; send reports 200 for NOT_NDJSON
    partial: str = ""  # the truncated line
    flooded: bool = False  # an unknown number of blank lines also arrives
    slow: bool = False  # takes seconds, but no CPU time

    @property
    def waits(self) -> bool:
        return self.slow or self.outcome is TIMED_OUT


def unanswered(name: str, serve: Serve, outcome: Outcome, pattern: str, code: int = -1, slow: bool = False) -> Fault:
    """A fault before any line arrives."""
    return Fault(name, serve, outcome, (), pattern, code, slow=slow)


# Long enough for all steps before the fault on a busy machine.
MAX_TIME = 8
SHORT = 0.5

# Patterns of messages about truncated streams and about streams without a response.
EARLY = r'inside line|is truncated|ended early|no "done"|without done'
EMPTY = rf"empty|hung up|no answer|{EARLY}"
