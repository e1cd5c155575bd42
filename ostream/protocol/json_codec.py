"""Decode and encode JSON without NaN and infinity.

`json` is loaded only when it is needed, because it loads `re`, `enum` and `functools`: half of the start-up
instructions of a filter. Its scanner and its encoder, written in C, are in a separate module.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import json
    from typing import Any, Callable, NoReturn


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(number: str) -> float:
    """Decode 1e999 as the largest float, as jq does, because JSON cannot represent infinity."""
    return max(-sys.float_info.max, min(float(number), sys.float_info.max))


def strict_decoder() -> json.JSONDecoder:
    """Return a decoder of the `json` package that rejects NaN and infinity."""
    import json

    return json.JSONDecoder(parse_constant=_reject_constant, parse_float=_finite)


class _Settings:
    """The attributes of a JSONDecoder that its scanner reads."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_constant = staticmethod(_reject_constant)
    parse_float = staticmethod(_finite)
    parse_int = int


# scan_once(text, index) returns the value that begins at the index, and the index of its end. It raises StopIteration
# if no value begins there, ValueError for damaged JSON, or RecursionError. Python 3.10 and 3.11 raise SystemError
# instead of ValueError while `json` is not loaded.
scan_once: Callable[[str, int], tuple[Any, int]]
try:
    from _json import make_scanner

    scan_once = make_scanner(_Settings)  # type: ignore[arg-type]
except (ImportError, AttributeError):  # PyPy, or a later CPython whose scanner reads more settings
    scan_once = strict_decoder().scan_once  # type: ignore[attr-defined]


def decode_first(text: str) -> tuple[Any, int]:
    """Return the value at the beginning of `text`, and the index of its end.

    Raises ValueError or RecursionError. For text that is not JSON, the ValueError is a json.JSONDecodeError.
    """
    try:
        return scan_once(text, 0)
    except (StopIteration, SystemError):
        return strict_decoder().raw_decode(text)


def refuse(value: Any) -> NoReturn:
    """Raise TypeError for an object that JSON cannot represent."""
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def encode_json(value: dict[str, Any], default: Callable[[Any], Any] = refuse) -> str:
    """Return compact JSON text. `default` is called with an object that JSON cannot represent, and returns another.

    Raises TypeError, ValueError or RecursionError, as `json.dumps` does.
    """
    try:
        from _json import encode_basestring, make_encoder

        encoder = make_encoder({}, default, encode_basestring, None, ":", ",", False, False, False)
    except (ImportError, TypeError):  # PyPy, or a later CPython whose encoder has other arguments
        import json

        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=default)
    return "".join(encoder(value, 0))
