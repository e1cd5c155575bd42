"""Responses of chat and generate: when chunks arrive, how they end, and that a truncated answer is an error."""

from __future__ import annotations

import contextlib
import json
import threading
import tracemalloc
from typing import Any, Callable

import pytest

import ostream
from ostream import Chunk, Client, IncompleteStream, NotNDJSON, OstreamError, ResponseError
from ostream.client import Stream
from ostream.recording.http_server import RequestHandler
from tests.server import STREAMS, raw_of, send_lines, send_raw, serve

HI = b'{"model":"m","message":{"role":"assistant","content":"hi"},"done":false}\n'
THERE = b'{"model":"m","message":{"role":"assistant","content":" there"},"done":false}\n'
DONE = b'{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","eval_count":2}\n'
PATIENCE_S = 60


def fragments(*texts: str) -> list[bytes]:
    return [json.dumps({"message": {"role": "assistant", "content": text}, "done": False}).encode() for text in texts]


USER = {"role": "user", "content": "hello"}


def test_a_stream_sends_its_request_at_the_first_next() -> None:
    with serve(send_lines(HI, DONE)) as server:
        stream = Client(server.url).chat("m", stream=True)
        untouched = Client("127.0.0.1:1").chat("m", stream=True)
        assert isinstance(stream, Stream)
        assert iter(stream) is stream
        assert server.requests == []  # type: ignore[attr-defined]
        next(stream)
        assert len(server.requests) == 1  # type: ignore[attr-defined]
        stream.close()
    untouched.close()
    assert list(untouched) == []


def test_a_chunk_is_returned_as_soon_as_its_line_has_arrived() -> None:
    proceed = threading.Semaphore(0)

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        for piece in (HI, THERE[:9], THERE[9:] + HI[:9], HI[9:], DONE[:-1]):
            exchange.chunk(piece)
            proceed.acquire(timeout=PATIENCE_S)
        exchange.end()

    with serve(respond) as server:
        stream = Client(server.url, idle_timeout=PATIENCE_S).chat("m", stream=True)
        assert next(stream).message.content == "hi"
        assert stream.message == {"role": "assistant", "content": "hi"}
        assert stream.response.done is False
        proceed.release()
        proceed.release()
        assert next(stream).message.content == " there"
        proceed.release()
        assert next(stream).message.content == "hi"
        proceed.release()
        proceed.release()
        assert next(stream).done
    assert stream.message == {"role": "assistant", "content": "hi therehi"}
    assert stream.response == {**json.loads(DONE), "message": stream.message}
    assert list(stream) == []


def leave_by_close(stream: Any) -> None:
    next(stream)
    stream.close()
    stream.close()
    assert list(stream) == []


def leave_a_with(stream: Any) -> None:
    with stream as same:
        assert same is stream
        next(stream)


def leave_a_with_by_an_error(stream: Any) -> None:
    with pytest.raises(KeyError), stream:
        next(stream)
        raise KeyError


def leave_by_done(stream: Any) -> None:
    while not next(stream).done:
        pass
    assert list(stream) == []


@pytest.mark.parametrize("leave", [leave_by_close, leave_a_with, leave_a_with_by_an_error, leave_by_done])
def test_leaving_a_stream_closes_the_connection_at_once(leave: Callable[[Any], None]) -> None:
    client_left = threading.Event()

    def respond(exchange: RequestHandler) -> None:
        exchange.head(200, "application/x-ndjson")
        with contextlib.suppress(ConnectionError):  # closing with unread input resets the connection
            exchange.chunk(HI)
            if leave is leave_by_done:
                exchange.chunk(DONE)
            exchange.connection.recv(1)  # nothing arrives: it returns when the client has left
        client_left.set()

    with serve(respond) as server, contextlib.closing(Client(server.url)) as client:
        stream = client.chat("m", stream=True)
        leave(stream)
        if leave is leave_by_done:  # until then the connection is kept
            client.close()
        assert client_left.wait(PATIENCE_S)
    assert stream.message.content == "hi"


