"""With words and no `-`, send never reads its standard input, wherever it is called from."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import environment, sh, start
from tests.server import send_lines, serve


def echo(exchange: RequestHandler) -> None:
    prompt = json.loads(exchange.body)["messages"][-1]["content"]
    send_lines(json.dumps({"message": {"content": f"<{prompt}>"}, "done": True}).encode() + b"\n")(exchange)


ASK = "send -m m hi | extract-content"
WHERE = {
    # script, what it prints; standard input is "one\ntwo\n"
    "what follows reads it": (f"{ASK}; cat", "<hi>\none\ntwo\n"),
    "a loop over lines": ('while read -r x; do send -m m "$x" | extract-content; done', "<one>\n<two>\n"),
    "a loop, nothing between": ("while read -r x; do send -m m $x; done | extract-content", "<one>\n<two>\n"),
    "a file": (f"cat > file; {{ {ASK}; cat; }} < file", "<hi>\none\ntwo\n"),
    "xargs": ("xargs -n 1 send -m m | extract-content", "<one>\n<two>\n"),
    "xargs with all words": ("xargs send -m m | extract-content", "<one two>\n"),
    "a script that sh reads from there, as over ssh": (
        f"printf '%s\\n' '{ASK}' 'echo next' | sh -s; cat",
        "<hi>\nnext\none\ntwo\n",
    ),
    "nothing there, as in CI": (f"{{ {ASK}; }} < /dev/null", "<hi>\n"),
    "closed": (f"{{ {ASK}; }} <&-", "<hi>\n"),
    "open for writing only": (f"{{ {ASK}; }} 0> file", "<hi>\n"),
    "in the background": (f"{{ {ASK}; }} & wait; cat", "<hi>\none\ntwo\n"),
    "no terminal and a bare environment, as in cron": (
        f'env -i PATH="$PATH" PYTHONPATH="$PYTHONPATH" OLLAMA_HOST="$OLLAMA_HOST" setsid -w sh -c "{ASK}"; cat',
        "<hi>\none\ntwo\n",
    ),
    "python's subprocess": (
        "python3 -c 'import subprocess; print(subprocess.getoutput(\"" + ASK + "\"))'; cat",
        "<hi>\none\ntwo\n",
    ),
    "a dash reads it": ("send -m m hi - | extract-content; cat", "<hi\n\none\ntwo>\n"),
    "no words read it": ("send -m m | extract-content; cat", "<one\ntwo>\n"),
}


@pytest.mark.parametrize("where", WHERE)
def test_what_is_not_asked_for_is_left_alone(where: str, tmp_path: Path) -> None:
    script, printed = WHERE[where]
    with serve(echo) as server:
        result = sh(script, stdin=b"one\ntwo\n", env={"OLLAMA_HOST": server.url}, cwd=tmp_path)
    assert (result.stdout.decode(), result.stderr, result.returncode) == (printed, b"", 0)


def _ends(kind: str) -> tuple[Any, Any]:
    """What send gets as standard input, and where somebody could write to it."""
    if kind == "pipe":
        reader, writer = os.pipe()
        return open(reader, "rb"), open(writer, "wb")
    if kind == "socket":
        ours, theirs = socket.socketpair()
        return open(theirs.detach(), "rb"), open(ours.detach(), "wb")
    primary, secondary = os.openpty()
    return open(secondary, "rb"), open(primary, "wb")


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
@pytest.mark.parametrize("data", [b"", b"typed\n"])
def test_input_that_never_ends_is_not_waited_for(kind: str, data: bytes) -> None:
    theirs, ours = _ends(kind)
    with theirs, ours, serve(echo) as server:
        ours.write(data)
        ours.flush()
        with start("send", "-m", "m", "hi", stdin=theirs, env={"OLLAMA_HOST": server.url}) as process:
            stdout, stderr = process.communicate(timeout=60)
        assert (process.returncode, b"<hi>" in stdout, stderr) == (0, True, b"")
        if data:
            assert os.read(theirs.fileno(), 100) == data


def test_a_reader_in_the_background_of_a_terminal_is_not_stopped_by_it() -> None:
    """A read of the terminal would stop a background process with SIGTTIN."""
    script = "import pty, sys; sys.exit(pty.spawn(['sh', '-mc', sys.argv[1]]) >> 8)"
    with serve(echo) as server:
        result = subprocess.run(
            [sys.executable, "-c", script, "send -m m hi & wait $!"],
            env=environment(OLLAMA_HOST=server.url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert (result.returncode, b"<hi>" in result.stdout) == (0, True)
