"""Select the recorded exchange that answers a request, or explain why there is none.

- An exchange answers a request that has the same method, path and canonical body.
- Identical requests are answered in recorded order, and each exchange is used once.
- `stream` is not part of the canonical body, but an exchange with the same `stream` is preferred.
- An exchange whose request was not recorded answers any request to its path. Such exchanges are used in order.
- A lookup takes constant time, because exchanges are indexed by the hash of their canonical body.
"""

from __future__ import annotations

import hashlib
import json
import threading

from ostream.errors import RequestError
from ostream.protocol.canonical import canonical_body
from ostream.protocol.http_errors import NO_RECORDING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Hashable, Iterable, Iterator

    from ostream.recording.format import RecordedExchange

# What a request must have in common with an exchange: the canonical body; or, if no body matches, only the path, or
# the path and the model.
MATCHES = ("request", "path", "model")

# To explain a mismatch, a request is compared with at most _COMPARED exchanges, and at most _DIFFERENCES differences
# from each exchange are counted.
_COMPARED, _DIFFERENCES = 1000, 50
# Values that are nested more deeply than this are compared as text, to avoid a RecursionError.
_DEPTH = 50
# Maximum number of characters of one value in an explanation.
_SHOWN = 60
_ABSENT = object()


class Match:
    """The exchange that answers a request.

    `note` describes how the request differs from the recorded request. It is "" if the requests match or the recorded
    request is unknown.
    """

    def __init__(self, exchange: RecordedExchange, note: str = "") -> None:
        self.exchange = exchange
        self.note = note


class _Queue:
    """The indexes of all exchanges with the same key, in recorded order. Those before `position` have been used."""

    def __init__(self) -> None:
        self.indexes: list[int] = []
        self.position = 0


class Recordings:
    """The recorded exchanges that answer requests. Thread-safe.

    Arguments:
        exchanges: the exchanges, in recorded order.
        match: one of MATCHES. If no body matches, "path" selects the next exchange with the path of the request;
            "model" selects the next one with the path and the model of the request.
        repeat: when all matching exchanges have been used, answer further requests from the last of them.
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
        """Append an exchange. `used` is true if it has already answered its request."""
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
        """Return the match for a request, or None.

        `body` is the decoded JSON of the request. `use` is called with the exchange that was found. If it returns
        false, the exchange can answer another request.
        """
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
        """Return the keys of the exchanges that may answer a request if no exchange matches its body."""
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
        """The model of the first exchange that has a model, or None."""
        return next((exchange.model for exchange in self.exchanges if exchange.model), None)

    @property
    def models(self) -> list[str]:
        """The models of all exchanges, without duplicates, in recorded order."""
        return list(dict.fromkeys(exchange.model for exchange in self.exchanges if exchange.model))

    def explain(self, method: str, path: str, body: Any) -> str:
        """Return a message that explains why no exchange answers a request.

        If no recorded request matches, the message names the most similar one and the first difference.
        """
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
            return f"{NO_RECORDING} is left for {request}: {count} been used; add --repeat to use the last one again"
        if not candidates:
            shown = ", ".join(recorded[:5]) or "nothing"
            return f"{NO_RECORDING} of {request}; recorded: {shown}{', ...' if len(recorded) > 5 else ''}"
        wanted = json.loads(_canonical(body))
        nearest = min(candidates, key=lambda each: _distance(json.loads(_canonical(each.body)), wanted))
        return (
            f"{NO_RECORDING} matches {request}; the most similar is {nearest.where}: {self._difference(nearest, body)}"
        )

    @staticmethod
    def _difference(exchange: RecordedExchange, body: Any) -> str:
        recorded, requested = json.loads(_canonical(exchange.body)), json.loads(_canonical(body))
        path, left, right = next(differences(recorded, requested), ("body", recorded, requested))
        shown_left, shown_right = _excerpts(left, right)
        return f"{path}: recorded {shown_left}, requested {shown_right}"


def _streams(body: Any) -> bool:
    return not (isinstance(body, dict) and body.get("stream") is False)


def _body_keys(method: str, path: str, body: Any, streams: bool) -> list[Hashable]:
    """Return the key of a request, followed by the key of the same request with the other value of `stream`."""
    digest = hashlib.sha256(_canonical(body)).digest()
    return [("body", method, path, digest, each) for each in (streams, not streams)]


def _canonical(body: Any) -> bytes:
    try:
        if isinstance(body, dict):
            return canonical_body(body)
    except RequestError:
        pass  # nested too deeply for the canonical form: the plain JSON is compared instead
    return json.dumps(body).encode()


def differences(recorded: Any, requested: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any, Any]]:
    """Yield each difference between two JSON values: its path, such as `messages[0].content`, and both values.

    _ABSENT replaces a value that is missing on one side. `path` and `depth` give the position of the two
    values in the complete bodies.
    """
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
    """Return how much two bodies differ.

    A difference between two texts counts as the fraction of the longer text that follows their common prefix. Any other
    difference counts 1.
    """
    total = 0.0
    for count, (_, left, right) in enumerate(differences(recorded, requested)):
        if count == _DIFFERENCES:
            return total + _DIFFERENCES
        both_text = isinstance(left, str) and isinstance(right, str)
        total += 1 - _common(left, right) / max(len(left), len(right)) if both_text else 1
    return total


def _common(left: str, right: str) -> int:
    """Return the length of the common prefix of two texts."""
    for index, (one, other) in enumerate(zip(left, right)):
        if one != other:
            return index
    return min(len(left), len(right))


def _excerpts(left: Any, right: Any) -> tuple[str, str]:
    """Return both values as JSON, each shortened to the part around the first difference."""
    texts = ["nothing" if value is _ABSENT else json.dumps(value, ensure_ascii=False) for value in (left, right)]
    begin = max(_common(*texts) - _SHOWN // 3, 0)
    begin = begin if max(map(len, texts)) > _SHOWN else 0
    return tuple(  # type: ignore[return-value]
        f"{'...' if begin else ''}{text[begin : begin + _SHOWN]}{'...' if len(text) > begin + _SHOWN else ''}"
        for text in texts
    )
