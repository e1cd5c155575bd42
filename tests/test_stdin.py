"""With words and no `-`, send does not read standard input, and prints a note if data redirected to it was ignored."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ostream.recording.http_server import RequestHandler
from ostream.system import unread_input
from ostream.system.unread_input import holds_data, is_redirected
from tests.process import environment, sh, start
from tests.server import send_lines, serve
from tests.tiers import sample


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


# The notes for IGNORED. dash and busybox redirect a file in the shell itself, so that a loop can't be told apart.
SHELLS = {"dash": 2, "bash": 3, "zsh": 3, "busybox sh": 2}


@pytest.mark.parametrize("where", WHERE)
def test_shared_standard_input_is_left_alone_without_a_note(where: str, tmp_path: Path) -> None:
    script, printed = WHERE[where]
    with serve(echo) as server:
        result = sh(script, stdin=b"one\ntwo\n", env={"OLLAMA_HOST": server.url}, cwd=tmp_path)
    assert (result.stdout.decode(), result.stderr, result.returncode) == (printed, b"", 0)


# Ends so that no shell replaces itself with the last command.
SHARED = """
ask() { send -m m hi > /dev/null; }
while read -r x; do send -m m "$x" > /dev/null; ask; done < lines
printf 'one\\ntwo\\n' | while read -r x; do send -m m "$x" > /dev/null; ask; done
{ ask; cat > /dev/null; } < lines
printf 'one\\n' | { send -m m hi > /dev/null; cat > /dev/null; }
printf x | ask
for x in a b; do nohup send -m m $x > /dev/null 2>> nohup.err; done
xargs send -m m < lines > /dev/null
printf x | { send -m m hi > /dev/null & wait; cat > /dev/null; }
send -m m hi < /dev/null > /dev/null
printf x | send -m m - > /dev/null
printf x | send -m m -q hi > /dev/null
printf x | send -m m > /dev/null
true | send -m m hi > /dev/null
send -m m hi < empty > /dev/null
:
"""
IGNORED = """
printf x | send -m m hi > /dev/null
send -m m hi < lines > /dev/null
printf x | send -m m --host 127.0.0.1:1 hi > /dev/null
:
"""


@pytest.mark.parametrize("shell", sample(SHELLS, ["dash"]))
@pytest.mark.linux
def test_only_data_that_was_redirected_to_send_alone_is_noted(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell.split()[0]):
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "lines").write_bytes(b"one\ntwo\n")
    (tmp_path / "empty").touch()
    with serve(echo) as server:
        for script, notes in ((SHARED, 0), (IGNORED, SHELLS[shell])):
            (tmp_path / "script").write_text(script)
            result = sh(f"{shell} ./script", env={"OLLAMA_HOST": server.url}, cwd=tmp_path)
            note = "send: standard input was ignored; add - to the prompt to include it\n"
            assert result.stderr.decode().count(note) == notes, result.stderr
            assert result.stderr.count(b"\n") == notes + (notes > 0)  # and the refused connection


@pytest.mark.linux
def test_the_note_is_on_a_line_of_its_own_after_the_answer(tmp_path: Path) -> None:
    note = "send: standard input was ignored; add - to the prompt to include it\n"
    with serve(echo) as server:
        for reader, text in (("extract-content", "<hi>\n"), ("cat > answer", "")):
            script = f"{{ printf x | send -m m hi | {reader}; }} 2>&1"
            assert sh(script, env={"OLLAMA_HOST": server.url}, cwd=tmp_path).stdout.decode() == text + note


def test_after_a_failure_output_stays_open_for_the_error_line(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(unread_input, "is_redirected", lambda: True)
    monkeypatch.setattr(unread_input, "holds_data", lambda: True)
    monkeypatch.setattr("ostream.system.pipe_reader.end_output", lambda: notes.append("closed"))
    unread_input.unread_input(notes.append)(False)
    assert notes == [unread_input.UNREAD]


def test_no_note_is_printed_if_the_kind_of_input_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc, with a parent of another user, with descriptors that poll does not support."""
    monkeypatch.setattr(os, "getppid", lambda: 0)
    read, write = os.pipe()
    saved = os.dup(0)
    try:
        os.dup2(read, 0)
        assert not is_redirected()
        assert not holds_data()
        os.write(write, b"x")
        assert holds_data()
        (tmp_path / "file").write_bytes(b"x")
        os.dup2(os.open(tmp_path / "file", os.O_RDONLY), 0)
        assert holds_data()
        os.read(0, 1)
        assert not holds_data()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        assert not is_redirected()
        assert not holds_data()
    finally:
        os.dup2(saved, 0)


def _ends(kind: str) -> tuple[Any, Any]:
    """Standard input for send, and the other end of it."""
    if kind == "pipe":
        reader, writer = os.pipe()
        return open(reader, "rb"), open(writer, "wb")
    if kind == "socket":
        ours, theirs = socket.socketpair()
        return open(theirs.detach(), "rb"), open(ours.detach(), "wb")
    primary, secondary = os.openpty()
    return open(secondary, "rb"), open(primary, "wb")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        pytest.param("pipe", b"typed\n", marks=pytest.mark.linux),
        *[("pipe", b""), ("socket", b""), ("socket", b"typed\n"), ("terminal", b""), ("terminal", b"typed\n")],
    ],
)
def test_input_that_does_not_end_is_not_waited_for(kind: str, data: bytes) -> None:
    theirs, ours = _ends(kind)
    with theirs, ours, serve(echo) as server:
        ours.write(data)
        ours.flush()
        with start("send", "-m", "m", "hi", stdin=theirs, env={"OLLAMA_HOST": server.url}) as process:
            stdout, stderr = process.communicate(timeout=60)
        note = b"send: standard input was ignored; add - to the prompt to include it\n" * (
            kind == "pipe" and bool(data)
        )
        assert (process.returncode, b"<hi>" in stdout, stderr) == (0, True, note)
        if data:
            assert os.read(theirs.fileno(), 100) == data


def test_send_in_the_background_is_not_stopped_by_the_terminal() -> None:
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
