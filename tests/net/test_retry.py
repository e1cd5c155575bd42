"""A request is sent again while nothing of an answer has arrived, and only after a temporary failure."""

from __future__ import annotations

import contextlib
import email.utils
import json
import socket
import time
from typing import Any, Callable

import pytest

from ostream import Client, ConnectError, IncompleteStream, OstreamError, ResponseError, StreamTimeout
from ostream.net.retry import FIRST_PAUSE, LONGEST_PAUSE, backoff, retry_after_s
from ostream.net.timeouts import Timeouts
from ostream.recording.http_server import RequestHandler
from ostream.system.polling import wait_ready
from tests.server import Answers, http_answer, send_lines, send_raw, serve, tcp
from tests.server import reset as tear_down

DONE = b'{"message":{"role":"assistant","content":"hi"},"done":true}\n'
PART = b'{"message":{"role":"assistant","content":"hi"},"done":false}\n'
Respond = Callable[[RequestHandler], None]


@pytest.fixture(name="pauses")
def _pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each pause; no pause takes any time."""
    pauses: list[float] = []
    monkeypatch.setattr(Timeouts, "pause", lambda self, seconds, reader=None: pauses.append(seconds))
    return pauses


def one_after_the_other(*responses: Respond) -> Respond:
    rest = list(responses)

    def respond(exchange: RequestHandler) -> None:
        (rest.pop(0) if len(rest) > 1 else rest[0])(exchange)

    return respond


def status(code: int, *headers: str, error: str = "no") -> Respond:
    return send_raw(http_answer(code, json.dumps({"error": error}).encode(), *headers))


def reset(exchange: RequestHandler) -> None:
    exchange.reset()


def truncate_after_a_line(exchange: RequestHandler) -> None:
    exchange.head(200, "application/x-ndjson")
    exchange.chunk(PART)
    exchange.truncate()


# what the server does at first, whether the request is sent again
FAILURES: dict[str, tuple[Respond, bool]] = {
    **{str(code): (status(code), True) for code in (408, 425, 429, 502, 503, 504, 520, 530)},
    **{str(code): (status(code), False) for code in (400, 401, 404, 500, 519, 531)},
    "500, crashed runner": (status(500, error="an error was encountered while running the model: EOF"), True),
    "503 without a body": (send_raw(http_answer(503)), True),
    "reset": (reset, True),
    "closed": (send_raw(b""), True),
    "307": (status(307, "Location: http://127.0.0.1:1/"), False),
    "not HTTP": (send_raw(b"garbage\n\n"), False),
    "truncated after a line": (truncate_after_a_line, False),
    "error line": (send_lines(b'{"error":"boom"}\n'), False),
    "nothing after the headers": (send_lines(), False),
    "a web page": (send_lines(b"<html>", content_type="text/html"), False),
}


@pytest.mark.parametrize(("failure", "is_temporary"), FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("stream", [True, False])
def test_only_temporary_failures_are_retried(
    failure: Respond, is_temporary: bool, stream: bool, pauses: list[float]
) -> None:
    with serve(one_after_the_other(failure, failure, send_lines(DONE))) as server:
        client = Client(server.url, retry=2)

        def ask() -> Any:
            return list(client.chat("m", stream=True)) if stream else client.chat("m")

        if is_temporary:
            assert ask()
        else:
            with pytest.raises(OstreamError):
                ask()
        assert len(server.requests) == (3 if is_temporary else 1)  # type: ignore[attr-defined]
        assert len({request.body for request in server.requests}) == 1  # type: ignore[attr-defined]
    assert len(pauses) == (2 if is_temporary else 0)


def test_the_last_error_is_raised(pauses: list[float]) -> None:
    with serve(one_after_the_other(status(503), reset, status(504), status(429))) as server:
        for retry, kind, code in ((0, ResponseError, 503), (0, IncompleteStream, None), (1, ResponseError, 429)):
            with pytest.raises(kind) as caught:
                Client(server.url, retry=retry).chat("m")
            assert getattr(caught.value, "status_code", None) == code
    assert len(pauses) == 1


def test_a_refused_connection_is_retried(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConnectError, match="refused"):
            Client(f"127.0.0.1:{port}", retry=3).chat("m")
        assert len(pauses) == 3

        # The server starts during the pause.
        with contextlib.ExitStack() as stack:
            listening: list[int] = []

            def listen(self: Timeouts, seconds: float, watch: int | None = None) -> None:
                taken.listen()
                listening.append(stack.enter_context(tcp(Answers(http_answer(200, DONE)), taken)))

            monkeypatch.setattr(Timeouts, "pause", listen)
            assert Client(f"127.0.0.1:{port}", retry=1).chat("m").done
            assert listening == [port]


@pytest.mark.parametrize(("asked", "expected"), [("7", 7.0), (" 12 ", 12.0), ("0", FIRST_PAUSE), ("soon", FIRST_PAUSE)])
def test_retry_after_lengthens_the_pause(
    asked: str, expected: float, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    with serve(one_after_the_other(status(429, f"Retry-After: {asked}"), send_lines(DONE))) as server:
        assert Client(server.url, retry=1).chat("m").done
    assert pauses == [expected]


def pause_for(retry_after: str | None) -> float:
    error = ResponseError("busy", 503)
    error.retry_after = retry_after
    return retry_after_s(error)


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (email.utils.formatdate(NOW + 90, usegmt=True), 90.0),
        (email.utils.formatdate(NOW - 90, usegmt=True), 0.0),
        ("Tue, 14 Nov 2023 23:15:20 +0100", 120.0),
        ("9" * 400, float("inf")),
        ("²", 0),
        ("5\x1f", 5.0),
        ("1.5", 0),
        (None, 0),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999999999", 0),
        ("Wed, 21 Oct , 20,50M::28:;0 GMT ", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799 - NOW),
        ("0\x1f", 0),  # white space for strip(), not for float()
    ],
)
def test_retry_after_is_seconds_or_a_date(asked: str | None, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)
    assert pause_for(asked) == seconds


@pytest.mark.parametrize("tries", [1, 2, 3, 7, 50, 5000])
def test_pauses_double_up_to_a_limit_less_a_random_part(tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    full = min(FIRST_PAUSE * 2.0 ** min(tries - 1, 100), LONGEST_PAUSE)
    drawn = {backoff(tries) for _ in range(50)}
    assert len(drawn) > 1
    assert all(full / 2 <= pause <= full for pause in drawn)


def test_the_advice_knows_what_was_tried(pauses: list[float]) -> None:
    with serve(status(503)) as server:
        for retry, advice in ((0, "try again later, or use retry=N"), (2, "gave up after 3 tries")):
            with pytest.raises(ResponseError) as caught:
                Client(server.url, retry=retry).chat("m")
            assert caught.value.advice == advice
    with serve(status(503, "Retry-After: 3600")) as server:
        with pytest.raises(ResponseError) as caught:
            Client(server.url, retry=3).chat("m")
        assert caught.value.advice == "the server asked for a wait of 3,600 s (Retry-After)"
        assert len(server.requests) == 1  # type: ignore[attr-defined]


def test_a_timeout_is_retried_until_something_of_the_answer_has_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(exchange: RequestHandler) -> None:
        exchange.connection.recv(1)  # returns when the client leaves

    def pause(self: Timeouts, seconds: float, reader: object = None) -> None:
        pauses.append(seconds)
        self._limits["first-byte"] = 30.0

    pauses: list[float] = []
    monkeypatch.setattr(Timeouts, "pause", pause)
    with serve(one_after_the_other(silent, send_lines(DONE))) as server:
        assert Client(server.url, retry=1, first_byte_timeout=0.2).chat("m").done
    assert len(pauses) == 1


def test_the_timeouts_start_again_with_each_try() -> None:
    """The text of an error response is neither the first byte nor part of the answer."""

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        exchange.chunk(PART)
        exchange.connection.recv(1)  # returns when the client leaves

    with serve(one_after_the_other(status(503), respond)) as server, pytest.raises(StreamTimeout) as caught:
        Client(server.url, retry=1, first_byte_timeout=30, idle_timeout=0.1).chat("m")
    assert caught.value.timeout == "idle"
    assert f": {len(PART)} bytes of the response received" in str(caught.value)


@pytest.mark.parametrize("key", ["", "secret"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_reset_is_the_same_while_connecting_and_a_moment_later(
    scheme: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait_too_long(*arguments: Any) -> bool:
        ready = wait_ready(*arguments)
        time.sleep(0.2)
        return ready

    monkeypatch.setenv("OLLAMA_API_KEY", key)
    ends = []
    for seen_late in (False, True):
        if seen_late:
            monkeypatch.setattr("ostream.net.connect.wait_ready", wait_too_long)
        with tcp(tear_down) as port, pytest.raises(OstreamError) as caught:
            Client(f"{scheme}://127.0.0.1:{port}").chat("m")
        ends.append((type(caught.value), str(caught.value).replace(str(port), "PORT"), caught.value.retryable))
    assert ends[0] == ends[1]
    assert ends[0][2]
