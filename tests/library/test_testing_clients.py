"""The same program, written with each client and tested with one recording made by send; its prompt is an argument."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ostream.testing import ReplayError, replay
from tests.process import run
from tests.server import body_of, send_lines, serve

QUESTION = "Why is the sky blue?"
PYTHON = [sys.executable, "-c"]
OLLAMA = """
import sys, ollama
messages = [{"role": "user", "content": sys.argv[1]}]
"""
REQUESTS = """
import os, sys, requests
messages = [{"role": "user", "content": sys.argv[1]}]
url = os.environ["OLLAMA_HOST"] + "/api/chat"
"""
NODE = """
const messages = [{role: "user", content: process.argv[1]}];
const ask = (stream) => fetch(process.env.OLLAMA_HOST + "/api/chat",
    {method: "POST", body: JSON.stringify({model: "plain", messages, stream})});
"""
CURL = """curl -sS --fail-with-body "$OLLAMA_HOST/api/chat" -d \\
'{"model":"plain","stream":STREAM,"messages":[{"role":"user","content":"'"$1"'"}]}'
"""
PROGRAMS = {
    "sdk, streaming": [
        *PYTHON,
        OLLAMA + "for c in ollama.chat('plain', messages, stream=True): print(c.message.content, end='')",
    ],
    "requests, streaming": [
        *PYTHON,
        REQUESTS
        + "import json\nbody = {'model': 'plain', 'messages': messages}\n"
        + "answer = requests.post(url, json=body, stream=True, timeout=60)\n"
        + "for line in answer.iter_lines(): print(json.loads(line)['message']['content'], end='')",
    ],
    "node": ["node", "-e", NODE + "ask(false).then(r => r.json()).then(a => console.log(a.message.content))"],
    "node, streaming": [
        "node",
        "-e",
        NODE
        + "ask(true).then(r => r.text()).then(t => process.stdout.write("
        + "t.trim().split('\\n').map(l => JSON.parse(l).message.content).join('')))",
    ],
    "curl, streaming": ["sh", "-c", CURL.replace("STREAM", "true"), "sh"],
}
TOOLS = ("sdk", "requests")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "sky.ndjson"
    with serve(send_lines(*body_of("chat-stream").splitlines(keepends=True))) as server:
        stamped = run("send", "--stamp", "-m", "plain", QUESTION, env={"OLLAMA_HOST": server.url})
    path.write_bytes(stamped.stdout)
    return path


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.tools if each.startswith(TOOLS) else ()) for each in PROGRAMS]
)
def test_a_program_is_tested_with_one_recording(name: str, recording: Path) -> None:
    program = PROGRAMS[name]
    if not shutil.which(program[0]) or (program[0] == "sh" and not shutil.which("curl")):
        pytest.skip(f"needs {name.partition(',')[0]}")

    with replay(recording, strict=True):
        answer = subprocess.run([*program, QUESTION], stdout=subprocess.PIPE, check=True).stdout.decode()
        assert "sky" in answer

    changed = 'messages[0].content: recorded "Why is the sky blue?", requested "Why is the sea blue?"'
    with pytest.raises(ReplayError) as caught, replay(recording):
        subprocess.run([*program, "Why is the sea blue?"], capture_output=True, check=False)
    assert changed in str(caught.value)


OPENAI = """
import sys, openai
client = openai.OpenAI(api_key="none", max_retries=0, base_url=__import__("os").environ["OLLAMA_HOST"] + "/v1")
options = {"model": "plain", "messages": [{"role": "user", "content": "hi"}]}
if sys.argv[1] == "streaming":
    for chunk in client.chat.completions.create(**options, stream=True):
        print(chunk.choices[0].delta.content or "", end="")
else:
    print(client.chat.completions.create(**options).choices[0].message.content, end="")
"""


def completion(part: str, text: str, suffix: str = "") -> bytes:
    choice = {"index": 0, part: {"role": "assistant", "content": text}, "finish_reason": None if suffix else "stop"}
    value = {"id": "c", "object": f"chat.completion{suffix}", "created": 1, "model": "plain", "choices": [choice]}
    return json.dumps(value).encode()


EVENTS = [b"data: %b\n\n" % completion("delta", text, ".chunk") for text in ("Hel", "lo")]


@pytest.mark.tools
@pytest.mark.parametrize("recorded", ["streaming", "complete"])
def test_the_openai_client_gets_either_form_from_one_recording(recorded: str, tmp_path: Path) -> None:
    if recorded == "streaming":
        respond = send_lines(*EVENTS, b"data: [DONE]\n\n", content_type="text/event-stream")
    else:
        respond = send_lines(completion("message", "Hello"), content_type="application/json")
    program = [*PYTHON, OPENAI]
    with serve(respond) as server:
        record = run("record", tmp_path / "r", "--", *program, recorded, env={"OLLAMA_HOST": server.url})
    assert (record.returncode, record.stdout) == (0, b"Hello")
    for form in ("streaming", "complete"):
        with replay(tmp_path / "r", strict=True):
            assert subprocess.run([*program, form], stdout=subprocess.PIPE, check=True).stdout == b"Hello"
