"""What a response cost: the server's counts and durations, the rates that follow, and how the chunks came.

Durations are integer nanoseconds, as the server sends them; rates are tokens per second, as `ollama run --verbose`
has them. What is not known is None.
"""

from __future__ import annotations

from array import array

from ostream.protocol.chunk import content, thinking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

# In the order in which they are shown.
FIELDS = (
    *("model", "done_reason", "chunks", "fragments", "total_duration", "load_duration"),
    *("time_to_first_token", "time_to_first_token_from", "time_to_first_content"),
    *("prompt_eval_count", "prompt_eval_duration", "prompt_eval_rate"),
    *("eval_count", "eval_duration", "eval_rate", "time_per_output_token"),
    *("inter_chunk_p50", "inter_chunk_p90", "inter_chunk_p99", "longest_stall", "inter_chunk_from"),
)

# The server counts in int64; what is larger is no count.
INT64 = 1 << 63

CLIENT = "client clock"  # from `elapsed`, which send --stamp and the library measure
SERVER = "server, lower bound"  # load and prompt evaluation: without the network, the queue and the first token
CREATED = "created_at"  # when the server made the chunks, not when they came


class Metrics:
    """Adds up the chunks of one response; keeps one number for each fragment."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}
        self._chunks = 0
        self._fragments = 0
        self._first_token: int | None = None
        self._first_content: int | None = None
        self._gaps = array("q")
        self._gaps_from: str | None = None
        self._previous: int | None = None

    def add(self, chunk: Mapping[str, Any], elapsed: int | None = None) -> None:
        """Take a chunk into account. `elapsed`: ns since the request was sent, if the chunk itself does not say."""
        self._chunks += 1
        self._last.update(chunk)
        answer = content(chunk)
        if not answer and not thinking(chunk):
            return
        self._fragments += 1
        stamp = _duration(chunk.get("elapsed", elapsed))
        if stamp is not None:
            if self._first_token is None and self._fragments == 1:
                self._first_token = stamp
            if self._first_content is None and answer:
                self._first_content = stamp
        self._add_gap(stamp, chunk)

    def _add_gap(self, elapsed: int | None, chunk: Mapping[str, Any]) -> None:
        """The time since the fragment before, by the one clock that all of this response have."""
        now, clock = (elapsed, CLIENT) if elapsed is not None else (timestamp(chunk.get("created_at")), CREATED)
        if self._gaps_from not in (None, clock):
            now = None  # two timeouts can't be compared
        if now is not None:
            self._gaps_from = clock
            if self._previous is not None and 0 <= now - self._previous < INT64:
                self._gaps.append(now - self._previous)
        self._previous = now

    @property
    def gaps(self) -> Sequence[int]:
        """ns between fragments, the first token excluded; empty if the server's clock stood still."""
        return self._gaps if any(self._gaps) else array("q")

    def as_dict(self) -> dict[str, Any]:
        """All FIELDS."""
        last = self._last
        known: dict[str, Any] = dict.fromkeys(FIELDS)
        for name in ("model", "done_reason"):
            known[name] = last.get(name) if isinstance(last.get(name), str) else None
        known["chunks"], known["fragments"] = self._chunks, self._fragments
        for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
            known[name] = _number(last.get(name))
        for name in ("prompt_eval_count", "eval_count"):
            known[name] = _number(last.get(name))
        for stem in ("prompt_eval", "eval"):
            known[f"{stem}_rate"] = _rate(known[f"{stem}_count"], known[f"{stem}_duration"])
            if known[f"{stem}_rate"] and stem == "eval":
                known["time_per_output_token"] = round(known["eval_duration"] / known["eval_count"])
        self._add_first(known)
        gaps = sorted(self.gaps)
        if gaps:
            for percent in (50, 90, 99):
                known[f"inter_chunk_p{percent}"] = percentile(gaps, percent)
            known["longest_stall"], known["inter_chunk_from"] = gaps[-1], self._gaps_from
        return known

    def _add_first(self, known: dict[str, Any]) -> None:
        if self._first_token is not None:
            known["time_to_first_token"], known["time_to_first_token_from"] = self._first_token, CLIENT
            known["time_to_first_content"] = self._first_content
        elif known["prompt_eval_duration"] is not None:
            known["time_to_first_token"] = known["prompt_eval_duration"] + (known["load_duration"] or 0)
            known["time_to_first_token_from"] = SERVER

    @property
    def warning(self) -> str | None:
        """Why the prompt may have been cut, if it may: a server truncates in silence, to the context window."""
        count = _number(self._last.get("prompt_eval_count"))
        if count is None or count < 2048 or int(count) & (int(count) - 1):
            return None
        return f"prompt_eval_count is {count}, the size of a context window: the prompt may have been cut"


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The value that `percent` of the ordered values do not exceed (nearest rank)."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def timestamp(created_at: Any) -> int | None:
    """ns since the epoch of an RFC 3339 time with 0 to 9 digits behind the point; None for anything else."""
    import re
    from datetime import datetime

    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)",
        created_at if isinstance(created_at, str) else "",
    )
    if not match:
        return None
    whole, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(whole + zone.replace("Z", "+00:00"))
        return (round(moment.timestamp()) * 10**9) + int((fraction or "0").ljust(9, "0"))
    except (ValueError, OverflowError):
        return None


def _number(value: Any) -> int | float | None:
    """A count or a duration that can be one; servers send floats, and constants."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < INT64:
        return None
    return value


def _duration(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _rate(count: float | None, duration_ns: float | None) -> float | None:
    if not count or not duration_ns or duration_ns < 1:
        return None
    return count * 1e9 / duration_ns


def show_duration(duration_ns: float) -> str:
    """A duration for a person, as Go prints them: 4.668s, 130ms, 485.879µs."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if duration_ns >= size:
            # In whole numbers: a server may send one too large for a float.
            whole, thousandths = divmod((int(duration_ns) * 1000 + size // 2) // size, 1000)
            return f"{whole}.{thousandths:03d}".rstrip("0").rstrip(".") + unit
    return f"{duration_ns:g}ns"
