"""The rows of the matrix in groups."""

from __future__ import annotations

from tests.fault_matrix import connection_faults, stream_faults

GROUPS = {
    "Connecting": connection_faults.CONNECTIONS,
    "TLS": connection_faults.TLS,
    "No HTTP response": connection_faults.REPLIES,
    "HTTP error statuses": connection_faults.STATUSES,
    "Redirects": connection_faults.REDIRECTS,
    "Status 200 without an answer": connection_faults.NOT_AN_ANSWER,
    "Answer ends early": stream_faults.ENDINGS,
    "Timeouts": stream_faults.TIMEOUTS,
    "Error lines": stream_faults.ERRORS,
    "Malformed lines": stream_faults.DAMAGED,
    "Complete, but not as asked": stream_faults.REQUIREMENTS,
    "Malformed HTTP framing": stream_faults.FRAMING,
    "After done: true": stream_faults.AFTER_DONE,
    "Unusual but valid": stream_faults.HARMLESS,
}
