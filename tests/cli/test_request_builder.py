"""The request that a command line of send makes, as --dry-run prints it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.process import call

PNG = b"\x89PNG\r\n\x1a\n and more"
IMAGE = base64.b64encode(PNG).decode()
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FILES = {
    "system.txt": b"from a \xc3\xa9 file\n",
    "latin1.txt": b"\xe9",
    "schema.json": json.dumps(SCHEMA).encode(),
    "list.json": b"[1]",
    "broken.json": b"{",
    "image.png": PNG,
    "text.png": b"no image",
    "sound.wav": b"RIFF\0\0\0\0WAVEfmt ",
    "chat.json": b'{"model":"b","messages":[{"role":"assistant","content":null,"images":["not base64!"]}],'
    b'"options":{"seed":1,"top_k":2},"new":1}',
    "system.json": b'{"model":"b","messages":[{"role":"system","content":"old"},{"role":"user","content":"hi"}]}',
    "generate.json": b'{"model":"b","prompt":"old","stream":false}',
    "both.json": b'{"model":"b","prompt":"p","messages":[]}',
    "bare.json": b"{}",
    "line.json": b'{"request":{"path":"/api/chat","body":{"model":"b","messages":[]}}}',
    "odd.json": b'{"model":"b","messages":"text"}',
    "odd-options.json": b'{"model":"b","messages":[],"options":null}',
    "-": b"a file of this name is not what - means",
}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)


def chat(*prompts: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "user", "content": text} for text in prompts]
    return "/api/chat", {"model": "m", "messages": messages, "stream": True, **fields}


def generate(prompt: str | None = None, **fields: Any) -> tuple[str, dict[str, Any]]:
    body = {"model": "m", "prompt": prompt, "stream": True, **fields}
    return "/api/generate", {name: value for name, value in body.items() if value is not None}


SYSTEM = {"role": "system", "content": "S"}
USER = {"role": "user", "content": "hi"}
# The server checks the messages of a body.
OLD = {"role": "assistant", "content": None, "images": ["not base64!"]}
HI = chat("hi")
REQUESTS = [
    # arguments, standard input, path and body
    (["hi"], b"unread", HI),
    (["two", "words  and", "-q"], b"", chat("two words  and")),
    (["--", "-m", "--think"], b"", chat("-m --think")),
    ([], b"one\ntwo\n", chat("one\ntwo")),
    ([], b"one\n\n", chat("one\n")),
    ([], "é\x85".encode(), chat("é\x85")),
    (["-"], b"one\n", chat("one")),
    (["--", "-"], b"one\n", chat("one")),
    (["before", "it", "-"], b"one\n", chat("before it\n\none")),
    (["-", "after", "it"], b"one\n", chat("one\n\nafter it")),
    (["a", "-", "b", "c"], b"one\n", chat("a\n\none\n\nb c")),
    (["-m", "other", "hi"], b"", chat("hi", model="other")),
    (["-g", "hi"], b"", generate("hi")),
    (["--generate"], b"hi\n", generate("hi")),
    (["-g", "--raw", "hi"], b"", generate("hi", raw=True)),
    (["-g", "--suffix", "after", "hi"], b"", generate("hi", suffix="after")),
    (["-g", "--template", "@system.txt", "hi"], b"", generate("hi", template="from a é file")),
    (["-g", "-s", "S", "hi"], b"", generate("hi", system="S")),
    (["-i", "sound.wav", "hi"], b"", chat(messages=[{**USER, "images": ["UklGRgAAAABXQVZFZm10IA=="]}])),
    (["-g", "-i", "image.png", "hi"], b"", generate("hi", images=[IMAGE])),
    (["-s", "S", "hi"], b"", chat(messages=[SYSTEM, USER])),
    (["--system=@system.txt", "hi"], b"", chat(messages=[{**SYSTEM, "content": "from a é file"}, USER])),
    (["-s", "@-", "hi"], b"S\n", chat(messages=[SYSTEM, USER])),
    (["-s", "@@S", "hi"], b"", chat(messages=[{**SYSTEM, "content": "@S"}, USER])),
    (["-s", "", "hi"], b"", chat(messages=[{**SYSTEM, "content": ""}, USER])),
    (["-o", "seed=1", "-o", "top_p=0.5", "hi"], b"", chat("hi", options={"seed": 1, "top_p": 0.5})),
    (["-o", "stop=a", "-o", 'stop=["b","c"]', "-o", "stop=1", "hi"], b"", chat("hi", options={"stop": list("abc1")})),
    (["-f", "json", "hi"], b"", chat("hi", format="json")),
    (["-f", "@schema.json", "hi"], b"", chat("hi", format=SCHEMA)),
    (["-f", "@-", "hi"], b"{}", chat("hi", format={})),
    (["-i", "image.png", "hi"], b"", chat(messages=[{**USER, "images": [IMAGE]}])),
    (["-i", "-", "-i", "image.png", "hi"], PNG, chat(messages=[{**USER, "images": [IMAGE, IMAGE]}])),
    (["--think", "hi"], b"", chat("hi", think=True)),
    (["--no-think", "hi"], b"", chat("hi", think=False)),
    (["--think", "--no-think", "hi"], b"", chat("hi", think=False)),
    *((["--think=" + level, "hi"], b"", chat("hi", think=level)) for level in ("low", "medium", "high", "max")),
    (["--think", "--", "low"], b"", chat("low", think=True)),
    (["--no-stream", "hi"], b"", chat("hi", stream=False)),
    (["--keep-alive", "-1", "hi"], b"", chat("hi", keep_alive=-1)),
    (["--keep-alive=0", "hi"], b"", chat("hi", keep_alive=0)),
    (["--keep-alive=true", "hi"], b"", chat("hi", keep_alive="true")),
    (["--logprobs", "--top-logprobs", "2", "hi"], b"", chat("hi", logprobs=True, top_logprobs=2)),
    (["--top-logprobs=2", "hi"], b"", chat("hi", logprobs=True, top_logprobs=2)),
    (["--truncate", "--shift", "hi"], b"", chat("hi", truncate=True, shift=True)),
    (["-o", 'a="1,b=2"', "-o", "b=1,5", "hi"], b"", chat("hi", options={"a": "1,b=2", "b": "1,5"})),
    (["--no-truncate", "--no-shift", "hi"], b"", chat("hi", truncate=False, shift=False)),
    (["--load"], b"unread", chat()),
    (["--unload"], b"unread", chat(keep_alive=0)),
    (["-g", "--load", "--keep-alive=1h"], b"", generate(keep_alive="1h")),
    (["-g", "--unload"], b"", generate(keep_alive=0)),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "stdin", "expected"), REQUESTS)
def test_words_files_and_options_make_the_body(
    arguments: list[str], stdin: bytes, expected: tuple[str, dict[str, Any]]
) -> None:
    result = call("send", "--dry-run", "-m", "m", *arguments, stdin=stdin)
    assert (result.returncode, result.stderr) == (0, b"")
    request = json.loads(result.stdout)["request"]
    assert (request["path"], request["body"]) == expected
    assert request["url"] == "http://127.0.0.1:11434" + expected[0]


def given(name: str, path: str = "/api/chat", **changes: Any) -> tuple[str, dict[str, Any]]:
    return path, {**json.loads(FILES[name]), **changes}


GENERATE = "/api/generate"
GIVEN = [
    # arguments, standard input, OLLAMA_MODEL, path and body
    (["hi"], b"", "env", chat("hi", model="env")),
    (["hi"], b"", "env\r\n", chat("hi", model="env")),
    (["-m", "m", "hi"], b"", "env", HI),
    (["--body", "bare.json", "hi"], b"", "env", given("bare.json", model="env", messages=[USER])),
    (["--body", "chat.json"], b"unread", "env", given("chat.json")),
    (["--body", "-"], FILES["chat.json"], "", given("chat.json")),
    (["--body", "chat.json", "-m", "m"], b"", "", given("chat.json", model="m")),
    (["--body", "chat.json", "hi"], b"", "", given("chat.json", messages=[OLD, USER])),
    (["--body", "chat.json", "-"], b"hi\n", "", given("chat.json", messages=[OLD, USER])),
    (["--body", "chat.json", "--no-stream", "-f", "json"], b"", "", given("chat.json", stream=False, format="json")),
    (["--body", "chat.json", "-o", "seed=9"], b"", "", given("chat.json", options={"seed": 9, "top_k": 2})),
    (["--body", "odd-options.json", "-o", "seed=9"], b"", "", given("odd-options.json", options={"seed": 9})),
    (["--body", "system.json", "-s", "S"], b"", "", given("system.json", messages=[SYSTEM, USER])),
    (["--body", "chat.json", "-s", "S"], b"", "", given("chat.json", messages=[SYSTEM, OLD])),
    (["--body", "bare.json", "-s", "S"], b"", "m", given("bare.json", model="m", messages=[SYSTEM])),
    (["--body", "generate.json"], b"", "", given("generate.json", GENERATE)),
    (["--body", "generate.json", "hi"], b"", "", given("generate.json", GENERATE, prompt="hi")),
    (["--body", "generate.json", "--suffix=s"], b"", "", given("generate.json", GENERATE, suffix="s")),
    (["--body", "bare.json", "-g", "hi"], b"", "m", given("bare.json", GENERATE, model="m", prompt="hi")),
    (["--body", "both.json"], b"", "", given("both.json")),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "stdin", "model", "expected"), GIVEN)
def test_words_and_options_are_added_to_a_given_body(
    arguments: list[str], stdin: bytes, model: str, expected: tuple[str, dict[str, Any]]
) -> None:
    result = call("send", "--dry-run", *arguments, stdin=stdin, env={"OLLAMA_MODEL": model})
    assert (result.returncode, result.stderr) == (0, b"")
    request = json.loads(result.stdout)["request"]
    assert (request["path"], request["body"]) == expected


TWICE = "standard input can only be used once; put one of the inputs in a file"
EMPTY = "the prompt is empty; give it as arguments or on standard input (to only load a model, use --load)"
NO_PROMPT = (
    "--load, --unload: can't be combined with a prompt, each other, or --system, --body, --conversation, --messages, "
    "--context"
)
WRONG = [
    ([""], EMPTY),
    (["-"], "standard input is empty; nothing was sent"),
    (["-", "-"], TWICE),
    (["-i", "-"], TWICE),
    (["--body", "-", "-"], TWICE),
    (["-s", "@-"], TWICE),
    (["-g", "--template=@-"], TWICE),
    (["-f", "@-", "-"], TWICE),
    (["--header-file", "-"], TWICE),
    (["--load", "hi"], NO_PROMPT),
    (["--load", "--unload"], NO_PROMPT),
    (["--load", "-s", ""], NO_PROMPT),
    (["--unload", "--body", "chat.json"], NO_PROMPT),
    (["--raw", "hi"], "--raw: only /api/generate takes it; add -g"),
    (["--suffix", "", "hi"], "--suffix: only /api/generate takes it; add -g"),
    (["--template", "t", "hi"], "--template: only /api/generate takes it; add -g"),
    (["-g", "--body", "chat.json"], "--generate: the body has messages, which only /api/chat takes; leave out -g"),
    (["-c", "-", "hi"], "--conversation, --context: must name a file, which is read and written"),
    (["-g", "--context", "", "hi"], "--context: needs a value, not ''"),
    (["-c", "new/", "hi"], "new/: is the name of a directory; give the name of a file"),
    (["--body", "bare.json"], "--body bare.json: contains no messages and no prompt; give a prompt, or use --load"),
    (["--body", "line.json"], "--body line.json: contains no messages and no prompt; send request lines with 'batch'"),
    (["-c", "new", "--body", "bare.json"], "new: contains no messages, and no prompt was given"),
    (["--body", "missing"], "missing: No such file or directory"),
    (["--body", "@chat.json"], "--body @chat.json: no such file; give a file name, or - for standard input"),
    (["-m", "", "hi"], "--model: is empty; give a model name, or leave it out to use $OLLAMA_MODEL"),
    (["--body", "list.json"], "--body list.json: must be a JSON object"),
    (["--body", "broken.json"], "--body broken.json: not JSON: "),
    (["--body", "odd.json"], "--body: messages must be an array"),
    (["-s", "@missing", "hi"], "missing: No such file or directory"),
    (["-s", "@latin1.txt", "hi"], "--system @latin1.txt: not UTF-8: unexpected end of data at byte 0"),
    (["-o", "seed", "hi"], "option 'seed': write NAME=VALUE, such as temperature=0; to write the output to a file"),
    (["-o", "a=NaN", "hi"], "request: Out of range float values are not JSON compliant"),
    (["-f", "broken.json", "hi"], "--format broken.json: is a file; write @broken.json"),
    (["-f", "yaml", "hi"], "--format yaml: is not json, a JSON schema or a file; write json, @FILE or "),
    (["-f", "{", "hi"], "--format {: not JSON: "),
    (["-o", "a=1,b=2", "hi"], "option 'a=1,b=2': looks like several options; repeat the option for each NAME=VALUE"),
    (["-f", "@list.json", "hi"], "--format: must be json or a JSON schema, which is an object"),
    (["-i", "missing", "hi"], "missing: No such file or directory"),
    (["-i", "text.png", "hi"], "--image text.png: not an image or sound file that servers accept; use PNG, JPEG, "),
    (["-i", "image.png", "--load"], "--image: needs a prompt"),
    (["--think", "low", "hi"], "--think low: write --think=low, or put the prompt after --"),
    (["--think=much", "hi"], "--think=much: invalid level; choose from true, false, low, medium, high, max"),
    (["--header", "no colon", "hi"], "header without a colon; write 'Name: value'"),
    (["--header-file", "missing", "hi"], "missing: No such file or directory"),
    (["--host", "ftp://x", "hi"], "host 'ftp://x': the scheme must be http or https"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_usage_is_reported_on_stderr_and_as_an_error_line(arguments: list[str], message: str) -> None:
    for dry in (["--dry-run"], []):
        result = call("send", "-m", "m", *dry, *arguments)
        assert result.returncode == 2
        assert result.stderr.decode().startswith(f"send: {message}")
        assert result.stderr.count(b"\n") == result.stdout.count(b"\n") == 1
        line = json.loads(result.stdout)
        assert line["exit_status"] == 2
        assert message.startswith(line["error"]) or line["error"].startswith(message)


@pytest.mark.parametrize(("model", "shown"), [("a\rb", r"a\rb"), ("\udcff", r"\udcff")])
def test_a_model_variable_that_is_not_printable_is_reported_by_its_name(model: str, shown: str) -> None:
    result = call("send", "hi", env={"OLLAMA_MODEL": model})
    message = f"send: OLLAMA_MODEL: '{shown}' contains characters that are not printable\n"
    assert (result.returncode, result.stderr.decode()) == (2, message)


def test_a_prompt_that_is_not_utf_8_is_sent_with_a_note() -> None:
    for options, note in (
        ([], b"send: standard input: not UTF-8 from byte 1; invalid bytes are replaced by U+FFFD\n"),
        (["-q"], b""),
    ):
        result = call("send", "--dry-run", "-m", "m", *options, stdin=b"a\xff\xfeb\n")
        assert (result.returncode, result.stderr) == (0, note)
        assert json.loads(result.stdout)["request"]["body"] == chat("a\ufffd\ufffdb")[1]
    result = call("send", "--dry-run", "-m", "m", "bad\udcff")
    assert result.stderr == b"send: the prompt is not UTF-8; invalid bytes are replaced by U+FFFD\n"
    assert json.loads(result.stdout)["request"]["body"] == chat("bad\ufffd")[1]


def test_a_dry_run_prints_the_names_of_headers_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "headers").write_text("X-One: secret-1\n\nX-Two:secret-2\n")
    result = call(
        *("send", "--dry-run", "-m", "m", "--header-file", "headers", "--header", "X-Three: secret-3", "hi"),
        env={"OLLAMA_API_KEY": "secret-4", "OLLAMA_HOST": "https://example.com/base/"},
    )
    assert b"secret" not in result.stdout + result.stderr
    request = json.loads(result.stdout)["request"]
    assert request["headers"] == dict.fromkeys(["X-One", "X-Two", "X-Three", "Authorization"], "***")
    assert request["url"] == "https://example.com:443/base/api/chat"


def test_a_dry_run_notes_that_the_key_is_withheld() -> None:
    result = call("send", "--dry-run", "-m", "m", "hi", env={"OLLAMA_API_KEY": "k", "OLLAMA_HOST": "http://example"})
    assert result.stderr == b"send: OLLAMA_API_KEY is not sent over plain http to http://example:80; use https\n"
