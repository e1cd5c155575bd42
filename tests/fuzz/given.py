"""Strategies of the fuzz tests: JSON with the field names of the API, bytes that resemble lines, and divided bytes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.characters() | st.sampled_from("\0\r\n\x1b\x85\u2028\ud83d"), max_size=8)
NUMBER = (
    st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.sampled_from([0, 1, 200, 404, 503, 2048, -1, 1e308, 2**63, -(2**63)])
)
JSON: Any = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT | st.just("2026-01-02T03:04:05.6Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    *("message", "response", "content", "thinking", "tool_calls", "done", "done_reason", "model", "created_at", "id"),
    *("error", "exit_status", "status_code", "StatusCode", "signin_url", "partial", "detail", "request", "status"),
    *("content_type", "path", "body", "role", "elapsed", "custom_id", "body_sha256", "logprobs", "function", "name"),
    *("arguments", "tool_name", "total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration"),
    *("eval_count", "eval_duration"),
)
# Any JSON value in place of an object of the API, and often such an object.
VALUE: Any = st.recursive(
    JSON, lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=4) | st.lists(inner, max_size=3)
)
OBJECT: Any = st.dictionaries(st.sampled_from(NAMES), VALUE, max_size=6)


def _written(value: Any) -> bytes:
    return json.dumps(value).encode()


def _raw(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


LINE = (
    OBJECT.map(_written)
    | OBJECT.map(_raw)
    | JSON.map(_written)
    | st.binary(max_size=12)
    | OBJECT.map(lambda value: _written(value)[:-3])
)
LINES = st.lists(LINE, max_size=6).map(b"\n".join) | st.lists(LINE, max_size=6).map(
    lambda lines: b"\n".join([*lines, b""])
)


@st.composite
def blocks(draw: Any, whole: Any = LINES) -> list[bytes]:
    """Bytes divided at any offsets."""
    data: bytes = draw(whole)
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)])]
