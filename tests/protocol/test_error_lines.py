"""Error lines and HTTP errors: which lines are errors, their text, advice and exit status."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ostream.protocol.error_lines import error_text, is_error, is_openai_record, line_kind, line_status, response_error
from ostream.protocol.http_errors import error_from_http_body
from ostream.protocol.ndjson import decode_line
from tests.server import body_of

LINES = [
    # line, whether it is an error line
    ({"error": "boom"}, True),
    ({"error": {"message": "x", "code": 400}}, True),
    ({"error": False}, True),
    ({"error": "boom", "message": {"content": "a"}, "done": True}, True),
    ({"error": ""}, True),
    ({"error": "", "done": False}, False),
    ({"error": "", "response": "a"}, False),
    ({"error": None}, False),
    ({"error_count": 0, "done": False}, False),
    ({"error": {}, "response": "a"}, False),
    ({"error": {}}, True),
    ({"error": False, "response": "a"}, True),
    ({"message": {"content": 'an "error": "x"'}}, False),
    ({}, False),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_an_empty_error_on_a_chunk_is_not_an_error_line(line: dict[str, Any], expected: bool) -> None:
    assert is_error(line) is expected


KINDS = [
    # line, its kind, is it a record of an OpenAI batch file
    ({"error": "boom", "message": {}}, "error", False),
    ({"role": "user", "content": "a"}, "message", False),
    ({"request": {"path": "/api/chat"}, "status": 200}, "request", False),
    ({"role": "user", "message": {"content": "a"}, "done": True}, "chunk", False),
    ({"request": {"path": "/api/tags"}, "response": "a", "elapsed": 5}, "chunk", False),
    ({"error": "", "role": "x", "done": True}, "message", False),
    ({}, "chunk", False),
    ({"custom_id": "a", "response": {"body": {}}, "error": None}, "chunk", True),
    ({"custom_id": "a", "response": None, "error": {"message": "no"}}, "error", True),
    ({"custom_id": "a", "response": "text", "done": False}, "chunk", False),
    ({"custom_id": "a", "message": {"content": "a"}, "done": True}, "chunk", False),
    ({"custom_id": "a", "response": "text"}, "chunk", False),
]


@pytest.mark.parametrize(("line", "kind", "is_record"), KINDS)
def test_keys_that_a_server_adds_do_not_change_the_kind_of_a_chunk(
    line: dict[str, Any], kind: str, is_record: bool
) -> None:
    assert (line_kind(line), is_openai_record(line)) == (kind, is_record)


def test_an_error_line_without_a_status_has_that_of_the_error() -> None:
    assert [line_status(line) for line in ({"error": "x"}, {"error": "x", "StatusCode": 429})] == [1, 75]
    assert line_status({"error": "an error was encountered while running the model: EOF"}) == 75


TEXTS = [
    # the value of `error`, its text
    ("boom", "boom"),
    ("  boom\n", "boom"),
    ("", "error without a message"),
    ({"message": "x", "code": 400}, "x"),
    ({"message": 4}, '{"message": 4}'),
    ({"code": 400}, '{"code": 400}'),
    (False, "false"),
    (None, "null"),
    # a runner's own response, quoted
    ('{"error":{"code":400,"message":"too long","type":"exceed_context_size_error"}}', "too long"),
    ('{"error":{"message":"no memory"}}\nllama runner: out of memory', "no memory"),
    ('{"message":"inner"}', "inner"),
    ('{"error":{"code":400}}', '{"code": 400}'),
    ('{"error":""}', '{"error":""}'),
    ('{"code":400} and more', '{"code":400} and more'),
    ("{not JSON}", "{not JSON}"),
    ('{"a":' * 100_000, ('{"a":' * 100_000)),
    # other JSON is text
    ('["x"]', '["x"]'),
]


@pytest.mark.parametrize(("error", "text"), TEXTS, ids=[repr(error)[:30] for error, _ in TEXTS])
def test_the_text_of_an_error_is_found_in_every_shape(error: Any, text: str) -> None:
    assert error_text(error) == text


def test_the_text_of_an_error_nested_too_deeply_says_so() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    assert error_text(nested) == "error nested too deeply"


OBJECTS = [
    # an error object, its text, status code, sign-in address
    ({"error": "boom"}, "boom", -1, ""),
    ({"StatusCode": 429, "Status": "429 Too Many Requests", "error": "slow"}, "slow", 429, ""),
    ({"error": "gone", "status_code": 404, "exit_status": 1}, "gone", 404, ""),
    ({"error": "unauthorized", "signin_url": "https://x/y"}, "unauthorized", -1, "https://x/y"),
    ({"error": "boom", "StatusCode": "429", "signin_url": 1}, "boom", -1, ""),
    ({"error": "boom", "StatusCode": 429.0}, "boom", -1, ""),
]


@pytest.mark.parametrize(("line", "text", "code", "url"), OBJECTS)
def test_an_error_object_becomes_a_response_error(line: dict[str, Any], text: str, code: int, url: str) -> None:
    error = response_error(line)
    assert (error.error, error.status_code, error.signin_url) == (text, code, url)


PULL = "run 'ollama list' to see installed models, or 'ollama pull nope' to download it"
ADDRESS = "check OLLAMA_HOST and its path"
CONTEXT = "raise --option num_ctx=N"
PAGE = b"<!DOCTYPE html><html><head><TITLE lang=en>\n Bad\n  Gateway </TITLE></head><body>...</body></html>"

ANSWERS = [
    # HTTP status, body, text, beginning of the advice, exit status
    (404, body_of("chat-unknown-model"), "model 'nope' not found", PULL, 1),
    (404, body_of("notfound"), "404 page not found", ADDRESS, 1),
    (404, b'{"error":"no recording is left"}', "no recording is left", "", 1),
    (500, body_of("broken-missing-blob"), (decode_line(body_of("broken-missing-blob")) or {})["error"], "", 1),
    (400, b'{"error":"\\u003cb\\u003e"}', "<b>", "", 1),
    (400, b'{"error":{"message":"x","code":7}}', "x", "", 1),
    *(
        (status, b'{"error":"%b"}' % text.encode(), text, advice, exit_status)
        for status, text, advice, exit_status in (
            (400, "the request exceeds the available context size", CONTEXT, 1),
            (500, "an error was encountered while running the model: EOF", "", 75),
            (400, "error parsing tool call", "", 1),
            (500, "error parsing tool call: x", "", 75),
            (500, "timed out waiting for llama runner to start", "", 75),
        )
    ),
    (524, b"", "empty response", "", 75),
    (401, b'{"error":"unauthorized","signin_url":"https://x/y"}', "unauthorized", "", 1),
    (401, b'{"detail":"Not authenticated"}', "Not authenticated", "", 1),
    (422, b'{"detail":[{"loc":["body"]}]}', '[{"loc": ["body"]}]', "", 1),
    (407, b"", "empty response", "the proxy needs credentials", 1),
    (403, b"", "empty response", "the server rejects this host name", 1),
    (403, b'{"error":"ollama cloud is disabled"}', "ollama cloud is disabled", "", 1),
    (500, b"", "empty response", "", 1),
    (502, PAGE, "Bad Gateway", "", 75),
    (503, b'{"error":"server busy, please try again.  maximum"}', "server busy, please try again.  maximum", "", 75),
    (429, b"slow\xff down", "slow\ufffd down", "", 75),
    (500, b"[1]", "[1]", "", 1),
    (500, b"{}", "{}", "", 1),
    (500, b'{"error":null,"detail":null}', '{"error":null,"detail":null}', "", 1),
    (500, b'{"StatusCode":429,"error":"slow"}', "slow", "", 1),  # the status is the one HTTP says
    (500, b"[" * 100_000, "[" * 199 + "…", "", 1),
    (500, b"word " * 100_000, "word " * 39 + "word…", "", 1),
]


@pytest.mark.parametrize(
    ("status", "body", "text", "advice", "exit_status"), ANSWERS, ids=[f"{row[0]}-{row[1][:20]!r}" for row in ANSWERS]
)
def test_an_http_error_has_text_advice_and_exit_status(
    status: int, body: bytes, text: str, advice: str, exit_status: int
) -> None:
    error = error_from_http_body(status, body)
    assert error.status_code == status
    assert error.exit_status == exit_status
    assert error.advice.startswith(advice)
    assert bool(error.advice) is bool(advice)
    assert error.error == text


def test_a_page_with_many_titles_is_read_in_linear_time() -> None:
    # Searched from every "<title", this would take seconds.
    before = time.process_time()
    assert error_from_http_body(502, b"<title" * 100_000).error.startswith("<title<title")
    assert time.process_time() - before < 0.5
