"""The rows of the matrix, in groups."""

from __future__ import annotations

from tests.torture import before, within

GROUPS = {
    "No connection": before.CONNECTIONS,
    "TLS": before.TLS,
    "No answer, or none in HTTP": before.REPLIES,
    "Statuses": before.STATUSES,
    "Redirects": before.REDIRECTS,
    "200, and not an answer": before.NOT_OURS,
    "An answer that ends": within.ENDS,
    "An answer that takes its time": within.CLOCKS,
    "An answer with an error in it": within.ERRORS,
    "A line that is not what it should be": within.DAMAGED,
    "Damaged framing": within.FRAMING,
    "After done: true": within.AFTERWARDS,
    "No failure": within.HARMLESS,
}
