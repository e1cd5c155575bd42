"""Select the recorded exchange that answers a request, and explain why none does.

A request is answered by an exchange of the same method, path and canonical body; identical requests are answered in
recorded order, each exchange once. `stream` is not part of the canonical body, but an exchange with the same `stream`
is preferred. Exchanges whose request was not recorded answer any request to their path, in order. Lookups take
constant time: exchanges are indexed by the hash of their canonical body.
"""

from __future__ import annotations

import hashlib
import json
import threading

from ostream.errors import RequestError
from ostream.protocol.canonical import canonical_body
from ostream.protocol.error_lines import NO_RECORDING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Hashable, Iterable, Iterator

    from ostream.recording.format import RecordedExchange

# How a request must match: by its canonical body, or else only by its path, or by path and model.
MATCHES = ("request", "path", "model")

# A mismatch is compared with at most this many recordings, and this many differences of each.
_COMPARED, _DIFFERENCES = 1000, 50
# Values nested more deeply are compared as text, to avoid a RecursionError.
_DEPTH = 50
# Characters of a value shown in an explanation.
_SHOWN = 60
_ABSENT = object()


class Match:
    """The exchange that answers a request. `note` tells how the request differs from the recorded one, or is ""."""

    def __init__(self, exchange: RecordedExchange, note: str = "") -> None:
        self.exchange = exchange
        self.note = note


class _Queue:
    """The exchanges that a key stands for, in recorded order; those before `position` have been used."""

    def __init__(self) -> None:
        self.indexes: list[int] = []
        self.position = 0


class Recordings:
    """Exchanges to answer requests from. Thread-safe.

    `match` is one of MATCHES; with "path" and "model" a request without an exact match is answered by the next
    exchange of its path, or of its path and model. With `repeat` the last exchange that matches answers any number of
    further requests.
    """

    def __init__(
        self, exchanges: Iterable[RecordedExchange] = (), match: str = "request", repeat: bool = False
    ) -> None:
        self.exchanges: list[RecordedExchange] = []
        self._match = match
        self._repeat = repeat
        self._used: set[int] = set()
        self._touched: set[int] = set()
        self._queues: dict[Hashable, _Queue] = {}
        self._of_path: dict[tuple[str, str], list[int]] = {}
        self._lock = threading.Lock()
        for exchange in exchanges:
            self.add(exchange)

    def add(self, exchange: RecordedExchange, used: bool = False) -> None:
        """Append an exchange; with `used` it has answered its request already."""
        method, path = exchange.method, exchange.path
        with self._lock:
            index = len(self.exchanges)
            self.exchanges.append(exchange)
            if used:
                self._used.add(index)
            keys: list[Hashable] = [("path", method, path), ("model", method, path, exchange.model)]
            if exchange.any_body:
                keys.append(("any", method, path))
            else:
                keys.append(_body_keys(method, path, exchange.body, _streams(exchange.body))[0])
                self._of_path.setdefault((method, path), []).append(index)
            for key in keys:
                self._queues.setdefault(key, _Queue()).indexes.append(index)

    def find(
        self, method: str, path: str, body: Any, use: Callable[[RecordedExchange], bool] = lambda exchange: True
    ) -> Match | None:
        """Return the match for a request, or None. If `use` returns false for it, the exchange remains available."""
        streams = _streams(body)
        exact = _body_keys(method, path, body, streams)
        with self._lock:
            found = self._next([*exact, *self._loose_keys(method, path, body)])
            if found is None:
                return None
            index, key = found
            exchange = self.exchanges[index]
            if use(exchange):
                self._used.add(index)
            self._touched.add(index)
        note = "" if key in exact or exchange.any_body else self._difference(exchange, body)
        return Match(exchange, note)

    def _loose_keys(self, method: str, path: str, body: Any) -> list[Hashable]:
        """The keys of exchanges that answer a request although they do not match its body."""
        if self._match == "path":
            return [("path", method, path)]
        keys: list[Hashable] = [("any", method, path)]
        if self._match == "model":
            model = body.get("model") if isinstance(body, dict) else None
            keys.append(("model", method, path, model if isinstance(model, str) else None))
        return keys

    def _next(self, keys: list[Hashable]) -> tuple[int, Hashable] | None:
        queues = [(key, self._queues[key]) for key in keys if key in self._queues]
        for key, queue in queues:
            while queue.position < len(queue.indexes):
                index = queue.indexes[queue.position]
                if index not in self._used:
                    return index, key
                queue.position += 1
        if self._repeat and queues:
            key, queue = queues[0]
            return queue.indexes[-1], key
        return None

    @property
    def unused(self) -> list[RecordedExchange]:
        """The exchanges that have not answered any request, in recorded order."""
        with self._lock:
            return [
                exchange
                for index, exchange in enumerate(self.exchanges)
                if index not in self._used and index not in self._touched
            ]

    @property
    def model(self) -> str | None:
        """The model of the first exchange that has one."""
        return next((exchange.model for exchange in self.exchanges if exchange.model), None)

    @property
    def models(self) -> list[str]:
        """The models of all exchanges, each once, in recorded order."""
        return list(dict.fromkeys(exchange.model for exchange in self.exchanges if exchange.model))

    def explain(self, method: str, path: str, body: Any) -> str:
        """Describe why nothing answers a request: the nearest recorded request, and what differs."""
        request = f"{method} {path}"
        loose = self._loose_keys(method, path, body)
        exact = _body_keys(method, path, body, _streams(body))
        with self._lock:
            same = sum(len(self._queues[key].indexes) for key in exact if key in self._queues)
            same = same or max(len(self._queues[key].indexes) if key in self._queues else 0 for key in loose)
            candidates = [self.exchanges[index] for index in self._of_path.get((method, path), ())[:_COMPARED]]
            recorded = list(dict.fromkeys(f"{each.method} {each.path}" for each in self.exchanges))
        if same:
            count = "its one recording has" if same == 1 else f"its {same} recordings have"
            return f"{NO_RECORDING} is left for {request}: {count} answered already; --repeat uses the last one again"
        if not candidates:
            shown = ", ".join(recorded[:5]) or "nothing"
            return f"{NO_RECORDING} of {request}; recorded: {shown}{', ...' if len(recorded) > 5 else ''}"
        wanted = json.loads(_canonical(body))
        nearest = min(candidates, key=lambda each: _distance(json.loads(_canonical(each.body)), wanted))
        return f"{NO_RECORDING} matches {request}; nearest is {nearest.where}: {self._difference(nearest, body)}"

    @staticmethod
    def _difference(exchange: RecordedExchange, body: Any) -> str:
        recorded, requested = json.loads(_canonical(exchange.body)), json.loads(_canonical(body))
        path, left, right = next(differences(recorded, requested), ("body", recorded, requested))
        shown_left, shown_right = _excerpts(left, right)
        return f"{path}: recorded {shown_left}, requested {shown_right}"


