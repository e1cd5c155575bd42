"""An API key reaches only its server: it never appears in output or in `ps`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.process import BIN, ROOT, call, environment, expect
from tests.server import Answers, body_of, http_answer, tcp

SECRET = "sk-s3cr3t"
DONE = b'{"message":{"role":"assistant","content":"hi"},"done":true}\n'
WAYS = {
    # how the key is passed: options, environment
    "OLLAMA_API_KEY": ([], {"OLLAMA_API_KEY": SECRET}),
    "--header": (["--header", f"Authorization: Bearer {SECRET}"], {}),
    "--header of another name": (["--header", f"X-Api-Key: {SECRET}"], {}),
    "--header-file": (["--header-file", "{file}"], {}),
    "a proxy's password": ([], {"http_proxy": f"http://me:{SECRET}@127.0.0.1:1", "OLLAMA_API_KEY": SECRET}),
}
BUSY = http_answer(503, b'{"error":"busy"}', "Retry-After: 0")
OUTCOMES = {
    # response of the server, options, exit status
    "success": (http_answer(200, DONE), ["-v"], 0),
    "a recording": (http_answer(200, DONE), ["-v", "--stamp"], 0),
    "nothing sent": (b"", ["-v", "--dry-run"], 0),
    "refused": (http_answer(401, b'{"error":"unauthorized","signin_url":"https://x"}'), ["-v", "--stamp"], 1),
    "redirected": (http_answer(307, b"", "Location: http://elsewhere.test/"), ["-v"], 1),
    "busy": (BUSY, ["-v", "--retry", "1"], 75),
    "cut": (http_answer(200, DONE)[:-9], ["-v"], 3),
    "not HTTP": (b"SSH-2.0-x\r\n", ["-v"], 1),
    "hung up": (b"", ["-v"], 3),
    "no TLS": (b"", ["-v", "--host", "https://127.0.0.1:{port}", "--connect-timeout", "0.1"], 75),
    "no connection": (b"", ["-v", "--host", "http://127.0.0.1:1"], 69),
    "a wrong option": (b"", ["-v", "-o", "x"], 2),
    "a wrong host": (b"", ["-v", "--host", "http://127.0.0.1:x"], 2),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("way", WAYS)
def test_no_output_shows_a_key(way: str, outcome: str, tmp_path: Path) -> None:
    (tmp_path / "headers").write_text(f"Authorization: Bearer {SECRET}\n")
    given, env = WAYS[way]
    answer, options, status = OUTCOMES[outcome]
    server = Answers(answer)
    with tcp(server) as port:
        arguments = [word.format(file=tmp_path / "headers", port=port) for word in [*given, *options]]
        sent = call("send", "-m", "m", *arguments, "hi", env={"OLLAMA_HOST": f"127.0.0.1:{port}", **env})
    assert sent.returncode == status, sent
    assert SECRET.encode() not in sent.stdout + sent.stderr
    if outcome == "success":
        assert SECRET in str(server.requests[0][1])


BUG = """
import sys
from ostream.net import transport
def post(*arguments):
    secret = str(arguments)
    raise ZeroDivisionError("a bug")
transport.post = post
from ostream.__main__ import main
sys.exit(main(["send", "-m", "m", "--header", sys.argv[1], "hi"]))
"""


def test_a_traceback_shows_no_values() -> None:
    argv = [sys.executable, "-c", BUG, f"Authorization: Bearer {SECRET}"]
    env = environment(OLLAMA_HOST="127.0.0.1:1", PYTHONPATH=str(ROOT))
    result = subprocess.run(argv, env=env, capture_output=True, timeout=60, check=False)
    assert result.returncode == 70
    first, *_, last = result.stderr.decode().splitlines()
    assert first == "send: Traceback (most recent call last):"
    assert last == "send: a bug in ostream: ZeroDivisionError: a bug; please report it"
    assert SECRET.encode() not in result.stdout + result.stderr


@pytest.mark.linux
@pytest.mark.parametrize("wrapped", [False, True])
def test_no_command_line_of_a_child_contains_a_key(wrapped: bool, tmp_path: Path) -> None:
    (tmp_path / "headers").write_text(f"X-Mine: {SECRET}\n")
    (tmp_path / "recording").write_bytes(body_of("chat-stream"))
    over = threading.Event()

    def hold(connection: object) -> None:
        over.wait(60)

    argv = [str(BIN / "send"), "-v", "-m", "m", "--header-file", str(tmp_path / "headers"), "hi"]
    with tcp(hold) as port:
        argv += ["--host", f"http://127.0.0.1:{port}"]
        if wrapped:
            argv = [str(BIN / "replay"), str(tmp_path / "recording"), "--", *argv]
        with subprocess.Popen(argv, env=environment(OLLAMA_API_KEY=SECRET), stderr=subprocess.PIPE) as process:
            try:
                expect(process.stderr, b"send: POST ")
                lines = []
                for path in Path("/proc").glob("[0-9]*/cmdline"):
                    try:
                        lines.append(path.read_bytes())
                    except OSError:
                        continue  # the process has ended
                ours = [line for line in lines if str(tmp_path / "headers").encode() in line]
                assert len(ours) == 1 + wrapped
                assert SECRET.encode() not in b"".join(lines)
            finally:
                over.set()
                process.wait(60)


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--header", "X: a\r\nY: b"], {}),
        (["--header", "X\x1b: b"], {}),
        (["--header-file", "{file}"], {}),
        (["--host", "127.0.0.1:{port}\r\nX"], {}),
        ([], {"OLLAMA_HOST": "127.0.0.1:{port}/\tx"}),
        ([], {"OLLAMA_API_KEY": "a\r\nX: b"}),
        ([], {"OLLAMA_API_KEY": "clé"}),
    ],
)
def test_control_characters_are_rejected_before_a_request_is_sent(
    arguments: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "headers").write_bytes(b"X: a\x00b\n")
    server = Answers(http_answer(200, DONE))
    with tcp(server) as port:
        arguments = [word.format(file=tmp_path / "headers", port=port) for word in arguments]
        env = {name: value.format(port=port) for name, value in {"OLLAMA_HOST": "127.0.0.1:{port}", **env}.items()}
        sent = call("send", "-m", "m", *arguments, "hi", env=env)
    assert (sent.returncode, server.requests, sent.stderr.count(b"\n")) == (2, [], 1), sent
    assert sent.stderr[:-1].decode().isprintable()
    assert json.loads(sent.stdout)["exit_status"] == 2
