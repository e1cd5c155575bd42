"""What a response cost: the server's own counts and durations, and the rates that follow from them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping

# Durations are nanoseconds, as the server sends them; rates are tokens per second, as `ollama run --verbose` has them.
FIELDS = (
    *("model", "done_reason", "chunks", "total_duration", "load_duration"),
    *("prompt_eval_count", "prompt_eval_duration", "prompt_eval_rate"),
    *("eval_count", "eval_duration", "eval_rate"),
)

# The server counts in int64; what is larger is no count.
INT64 = 1 << 63


def measure(response: Mapping[str, Any], chunks: int) -> dict[str, Any]:
    """All FIELDS of one response, given its last chunk; what the server did not say is None."""
    measured: dict[str, Any] = {}
    for field in FIELDS:
        value = response.get(field)
        if field in ("model", "done_reason"):
            measured[field] = value if isinstance(value, str) else None
        elif field.endswith("_rate"):
            stem = field[: -len("_rate")]
            measured[field] = _rate(measured[f"{stem}_count"], measured[f"{stem}_duration"])
        else:
            measured[field] = _number(value)
    measured["chunks"] = chunks
    return measured


def _number(value: Any) -> int | float | None:
    """A count or a duration that can be one; servers send floats, and constants."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < INT64:
        return None
    return value


def _rate(count: float | None, duration_ns: float | None) -> float | None:
    if not count or not duration_ns or duration_ns < 1:
        return None
    return count * 1e9 / duration_ns
