"""Measure one response: counts, durations, rates, and the times between its fragments.

Durations are in nanoseconds. Rates are in tokens per second, as in the output of `ollama run --verbose`. A value is
None if the server did not report it, or if the reported value is impossible. Every other number is finite and not
negative.
"""

from __future__ import annotations

from _operator import sub
from array import array

from ostream.protocol.chunk import content, contents, thinking, tool_calls
from ostream.protocol.emptiness import has_image
from ostream.protocol.timestamps import timestamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Sequence

# The keys of `Metrics.as_dict`, in the order in which they are printed.
FIELDS = (
    *("model", "done_reason", "chunks", "fragments", "total_duration", "load_duration"),
    *("time_to_first_token", "time_to_first_token_from", "time_to_first_content"),
    *("prompt_eval_count", "prompt_eval_cached_count", "prompt_eval_duration", "prompt_eval_rate", "prompt_truncated"),
    *("eval_count", "eval_duration", "eval_rate", "time_per_output_token"),
    *("inter_chunk_p50", "inter_chunk_p90", "inter_chunk_p99", "longest_stall", "inter_chunk_from"),
)
_NUMBERS = (
    *("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_cached_count", "prompt_eval_duration"),
    *("eval_count", "eval_duration"),
)
_REPORTED = frozenset(("done_reason", *_NUMBERS))
_has_no_report = _REPORTED.isdisjoint

# The server stores counts and durations in int64, so a larger number is not valid.
INT64 = 1 << 63
# Tokens per second. A higher rate is not a real speed: the tokens came from a cache, or the duration is a constant.
MAX_RATE = 100_000.0

CLIENT = "client clock"  # times from `elapsed`, which send --stamp and the library measure
SERVER = "server, lower bound"  # load time + prompt evaluation, without the network, the queue and the first token
CREATED = "created_at"  # times at which the server created the chunks, not at which they arrived


