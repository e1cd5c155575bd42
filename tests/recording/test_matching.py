"""A request is answered by the recording of the same request, each recording once, and a mismatch shows the nearest."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from ostream.recording.format import RecordedExchange
from ostream.recording.matching import Recordings, differences


def exchange(body: Any, path: str = "/api/chat", **options: Any) -> RecordedExchange:
    return RecordedExchange(path, body, **options)


def any_body(path: str = "/api/chat", model: str | None = None) -> RecordedExchange:
    unlabelled = exchange(None, path, any_body=True)
    unlabelled.response_model = model
    return unlabelled


def nested(depth: int) -> Any:
    """A body that can be encoded, but is nested too deeply for the canonical form."""
    return json.loads('{"a":' * depth + "{}" + "}" * depth)


A, B = {"model": "m", "prompt": "a"}, {"model": "m", "prompt": "b"}
C = {"model": "n", "prompt": "a"}
FINDS: list[tuple[str, list[RecordedExchange], list[tuple[Any, int | None]]]] = [
    # how requests match, the recordings, then requests to /api/chat and the recording that answers each
    ("request", [exchange(A), exchange(B), exchange(A)], [(B, 1), (A, 0), (A, 2), (A, None), (B, None), (C, None)]),
    # the canonical body counts; a recording with the same stream is preferred
    ("request", [exchange({**A, "x": 0})], [({"tools": [], "keep_alive": 1.5, "x": 0.0, "stream": False, **A}, 0)]),
    ("request", [exchange(A), exchange({**A, "stream": False})], [({**A, "stream": False}, 1), (A, 0)]),
    ("request", [exchange(A), exchange({**A, "stream": False})], [(A, 0), ({**A, "stream": True}, 1), (A, None)]),
    # other paths and methods
    ("request", [exchange(A, "/api/generate"), exchange(A, method="PUT"), exchange(A, "/api/chat/")], [(A, None)]),
    # recordings without requests answer in order, after those that match
    ("request", [any_body(), exchange(A), any_body()], [(A, 1), (B, 0), (None, 2), (A, None)]),
    # bodies that are not objects, or not JSON
    ("request", [exchange([1]), exchange(None), exchange({})], [([1], 0), (None, 1), ({}, 2), ("x", None)]),
    (
        "request",
        [exchange(nested(900)), exchange(nested(901))],
        [(nested(901), 1), (nested(900), 0), (nested(902), None)],
    ),
    ("path", [exchange(A), exchange(B), any_body()], [(B, 1), (C, 0), (C, 2), (C, None)]),
    ("model", [exchange(A), exchange(C), exchange(A)], [({**C, "prompt": "z"}, 1), (B, 0), (B, 2), (C, None)]),
    ("model", [any_body(model="m"), exchange(C)], [(B, 0), (B, None), (C, 1), ({"model": [1]}, None)]),
    ("repeat request", [exchange(A), exchange(A), any_body()], [(A, 0), (A, 1), (A, 2), (A, 1), (A, 1), (B, 2)]),
    ("repeat path", [exchange(A), exchange(B)], [(C, 0), (C, 1), (C, 1), (A, 0)]),
    ("request", [], [(A, None)]),
]


@pytest.mark.parametrize(("how", "exchanges", "requests"), FINDS)
def test_a_request_finds_its_recording(
    how: str, exchanges: list[RecordedExchange], requests: list[tuple[Any, int | None]]
) -> None:
    recordings = Recordings(exchanges, how.split()[-1], repeat=how.startswith("repeat"))
    for body, index in requests:
        found = recordings.find("POST", "/api/chat", body)
        assert (found and found.exchange) is (None if index is None else exchanges[index]), body


def test_a_match_by_path_reports_the_difference() -> None:
    recordings = Recordings([exchange(A), exchange(A)], "path")
    notes = [match.note for body in (A, B) if (match := recordings.find("POST", "/api/chat", body))]
    assert notes == ["", 'prompt: recorded "a", requested "b"']


def test_a_recording_that_is_only_shown_remains_available() -> None:
    recordings = Recordings([exchange(A), exchange(B)])
    for use in (False, False, True):
        assert recordings.find("POST", "/api/chat", A, lambda _: use)  # noqa: B023
    assert recordings.find("POST", "/api/chat", A) is None
    assert [each.body for each in recordings.unused] == [B]


CHAT = "POST", "/api/chat"
LONG = [{"prompt": "x" * 200 + each + "y" * 200} for each in "ab"]
SHOWN = "recorded ...{0}a{1}..., requested ...{0}b{1}...".format("x" * 20, "y" * 39)
EXPLAINED: list[tuple[list[RecordedExchange], tuple[str, str, Any], str]] = [
    ([exchange(C), exchange(A)], (*CHAT, B), 'most similar is f:1: prompt: recorded "a", requested "b"'),
    ([exchange(A)], (*CHAT, {**A, "n": [1, {"k": 2}]}), 'n: recorded nothing, requested [1, {"k": 2}]'),
    ([exchange({**A, "n": [1]})], (*CHAT, A), "n: recorded [1], requested nothing"),
    ([exchange(A)], (*CHAT, None), 'body: recorded {"model": "m", "prompt": "a"}, requested null'),
    ([exchange({"prompt": "a"})], (*CHAT, {"prompt": "ab"}), 'recorded "a", requested "ab"'),
    ([exchange({}, f"/{n}") for n in range(7)], ("GET", "/x", {}), "of GET /x; recorded: POST /0, POST /1, POST /2, P"),
    ([], ("GET", "/x", {}), "no recording of GET /x; recorded: nothing"),
    ([exchange(nested(900))], (*CHAT, nested(901)), ".a.a.a: recorded "),
    ([exchange(A)], (*CHAT, "used"), "is left for POST /api/chat: its one recording has been used; add --r"),
    ([any_body(), any_body()], (*CHAT, "used"), "is left for POST /api/chat: its 2 recordings have been used"),
    (
        [exchange({"format": {"a": 1, "b": 2}})],
        (*CHAT, {"format": {"b": 2, "a": 1}}),
        'format (order of its keys): recorded ["a", "b"], requested ["b", "a"]',
    ),
    ([exchange(LONG[0])], (*CHAT, LONG[1]), f"prompt: {SHOWN}"),
    ([exchange({"n": list(range(99))})], (*CHAT, {"n": list(range(1, 100))}), "n[0]: recorded 0, requested 1"),
]


@pytest.mark.parametrize(("exchanges", "request_", "text"), EXPLAINED)
def test_a_mismatch_is_explained(exchanges: list[RecordedExchange], request_: Any, text: str) -> None:
    for number, each in enumerate(exchanges):
        each.where = f"f:{number}"
    recordings = Recordings(exchanges)
    method, path, body = request_
    if body == "used":
        body = A
        while recordings.find(method, path, body):
            pass
    explanation = recordings.explain(method, path, body)
    assert explanation.startswith("no recording")
    assert text in explanation


def test_differences_name_the_path_into_the_json() -> None:
    recorded = {"messages": [{"content": "a"}, {"role": "x"}], "seed": 1}
    requested = {"messages": [{"content": "b"}], "seed": 1.5, "stop": []}
    paths = [path for path, _, _ in differences(recorded, requested)]
    assert paths == ["messages[0].content", "messages[1]", "seed", "stop"]


def test_lookups_take_constant_time() -> None:
    bodies = [{"model": "m", "messages": [{"role": "user", "content": f"{n} " * 50}]} for n in range(2_000)]
    begin = time.process_time()
    recordings = Recordings([exchange(body) for body in bodies])
    assert all(recordings.find("POST", "/api/chat", json.loads(json.dumps(body))) for body in reversed(bodies))
    assert time.process_time() - begin < 1


def test_the_models_are_those_requested_or_answered() -> None:
    recordings = Recordings([exchange({"model": "a"}), any_body(model="b"), exchange({"model": 1}), any_body()])
    assert (recordings.models, recordings.model) == (["a", "b"], "a")
    assert (Recordings([exchange({})]).models, Recordings([any_body()]).model) == ([], None)
