"""Every block of the README and of the user documentation is run on recordings, and prints the output shown."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest

from ostream.recording.http_server import RequestHandler
from tests.process import ROOT, sh
from tests.server import serve
from tests.tiers import sample

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    "README.md",
    *(f"docs/{name}.md" for name in ("cookbook", "failures", "coming-from", "conversations", "measuring", "protocol")),
]
RECORDINGS = [ROOT / "examples" / "recordings", ROOT / "tests" / "streams"]


def blocks_of(page: str) -> list[tuple[str, str, str]]:
    """The recordings, the language and the text of each block."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"(?:<!-- replay: ([a-z0-9 -]+) -->\n)?```(\w+)\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == text.count("\n```") / 2, "a block without a language is not run"
    return blocks


BLOCKS = [(page, *block) for page in PAGES for block in blocks_of(page)]
README_BLOCKS = [block for block in BLOCKS if block[0] == "README.md"]


def path_of(recording: str) -> Path:
    return next(path for folder in RECORDINGS if (path := folder / f"{recording}.ndjson").exists())


def split_console(block: str) -> list[tuple[str, str]]:
    """Commands, which begin with "$ ", and the output under each."""
    turns = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(turn.partition("\n")[0], turn.partition("\n")[2]) for turn in turns]


@pytest.mark.parametrize(("page", "recordings", "language", "block"), sample(BLOCKS, README_BLOCKS))
def test_a_block_prints_the_output_shown(page: str, recordings: str, language: str, block: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    if language == "sh" and not recordings:
        done = sh(f"cd {ROOT}\n{block.replace('make demo', 'make -n demo')}command -v send extract-content")
        assert done.returncode == 0, done.stderr
        assert str(ROOT).encode() in done.stdout
        return
    names = [str(path_of(name)) for name in recordings.split()]
    if language == "console":
        script = "".join(f"{command}\nprintf '\\0'\n" for command, _ in split_console(block))
    elif language == "python":
        script = f"exec python3 - <<'END'\n{block}END\n"
    else:
        script = f"set -e\n{block}"
    (tmp_path / "script").write_text(script, encoding="utf-8")
    done = sh(
        "git init -q . && touch new && git add -N new; "
        f"exec replay -q --match path --repeat {' '.join(names)} -- sh ../script 2>&1",
        cwd=work,
        env={"OSTREAM": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout.decode()
    if language == "console":
        shown = [output for _, output in split_console(block)]
        assert done.stdout.decode().split("\0")[:-1] == shown
    else:
        assert b"Traceback" not in done.stdout and b"send:" not in done.stdout, done.stdout.decode()


def test_the_table_of_commands_is_the_dispatch_table() -> None:
    from ostream.__main__ import COMMANDS

    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.*) \|$", README, re.MULTILINE)
    assert {name: (kind, what) for name, kind, what in rows} == COMMANDS


def test_the_picture_shows_each_command_of_the_demo() -> None:
    """If not, `make picture` draws it again."""
    commands = re.findall(r"^ *run '(.*)'$", (ROOT / "examples" / "demo.sh").read_text(), re.MULTILINE)
    assert len(commands) == 6
    drawn = unescape((ROOT / "docs" / "demo.svg").read_text(encoding="utf-8"))
    assert [command for command in commands if f"$ {command}" not in drawn] == []


def openai_server(exchange: RequestHandler) -> None:
    """Answer as a server with OpenAI's API does, streaming or not."""
    body = json.loads(exchange.body)
    if not body.get("stream"):
        message = {"role": "assistant", "content": "Hello there."}
        answer = {"object": "chat.completion", "model": "m", "choices": [{"message": message, "finish_reason": "stop"}]}
        exchange.send_body(200, "application/json", json.dumps(answer).encode())
        return
    exchange.head(200, "text/event-stream")
    for delta, reason in (({"role": "assistant", "content": ""}, None), ({"content": "Hello"}, None)):
        exchange.chunk(event({"model": "m", "choices": [{"delta": delta, "finish_reason": reason}]}))
    exchange.chunk(event({"model": "m", "choices": [{"delta": {"content": " there."}, "finish_reason": "stop"}]}))
    exchange.chunk(event({"model": "m", "choices": [], "usage": {"total_tokens": 5}}) + b"data: [DONE]\n\n")
    exchange.end()


def event(data: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


OTHER = re.findall(
    r"<!-- openai -->\n```console\n(.*?)```", (ROOT / "docs" / "other-servers.md").read_text(), re.DOTALL
)


@pytest.mark.parametrize("block", OTHER)
def test_the_page_of_other_servers_prints_the_output_shown(block: str, tmp_path: Path) -> None:
    turns = split_console(block)
    with serve(openai_server) as server:
        script = "".join(f"{command}\nprintf '\\0'\n" for command, _ in turns)
        done = sh(f"exec 2>&1; {script}", cwd=tmp_path, env={"OSTREAM": str(ROOT), "OLLAMA_HOST": server.url})
    assert done.stdout.decode().split("\0")[:-1] == [output for _, output in turns]