def test_one_client_serves_many_threads_at_once() -> None:
    all_connected = threading.Barrier(16)

    def respond(exchange: RequestHandler) -> None:
        text = json.loads(exchange.body)["messages"][0]["content"]
        all_connected.wait(PATIENCE_S)
        send_lines(*(line + b"\n" for line in fragments(*text)), DONE)(exchange)

    answers: dict[str, str] = {}

    def ask(text: str) -> None:
        for _ in range(3):
            stream = client.chat("m", [{"role": "user", "content": text}], stream=True)
            answers[text] = answers.get(text, "") + "".join(chunk.message.content for chunk in stream)

    with serve(respond) as server:
        client = Client(server.url)
        threads = [threading.Thread(target=ask, args=(f"thread {number}",)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {f"thread {number}": f"thread {number}" * 3 for number in range(16)}


# lines that do not end with done: true; the error, a part of its text, and whether a part of the answer arrived
INCOMPLETE: dict[str, tuple[list[bytes], type[OstreamError], str, bool]] = {
    "nothing": ([], IncompleteStream, "ended early", False),
    "blank lines": ([b"\n", b" \r\n"], IncompleteStream, "ended early", False),
    "no end": ([HI, THERE], IncompleteStream, "ended early", True),
    "done in words": ([HI, b'{"done":"true"}\n'], IncompleteStream, "ended early", True),
    "done as a number": ([HI, b'{"done":1}\n'], IncompleteStream, "ended early", True),
    "a reason without done": ([HI, b'{"done":false,"done_reason":"stop"}\n'], IncompleteStream, "ended early", True),
    "a torn line": ([HI, THERE[:20]], IncompleteStream, "ended early", True),
    "a torn line alone": ([HI[:20]], IncompleteStream, "ended early", False),
    "an error line": ([HI, b'{"error":"boom"}\n'], ResponseError, "boom", True),
    "an error line without end": (
        [HI, b'{"StatusCode":429,"Status":"429 Too Many","error":"slow down"}'],
        *(ResponseError, "slow down (status code: 429)", True),
    ),
    "not JSON": ([HI, b"\n", b"oops\n"], NotNDJSON, "line 3 of the response: not JSON", True),
    "an indented object cut": ([b"{\n", b'  "response": "a",\n', b'  "done'], IncompleteStream, "ended early", False),
    "an indented object damaged": ([b"{\n", b" oops\n", b"}\n"], NotNDJSON, "line 1 of the response", False),
    "an indented error": ([b"{\n", b'"error": "boom"}\n'], ResponseError, "boom", False),
    "damage at the end": ([HI, b'{"response":NaN}'], NotNDJSON, "line 2 of the response: not usable: NaN", True),
    "deep nesting": (
        [HI, b'{"x":' + b"[" * 500 + b"]" * 500 + b"}\n"],
        NotNDJSON,
        "line 2 of the response: not usa",
        True,
    ),
    "an array": ([b"[1]\n"], NotNDJSON, "line 1 of the response: not a JSON object but an array", False),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("lines", "kind", "words", "has_part"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_a_response_without_done_is_an_error(
    lines: list[bytes], kind: type[OstreamError], words: str, has_part: bool, stream: bool
) -> None:
    got: list[Any] = []
    with serve(send_lines(*lines)) as server, pytest.raises(kind) as caught:
        answer = Client(server.url).chat("m", stream=stream)
        got.extend(answer)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    if has_part:
        assert isinstance(caught.value.partial, Chunk)
        assert caught.value.partial.message.content == "".join(
            json.loads(line)["message"]["content"] for line in lines if line in (HI, THERE)
        )
        assert caught.value.partial.done is not True
    else:
        assert caught.value.partial is None
    assert bool(got) is (has_part and stream)
    if isinstance(caught.value, NotNDJSON):
        assert caught.value.line in (lines[-1], b"".join(lines))
        assert words.startswith(f"line {caught.value.lineno} ")


# lines of other servers and of old ones, and the text
TOLERATED: dict[str, tuple[list[bytes], str]] = {
    "a second done": ([HI, DONE, THERE, DONE], "hi"),
    "an error after done": ([HI, DONE, b'{"error":"late"}\n'], "hi"),
    "garbage after done": ([HI, DONE, b"oops"], "hi"),
    "done with text": ([HI, THERE.replace(b"false", b"true")], "hi there"),
    "no last newline": ([HI, DONE[:-1]], "hi"),
    "CRLF and blank lines": ([HI[:-1] + b"\r\n", b"\r\n", b"\n", DONE], "hi"),
    "no message at the end": ([HI, b'{"done":true}\n'], "hi"),
    "one object": ([THERE.replace(b"false", b"true")[:-1]], " there"),
    "indented": ([json.dumps({**json.loads(THERE), "done": True}, indent=2).encode()], " there"),
    "a number": ([b'{"response":42,"done":true}'], "42"),
    "generate": ([b'{"response":"a"}\n', b'{"response":"b","error":null}\n', b'{"done":true}\n'], "ab"),
}


@pytest.mark.parametrize(("lines", "text"), TOLERATED.values(), ids=TOLERATED)
def test_a_stream_and_a_complete_response_agree(lines: list[bytes], text: str) -> None:
    with serve(send_lines(*lines)) as server:
        client = Client(server.url)
        stream = client.chat("m", stream=True)
        chunks = list(stream)
        response = client.chat("m", stream=False)
        assert client.chat("m", stream=True).final() == response
        assert "".join(client.chat("m", stream=True).text_stream) == text
    assert chunks[-1].done is True
    assert ostream.content(stream.response) == response.text == stream.message.content == text
    assert len(chunks) == 1 or stream.response == response


def test_an_indented_object_over_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostream.protocol.response_lines.LINE_LIMIT", 100)
    # More than one read returns.
    text = json.dumps({"response": "x", "filler": ["x"] * 20_000, "done": True}, indent=1)
    with serve(send_lines(text.encode())) as server, pytest.raises(NotNDJSON, match="line 1 of the response"):
        Client(server.url).generate("m", "p")


def test_blank_lines_in_an_indented_object_take_no_memory() -> None:
    with serve(send_lines(b"{", b"\n" * 300_000, b'"response":"x","done":true}')) as server:
        client = Client(server.url)
        client.generate("m", "p")  # modules are loaded
        tracemalloc.start()
        try:
            assert client.generate("m", "p").text == "x"
            assert tracemalloc.get_traced_memory()[1] < 12_000_000
        finally:
            tracemalloc.stop()


def test_a_context_carries_a_second_turn() -> None:
    rest = [raw_of("generate-stream"), raw_of("generate-stream-second-turn")]
    with serve(lambda exchange: send_raw(rest.pop(0))(exchange)) as server:
        client = Client(server.url)
        first = client.generate("plain", "Why is the sky blue?", stream=True)
        assert "".join(chunk.response for chunk in first).startswith("The sky")
        second = client.generate("plain", "And at night?", context=first.response.context, stream=True)
        assert "".join(chunk.response for chunk in second) == second.response.response
    for request, name in zip(server.requests, ("generate-stream", "generate-stream-second-turn")):  # type: ignore[attr-defined]
        recorded = (STREAMS / f"{name}.req").read_bytes().partition(b"\r\n\r\n")[2]
        assert json.loads(request.body) == {**json.loads(recorded), "stream": True}


def test_tool_calls_of_a_stream_are_ready_to_send_back() -> None:
    with serve(send_raw(raw_of("chat-tools-stream"))) as server:
        client = Client(server.url)
        stream = client.chat("m", [USER], stream=True)
        calls = [call for chunk in stream for call in chunk.message.tool_calls or []]
        list(client.chat("m", [USER, stream.message, {"role": "tool", "content": "1"}], stream=True))
    assert [(call.function.name, call.function.arguments["city"]) for call in calls] == [("get_weather", "Zürich")]
    sent = json.loads(server.requests[1].body)["messages"]  # type: ignore[attr-defined]
    assert sent[1] == {"role": "assistant", "content": "", "tool_calls": calls}


def test_the_metrics_cover_the_complete_response() -> None:
    last = DONE[:-2] + b',"eval_duration":1000000000,"total_duration":2000000000}\n'
    with serve(send_lines(HI, last)) as server:
        stream = Client(server.url).chat("m", stream=True)
        assert stream.metrics.eval_rate is None
        list(stream)
    assert stream.metrics.eval_rate == stream.metrics["eval_rate"] == 2.0
    assert stream.metrics.time_to_first_token_from == "client clock"
    assert stream.metrics.time_to_first_token > 0


def test_final_returns_the_complete_response_however_much_was_read() -> None:
    with serve(send_lines(HI, HI, HI, DONE)) as server:
        client = Client(server.url)
        expected = client.chat("m")
        for count in range(5):
            stream = client.chat("m", stream=True)
            for _ in range(count):
                next(stream)
            assert stream.final() == stream.final() == stream.response == expected
            assert stream.message.content == "hihihi"


def test_text_stream_skips_chunks_without_text_and_ends_with_the_errors_of_the_stream() -> None:
    thinking = b'{"message":{"role":"assistant","content":"","thinking":"hm"},"done":false}\n'
    with serve(send_lines(thinking, HI, HI)) as server:
        texts = Client(server.url).chat("m", stream=True).text_stream
        assert [next(texts), next(texts)] == ["hi", "hi"]
        with pytest.raises(IncompleteStream):
            next(texts)