def _streams(body: Any) -> bool:
    return not (isinstance(body, dict) and body.get("stream") is False)


def _body_keys(method: str, path: str, body: Any, streams: bool) -> list[Hashable]:
    """The key of a request, and that of the same request with another `stream`."""
    digest = hashlib.sha256(_canonical(body)).digest()
    return [("body", method, path, digest, each) for each in (streams, not streams)]


def _canonical(body: Any) -> bytes:
    try:
        if isinstance(body, dict):
            return canonical_body(body)
    except RequestError:
        pass  # nested too deeply: compared as it is
    return json.dumps(body).encode()


def differences(recorded: Any, requested: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any, Any]]:
    """Yield each difference between two JSON values: its path, as in `messages[0].content`, and both values."""
    if depth == _DEPTH and recorded is not _ABSENT and requested is not _ABSENT:
        recorded, requested = json.dumps(recorded), json.dumps(requested)
    if isinstance(recorded, dict) and isinstance(requested, dict):
        for key in [*recorded, *(key for key in requested if key not in recorded)]:
            where = f"{path}.{key}" if path else str(key)
            yield from differences(recorded.get(key, _ABSENT), requested.get(key, _ABSENT), where, depth + 1)
        if list(recorded) != list(requested) and recorded.keys() == requested.keys():
            yield f"{path} (order of its keys)", list(recorded), list(requested)
    elif isinstance(recorded, list) and isinstance(requested, list):
        for index in range(max(len(recorded), len(requested))):
            left = recorded[index] if index < len(recorded) else _ABSENT
            right = requested[index] if index < len(requested) else _ABSENT
            yield from differences(left, right, f"{path}[{index}]", depth + 1)
    elif recorded != requested:
        yield path or "body", recorded, requested


def _distance(recorded: Any, requested: Any) -> float:
    """How much two bodies differ: each difference counts 1, one between texts by the part that differs."""
    total = 0.0
    for count, (_, left, right) in enumerate(differences(recorded, requested)):
        if count == _DIFFERENCES:
            return total + _DIFFERENCES
        both_text = isinstance(left, str) and isinstance(right, str)
        total += 1 - _common(left, right) / max(len(left), len(right)) if both_text else 1
    return total


def _common(left: str, right: str) -> int:
    """Length of the common beginning of two texts."""
    for index, (one, other) in enumerate(zip(left, right)):
        if one != other:
            return index
    return min(len(left), len(right))


def _excerpts(left: Any, right: Any) -> tuple[str, str]:
    """Both values as JSON, each shortened to the part around their first difference."""
    texts = ["nothing" if value is _ABSENT else json.dumps(value, ensure_ascii=False) for value in (left, right)]
    begin = max(_common(*texts) - _SHOWN // 3, 0)
    begin = begin if max(map(len, texts)) > _SHOWN else 0
    return tuple(  # type: ignore[return-value]
        f"{'...' if begin else ''}{text[begin : begin + _SHOWN]}{'...' if len(text) > begin + _SHOWN else ''}"
        for text in texts
    )