class Metrics:
    """Measures one response from its chunks. It stores one number for each fragment, and no text.

    Arguments:
        num_ctx: the context window of the request, in tokens (default: unknown).
        truncate: the `truncate` field of the request (default: unknown).

    The arguments are needed only for `prompt_truncated`.
    """

    def __init__(self, num_ctx: Any = None, truncate: Any = None) -> None:
        self._has_content = False  # there is text other than white space
        self._has_thinking = False
        self._has_other = False  # there are tool calls or an image
        self._num_ctx = num_ctx
        self._truncate = truncate
        self._model: Any = None
        self._created_at: Any = None
        self._reported: dict[str, Any] = {}
        self._chunks = 0
        self._fragments = 0
        self._first_token: int | None = None
        self._first_content: int | None = None
        self._gaps = array("q")
        self._gaps_from: str | None = None
        self._previous: int | None = None

    def add(self, chunk: Mapping[str, Any], elapsed: int | None = None) -> None:
        """Add a chunk. `elapsed` is the time since the request was sent, in ns (default: `elapsed` in the chunk)."""
        self.add_all((chunk,), elapsed)

    def add_all(
        self,
        chunks: Sequence[Mapping[str, Any]],
        elapsed: int | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        """Add chunks that arrived together.

        `elapsed` is the time since the request was sent, in ns, for all chunks (default: `elapsed` in each chunk).
        `texts` is the result of `contents(chunks)`, if the caller has it.
        """
        self._chunks += len(chunks)
        self._created_at = chunks[-1].get("created_at")
        if not self._add_ordinary(chunks, elapsed, contents(chunks) if texts is None else texts):
            for chunk in chunks:
                self._add_one(chunk, elapsed)

    def _add_ordinary(self, chunks: Sequence[Mapping[str, Any]], elapsed: int | None, texts: Sequence[str]) -> bool:
        """Add all chunks in one step, if each has text, a valid time and no counts or durations of the server.

        Otherwise, add nothing and return False. Most chunks can be added here, in half the time of `_add_one`.
        """
        keys = set().union(*chunks)
        if not (self._has_content and _REPORTED.isdisjoint(keys) and all(texts) and len(texts) == len(chunks)):
            return False
        if self._is_client_time(elapsed):
            times: list[Any] | None = [elapsed] * len(chunks)
        else:
            times = self._times(chunks, elapsed, "elapsed" in keys)
        if times is None or self._previous is None:
            return False
        gaps = [*map(sub, times, [self._previous, *times])]
        if min(gaps) < 0 or max(gaps) >= INT64:
            return False
        self._gaps.extend(gaps)
        self._previous = times[-1]
        self._fragments += len(chunks)
        self._model = chunks[-1].get("model", self._model)
        return True

    def _is_client_time(self, elapsed: int | None) -> bool:
        """Return True if `elapsed` is valid and the gaps so far were measured with `elapsed` too."""
        return elapsed is not None and self._gaps_from is CLIENT and duration(elapsed) is not None

    def _times(self, chunks: Sequence[Mapping[str, Any]], elapsed: int | None, are_stamped: bool) -> list[int] | None:
        """Return the times of the chunks in ns; None if a chunk lacks the clock of the earlier gaps."""
        if elapsed is not None or are_stamped:
            stamps = [chunk.get("elapsed") if elapsed is None else elapsed for chunk in chunks]
            times, clock = [*map(duration, stamps)], CLIENT
        else:
            times, clock = timestamps([chunk.get("created_at") for chunk in chunks]), CREATED
        return None if None in times or clock != self._gaps_from else times  # type: ignore[return-value]

    def _add_one(self, chunk: Mapping[str, Any], elapsed: int | None) -> None:
        if not _has_no_report(chunk):
            self._reported.update({name: chunk[name] for name in _REPORTED if name in chunk})
        self._model = chunk.get("model", self._model)
        text = content(chunk)
        if not text:
            if tool_calls(chunk) or has_image(chunk):
                self._has_other = True
            if not thinking(chunk):
                return
            self._has_thinking = True
        elif not self._has_content:
            self._has_content = not text.isspace()
        self._fragments += 1
        stamp = duration(chunk.get("elapsed") if elapsed is None else elapsed)
        if stamp is not None:
            if self._first_token is None and self._fragments == 1:
                self._first_token = stamp
            if text and self._first_content is None:
                self._first_content = stamp
        now, clock = (stamp, CLIENT) if stamp is not None else (timestamps([chunk.get("created_at")])[0], CREATED)
        if self._gaps_from not in (None, clock):
            now = None  # times of two clocks cannot be compared
        if now is not None:
            self._gaps_from = clock
            if self._previous is not None and 0 <= now - self._previous < INT64:
                self._gaps.append(now - self._previous)
        self._previous = now

    @property
    def gaps(self) -> Sequence[int]:
        """The times between fragments, in ns, without the time to the first fragment.

        The result is empty if all gaps are 0, as they are if `created_at` is a constant.
        """
        return self._gaps if any(self._gaps) else array("q")

    @property
    def lacks(self) -> str:
        """What is missing from a complete answer: "empty", "thinking_only", or "" if nothing is missing.

        "empty" means that the answer has no text, thinking, tool calls or image. "thinking_only" means that it has
        thinking, but no text, tool calls or image. The response to a request that only loads or unloads a model lacks
        nothing.
        """
        if self._has_content or self._has_other or self._reported.get("done_reason") in ("load", "unload"):
            return ""
        return "thinking_only" if self._has_thinking else "empty"

    @property
    def span(self) -> tuple[int, int] | None:
        """The start and end of the response on the server's clock, in ns since the Unix epoch; None if unknown."""
        end, total = timestamps([self._created_at])[0], duration(self._reported.get("total_duration"))
        return None if end is None or total is None else (end - total, end)

    def as_dict(self) -> dict[str, Any]:
        """Return a dict of the measurements: durations in ns, rates in tokens per second. Unknown values are None.

        The keys are FIELDS, in this order; the attributes of `stream.metrics` have the same names.
        """
        known: dict[str, Any] = dict.fromkeys(FIELDS)
        known["model"] = self._model if isinstance(self._model, str) else None
        reason = self._reported.get("done_reason")
        known["done_reason"] = reason if isinstance(reason, str) else None
        known["chunks"], known["fragments"] = self._chunks, self._fragments
        for name in _NUMBERS:
            known[name] = number(self._reported.get(name))
        evaluated = known["prompt_eval_count"]
        if evaluated is not None:
            evaluated -= min(known["prompt_eval_cached_count"] or 0, evaluated)
        known["prompt_eval_rate"] = rate(evaluated, known["prompt_eval_duration"])
        known["prompt_truncated"] = is_prompt_truncated(known["prompt_eval_count"], self._num_ctx, self._truncate)
        known["eval_rate"] = rate(known["eval_count"], known["eval_duration"])
        if known["eval_rate"]:
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


def is_prompt_truncated(count: Any, num_ctx: Any = None, truncate: Any = None) -> bool | None:
    """Return whether the server truncated the prompt to fit the context window, or None if that is unknown.

    The server truncates without an error, so this is an estimate. `count` is `prompt_eval_count`. `num_ctx` and
    `truncate` are fields of the request, if known. Servers up to 0.30.9 truncate to num_ctx tokens. Newer servers
    truncate to num_ctx / 2 + 2 or num_ctx / 2 + 3 tokens.

    Without `num_ctx`, the function returns True if truncating to a default window can result in `count`: a default
    window is a power of two, at least 2,048. It returns None for any other count, because the model may define another
    window.
    """
    count = number(count)
    if truncate is False:
        return False
    if count is None:
        return None
    count = int(count)
    window = duration(num_ctx)
    if window:
        return count in (window, window // 2 + 2, window // 2 + 3)
    return True if _is_power(count, 2048) or _is_power(count - 2, 1024) or _is_power(count - 3, 1024) else None


def _is_power(value: int, least: int) -> bool:
    return value >= least and not value & (value - 1)


def truncation_warning(count: Any) -> str:
    """Return the warning about a prompt that was probably truncated to `count` tokens."""
    return (
        f"the prompt was probably truncated to {count} tokens; enlarge the context window with --option num_ctx=N, "
        "or use --no-truncate to get an error instead"
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the value that `percent` % of the sorted values do not exceed (nearest-rank method)."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def number(value: Any) -> int | float | None:
    """Return a count or a duration from a server; None if the server sent a value that is not valid."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < INT64:
        return None
    return value


def duration(value: Any) -> int | None:
    """Return a count or a duration from a server as an integer, or None if the value is not valid."""
    if type(value) is int and 0 <= value < INT64:
        return value
    found = number(value)
    return None if found is None else int(found)


def rate(count: float | None, duration_ns: float | None) -> float | None:
    """Return the rate in tokens per second, or None if it has no meaning.

    A rate has no meaning for a count of 0 or 1, because servers omit the duration of one token or send a constant. A
    rate above MAX_RATE has no meaning either.
    """
    if count is None or duration_ns is None or count <= 1 or duration_ns < 1:
        return None
    tokens_per_s = count * 1e9 / duration_ns
    return tokens_per_s if tokens_per_s <= MAX_RATE else None


def show_duration(duration_ns: float) -> str:
    """Return a duration as readable text in the format of Go: 4.668s, 130ms, 485.879µs."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if duration_ns >= size:
            # Integer arithmetic: a float cannot represent a large sum exactly.
            whole, thousandths = divmod((int(duration_ns) * 1000 + size // 2) // size, 1000)
            return f"{whole}.{thousandths:03d}".rstrip("0").rstrip(".") + unit
    return f"{duration_ns:g}ns"
