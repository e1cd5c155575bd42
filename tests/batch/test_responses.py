"""Responses become answers, and answers and failures become lines that a later run recognises."""

from __future__ import annotations

import json
import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest

from ostream.batch.answer_lines import begins_as_answer, parse_answer, with_id
from ostream.batch.jobs import Job
from ostream.batch.responses import FormatError, answer_line, check_answer, complete_answer, failure_line, measurable
from ostream.batch.sender import Sender
from ostream.errors import (
    PARTIAL_LIMIT,
    EmptyError,
    IncompleteStream,
    LengthError,
    OstreamError,
    RequestError,
    ResponseError,
    StreamTimeout,
)
from tests.server import body_of

WHOLE = body_of("chat-nostream")
STREAM = body_of("chat-stream")
CHOICES = b'{"id":"chatcmpl-1","choices":[],"usage":{"completion_tokens":3}}'

ANSWERS: dict[str, bytes] = {
    "an object": WHOLE,
    "and spaces": b" " + WHOLE + b" \n\n",
    "pretty-printed": json.dumps(json.loads(WHOLE), indent=1).encode(),
    "a stream": STREAM,
    "and more after its end": STREAM + b'{"message":{"content":"late"},"done":true}\n',
    "and blank lines": b"\n \n" + STREAM.replace(b"\n", b"\n\r\n"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_complete_answer_is_found(name: str) -> None:
    answer = complete_answer("/api/chat", ANSWERS[name])
    assert answer["done"] is True
    assert answer["message"]["content"].startswith("The sky is blue")
    assert "late" not in answer["message"]["content"]


def test_answer_of_openais_api_is_complete_with_choices() -> None:
    assert complete_answer("/v1/completions", CHOICES)["choices"] == []
    assert complete_answer("/v1/completions", b'{"role":"assistant","request":"r","choices":[]}')["choices"] == []


NO_ANSWERS: dict[str, tuple[bytes, str, type[OstreamError], str]] = {
    "not done": (b'{"response":"a","done":false}', "/api/generate", IncompleteStream, 'no "done": true'),
    "done in another way": (b'{"response":"a","done":1}', "/api/generate", IncompleteStream, 'no "done"'),
    "truncated": (WHOLE[:-1], "/api/chat", IncompleteStream, "the answer is truncated"),
    "empty": (b"", "/api/chat", IncompleteStream, "the answer is empty"),
    "a byte order mark": (b"\xef\xbb\xbf\n", "/api/chat", IncompleteStream, "the answer contains no chunk"),
    "blank": (b"\n \n", "/api/chat", IncompleteStream, "the answer is empty"),
    "more after the end": (STREAM + b'{"done":false}', "/api/chat", IncompleteStream, 'no "done": true after its last'),
    "a message": (b'{"role":"assistant","content":"x","done":true}', "/api/chat", IncompleteStream, "no chunk"),
    "a request line": (b'{"request":{}}\n' + STREAM, "/api/chat", ResponseError, "contains a request line"),
    "a deep value": (b'{"x":' + b"[" * 600 + b"]" * 600 + b"}\n" + STREAM, "/api/chat", ResponseError, "too deeply"),
    "a form feed": (STREAM + b"\x0c\n", "/api/chat", ResponseError, "the answer: not JSON"),
    "no choices": (b'{"choices":null}', "/v1/completions", IncompleteStream, 'no "choices"'),
    "no JSON": (b"what?\n", "/api/chat", ResponseError, "the answer: not JSON"),
    "an array": (b"[1]", "/api/chat", ResponseError, "not a JSON object but an array"),
    "damage before the end": (b'{"message":\n' + WHOLE, "/api/chat", ResponseError, "the answer: not JSON"),
    "an error": (b'{"error":"boom"}', "/api/chat", ResponseError, "boom"),
    "a record with an error": (
        b'{"custom_id":"a","response":{"body":{"error":"boom"}}}\n' + STREAM,
        "/api/chat",
        ResponseError,
        "boom",
    ),
    "an error in a stream": (STREAM[:200].split(b"\n")[0] + b'\n{"error":"boom"}', "/api/chat", ResponseError, "boom"),
    "OpenAI's error": (b'{"error":{"message":"boom"}}', "/v1/completions", ResponseError, "boom"),
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_complete_answer_fails_and_is_kept(name: str) -> None:
    data, path, kind, text = NO_ANSWERS[name]
    with pytest.raises(kind, match=text) as caught:
        complete_answer(path, data)
    assert caught.value.partial == (None if text == "boom" else data or None)


@pytest.mark.parametrize("data", [STREAM[: STREAM[:-1].rfind(b"\n")], STREAM[:-5]])
def test_interrupted_stream_is_kept_folded(data: bytes) -> None:
    with pytest.raises(IncompleteStream) as caught:
        complete_answer("/api/chat", data)
    partial = json.loads(caught.value.partial)
    assert partial["message"]["content"].startswith("The sky is blue")
    assert partial["done"] is False


def test_partial_answer_is_limited() -> None:
    with pytest.raises(IncompleteStream) as caught:
        complete_answer("/api/chat", b'{"x":"' + b"x" * (2 * PARTIAL_LIMIT))
    assert len(caught.value.error_line()["partial"]) == PARTIAL_LIMIT


@pytest.mark.parametrize("data", [STREAM, b"\n\n"])
def test_time_limit_ends_the_decoding_of_an_answer(data: bytes) -> None:
    def check() -> None:
        raise StreamTimeout("late", "max-time")

    with pytest.raises(StreamTimeout):
        complete_answer("/api/chat", data, check)


LINES = [
    b"\n" * 300_000 + WHOLE,
    b"{" + b"\n" * 300_000 + WHOLE[1:],
    b'{"x":[\n' + b"1,\n" * 300_000 + b"1]," + WHOLE[1:],
]


@pytest.mark.parametrize("data", LINES, ids=["before an object", "in an object", "of an array"])
def test_many_short_lines_take_no_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        complete_answer("/api/chat", data)
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


SCHEMA = {"type": "object", "required": ["label"], "properties": {"label": {"type": "string"}}}
CALL = {"tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
LENGTH = {"done_reason": "length"}
# format, content, further fields of the answer and of its message -> error
CHECKS: list[tuple[Any, str, dict[str, Any], dict[str, Any], type[OstreamError] | None]] = [
    ("json", "{}", {}, {}, None),
    ("json", "no", {}, {}, FormatError),
    ("json", "NaN", {}, {}, FormatError),
    ("", "no", {}, {}, None),
    (SCHEMA, '{"label":1}', {}, {}, None),
    (SCHEMA, "{}", {}, {}, FormatError),
    ({"type": "array"}, "[]", {}, {}, None),
    ({"type": "object", "required": [1]}, "{}", {}, {}, None),
    (SCHEMA, "", {}, CALL, None),
    (SCHEMA, '{"lab', LENGTH, {}, LengthError),
    (SCHEMA, '{"label":1}', LENGTH, {}, None),
]


@pytest.mark.parametrize(("form", "text", "fields", "message", "error"), CHECKS)
def test_answer_must_have_the_format_of_its_request(
    form: Any, text: str, fields: dict[str, Any], message: dict[str, Any], error: type[OstreamError] | None
) -> None:
    job, openai = a_job(), a_job(openai=True)
    job.path, job.body = "/api/chat", {"format": form}
    openai.path = "/v1/chat/completions"
    openai.body = {"response_format": {"type": "json_schema", "json_schema": {"schema": form}}}
    if form in ("json", ""):
        openai.body = {"response_format": {"type": "json_object"}} if form else {"response_format": {"type": "text"}}
    answer = {"message": {"content": text, **message}, "done": True, **fields}
    reason = fields.get("done_reason", "stop")
    choices = {"choices": [{"message": {"content": text, **message}, "finish_reason": reason}]}
    for each, found in ((job, answer), (openai, choices)):
        if error is None:
            check_answer(each, found)
        else:
            with pytest.raises(error):
                check_answer(each, found)


@pytest.mark.parametrize(
    ("answer", "options", "error"),
    [
        ({"message": {"content": "a"}, **LENGTH}, {"fail_on_length": True}, LengthError),
        ({"message": {"content": "a"}, **LENGTH}, {}, None),
        ({"message": {"content": " \n", "thinking": "t"}}, {"fail_on_empty": True}, EmptyError),
        ({"response": ""}, {}, None),
        ({"response": "", "image": "iVBO"}, {"fail_on_empty": True}, None),
        ({"message": {"content": "", "images": ["iVBO"]}}, {"fail_on_empty": True}, None),
        ({"message": {"content": "", **CALL}}, {"fail_on_empty": True}, None),
    ],
)
def test_options_decide_whether_a_short_answer_is_a_failure(
    answer: dict[str, Any], options: dict[str, bool], error: type[OstreamError] | None
) -> None:
    job = a_job()
    job.path = "/api/chat"
    if error is None:
        check_answer(job, answer, **options)
    else:
        with pytest.raises(error):
            check_answer(job, answer, **options)


def a_job(id: Any = "a", openai: bool = False) -> Job:
    job = Job()
    job.id, job.openai, job.body_sha256 = id, openai, "0" * 64
    return job


TAG = b',"id":"a","body_sha256":"' + b"0" * 64 + b'"}\n'


@pytest.mark.parametrize("data", [b'{"x":1.50,"done":true}', b' {"x":1.50,"done":true }\r\n'])
def test_answer_keeps_its_bytes_and_gets_keys_at_its_end(data: bytes) -> None:
    assert answer_line(a_job(), {"x": 1.5, "done": True}, data) == b'{"x":1.50,"done":true' + TAG


@pytest.mark.parametrize(
    "data", [b'{"x":1.5,\n"done":true}', b'\xef\xbb\xbf{"x":1.5,"done":true}', b'{"x":0}\n{"x":1.5,"done":true}\n']
)
def test_answer_on_several_lines_becomes_one(data: bytes) -> None:
    assert answer_line(a_job(), {"x": 1.5, "done": True}, data) == b'{"x":1.5,"done":true' + TAG


@pytest.mark.parametrize(
    "key", ["id", "custom_id", "body_sha256", "row_sha256", "row_columns", "elapsed", "exit_status", "request", "role"]
)
def test_keys_of_our_grammar_are_not_taken_from_a_server(key: str) -> None:
    data = json.dumps({key: "theirs", "done": True}).encode()
    line = answer_line(a_job(), json.loads(data), data)
    assert line == b'{"done":true' + TAG
    assert parse_answer(line) == (b'"a"', "0" * 64)


def test_record_is_answered_with_a_record() -> None:
    answer = json.loads(CHOICES)
    line = json.loads(answer_line(a_job(openai=True), answer, CHOICES, 200, "r"))
    assert list(line) == ["id", "custom_id", "response", "error", "body_sha256"]
    assert line["custom_id"] == "a"
    assert line["response"] == {"status_code": 200, "request_id": "r", "body": answer}
    assert line["error"] is None
    other = json.loads(answer_line(a_job("b", openai=True), answer, CHOICES))
    assert line["id"].startswith("batch_req_")
    assert line["id"] != other["id"]


def test_failure_has_id_and_status() -> None:
    truncated = IncompleteStream("truncated", b"{")
    assert json.loads(failure_line(a_job(), truncated)) == {
        "error": "truncated",
        "partial": "{",
        "exit_status": 3,
        "id": "a",
        "body_sha256": "0" * 64,
    }
    assert json.loads(failure_line(Job(), RequestError("no file"))) == {"error": "no file", "exit_status": 2}
    line = json.loads(failure_line(a_job(openai=True), truncated))
    assert line["response"] is None
    assert (line["error"], line["partial"]) == ({"code": "3", "message": "truncated"}, "{")
    line = json.loads(failure_line(a_job(openai=True), ResponseError("busy", 503)))
    assert line["response"] == {"status_code": 503, "request_id": "", "body": {"error": {"message": "busy"}}}
    assert (line["error"], line["exit_status"]) == ({"code": "503", "message": "busy"}, 75)


def test_search_for_the_end_of_an_answer_takes_linear_time() -> None:
    # If all of the last 64 KiB were searched for each block, this would take minutes.
    nothing: Any = None
    timeouts = SimpleNamespace(running="first-byte", start=lambda name: None)
    line = b'{"done":false,"x":true}\n'
    response: Any = SimpleNamespace(blocks=lambda: [line] * 50_000, timeouts=timeouts, status=200)
    before = time.process_time()
    assert Sender(nothing, nothing, nothing, print, print)._read(response) == line * 50_000
    assert time.process_time() - before < 20


def with_row(job: Job) -> Job:
    job.row_sha256, job.row_columns = "1" * 64, ["a", "b]"]
    return job


@pytest.mark.parametrize(
    ("job", "data"),
    [
        (a_job(), b'{"done":true}'),
        (a_job(-7), b'{"done":true}'),
        (a_job('é"\\'), b'{"done":true}'),
        (a_job(10**30), b'{"done":true}'),
        (a_job(), b'{"error":null,"done":true}'),
        (a_job(), b'{"message":{"content":",\\"id\\":\\"x\\""},"done":true}'),
        (with_row(a_job()), b'{"n":1e999,"done":true}'),
        (a_job(openai=True), b"{}"),
    ],
)
def test_written_line_is_recognised_and_can_be_renumbered(job: Job, data: bytes) -> None:
    line = answer_line(job, json.loads(data), data)
    assert parse_answer(line) == (job.key, job.body_sha256)
    assert parse_answer(with_id(line, 5)) == (b"5", job.body_sha256)
    error = StreamTimeout("late", "idle")
    assert parse_answer(failure_line(job, error)) == (job.key, "")


@pytest.mark.parametrize("line", [b"\n", failure_line(Job(), RequestError("no"))])
def test_line_without_an_answer_has_no_id(line: bytes) -> None:
    assert parse_answer(line) == (None, "")


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"id": "a"},
        {"id": "a", "body_sha256": 1},
        {"id": "a", "body_sha256": "g" * 64},
        {"id": True, "body_sha256": "0" * 64},
        {"custom_id": None, "body_sha256": "0" * 64},
        {"error": "a log of something else"},
    ],
)
def test_line_that_batch_never_wrote_is_refused(line: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="that batch wrote"):
        parse_answer(json.dumps(line).encode())


@pytest.mark.parametrize(
    ("torn", "known", "is_answer"),
    [
        (b'{"model":"m","created_at":"20', b"", True),
        (b'{"error":"a', b"", True),
        (b'{"id":"batch_req_', b"", True),
        (b'{"model":"m","messages":[', b"", False),
        (b"{{ mustache }}", b"", False),
        (b"{{ mustache }}", b'{"model":"m"}\n', False),
        (b'{"mo', b'{"model":"m"}\n', True),
        (b'{"x":1', b'{"x":2}\n', True),
    ],
)
def test_beginning_of_an_answer_is_recognised(torn: bytes, known: bytes, is_answer: bool) -> None:
    assert begins_as_answer(torn, known) is is_answer


def test_counts_of_openais_api_are_counts_too() -> None:
    answer = {"done": True}
    assert measurable(answer) is answer
    assert measurable({"usage": {"prompt_tokens": 3}}) == {"prompt_eval_count": 3, "eval_count": None}
    assert measurable({"usage": None}) == {"usage": None}
