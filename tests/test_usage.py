"""Wrong command lines, most of them likely mistakes of a new user, and the message for each."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import BIN, call, environment, sh

ANSWER = b'{"message":{"role":"assistant","content":"a"},"done":true}\n'
SAY = b'{"role":"user","content":"hi"}\n'
NOT_OLLAMA = "extract-content: standard input: not an Ollama response; "
FROM_SEND = "the input must be NDJSON from 'send' or 'batch'"
WORDS = "give the prompt as words: send 'Why is the sky blue?'"
USE_SEND = "batch reads files of requests; to send one prompt, use send"
NO_FILE = "No such file or directory"
LEVELS = "invalid level; choose from true, false, low, medium, high, max"
FAULT = "eof, reset, error or stall with :K, or status:CODE, optionally with @N"

# The command line, its exit status and its message.
MISTAKES = [
    ("send -", 2, "send: no model given; use -m NAME or set OLLAMA_MODEL ('ollama list' shows installed models)"),
    ("ostream sned hi", 2, "ostream: sned: unknown command; did you mean send? 'ostream help' lists the commands"),
    ("send -m m --temperature 0 hi", 2, "send: --temperature: unknown option (did you mean -o temperature=VALUE?)"),
    ("send -m m --num_ctx=9 hi", 2, "send: --num_ctx: unknown option (did you mean -o num_ctx=9?)"),
    ("send -m m -temperature=0 hi", 2, "send: -temperature: unknown option (did you mean -o temperature=0?)"),
    ("batch -m m -num_ctx=9", 2, "batch: -num_ctx: unknown option (did you mean --option num_ctx=9?)"),
    ("send -m m --max-tokens 5 hi", 2, "send: --max-tokens: unknown option (did you mean -o num_predict=VALUE?)"),
    ("send -m m --think high hi", 2, "send: --think high: write --think=high, or put the prompt after --"),
    ("send -m m -f schema.json hi", 2, "send: --format schema.json: is a file; write @schema.json"),
    (
        *("send -m m -o out.txt hi", 2),
        "send: option 'out.txt': write NAME=VALUE, such as temperature=0; to write the output to a file, use > FILE",
    ),
    ("send -m m --output=a hi", 2, "send: --output: unknown option; to write the answer to a file, use > FILE"),
    ("send -m m --prompt hi", 2, f"send: --prompt: unknown option; {WORDS}"),
    ("send -m m -p hi", 2, f"send: -p: unknown option; {WORDS}"),
    ("send -m m --file p.txt", 2, "send: --file: unknown option; to send the text of FILE, use - < FILE"),
    ("send -m m --stats hi", 2, "send: --stats: unknown option; pipe the answer into stats: send ... | stats"),
    ("send -m m --stream hi", 2, "send: --stream: unknown option; leave it out: the answer is streamed by default"),
    ("send --dry-run -m m p.txt", 0, "send: the prompt is the text 'p.txt', not the file; use - < p.txt to send "),
    ("send --dry-run -m m @p.txt", 0, "send: the prompt is the text '@p.txt', not the file; use - < p.txt to "),
    (
        *("send --dry-run -m m -s p.txt hi", 0),
        "send: the system message is the text 'p.txt', not the file; write @p.txt to send its content",
    ),
    (
        *("send --dry-run -m m -o temprature=0 hi", 0),
        "send: option 'temprature=0': servers may ignore temprature; did you mean temperature?",
    ),
    ("send --dry-run -m m -o mirostat=1 -o seed=1 no.txt", 0, ""),
    ("record x.nd send -m m hi", 2, "record: -m: unknown option; put -- before COMMAND: record x.nd -- send ..."),
    ("record x.nd hi", 2, "record: hi: only one FILE can be given; put -- before COMMAND: record x.nd -- hi ..."),
    ("replay x.nd send -m m hi", 2, "replay: -m: unknown option; put -- before COMMAND: replay x.nd -- send ..."),
    ("replay x.nd -m m", 2, "replay: -m: unknown option"),
    ("replay x.nd hi", 2, f"replay: hi: {NO_FILE}; put -- before COMMAND: replay x.nd -- hi ..."),
    ("replay no.nd -- hi", 2, f"replay: no.nd: {NO_FILE}"),
    ("batch -m m 'What is 1.5?'", 2, f"batch: What is 1.5?: {NO_FILE}; {USE_SEND}"),
    ("batch -m m why", 2, f"batch: why: {NO_FILE}; {USE_SEND}"),
    ("batch -m m no.txt", 2, f"batch: no.txt: {NO_FILE}"),
    (
        *("batch -m m -o seed=0", 2),
        "batch: -o seed=0: -o is the output file; model options are --option seed=0; a file of that name is ./seed=0",
    ),
    ("batch -m m p.txt", 2, "batch: p.txt:1: not JSON: Expecting value at column 1; with --lines, each line is "),
    ("batch -m m t.csv", 2, "batch: t.csv:1: not JSON: Expecting value at column 1; for a table, use --csv "),
    ("ostream stats p.txt", 2, "stats: p.txt:1: not JSON: Expecting value at column 1; the input must be NDJSON "),
    ("stats t.nd", 2, "stats: t.nd:2: not JSON: Expecting value at column 1"),
    ("ostream help extract_content", 2, "ostream: extract_content: unknown command; did you mean extract-content? "),
    ("ostream --instal x", 2, "ostream: --instal: unknown option; did you mean --install? 'ostream help' lists the "),
    ("ostream frobnicate --help", 2, "ostream: frobnicate: unknown command; 'ostream help' lists the commands"),
    ("ostream --completion bash zsh", 2, "ostream: --completion: needs one SHELL"),
    ("ostream --completion=tcsh", 2, "ostream: --completion: unknown shell tcsh; use one of bash, zsh, fish"),
    ("ostream run-tools", 2, "run-tools: no tools given; give the directory of tools with -t DIR"),
    ("ostream run-tools -t /none", 2, f"run-tools: /none: {NO_FILE}; -t needs a directory of tools"),
    ("run-tools --time 0", 2, "run-tools: --time: must be a positive number of seconds, not '0'"),
    ("run-tools --bytes x", 2, "run-tools: --bytes: must be a whole number, 0 or more, not 'x'"),
    ("send --max-turns 0 hi", 2, "send: --max-turns: must be a whole number from 1 to 1,000, not '0'"),
    ("record", 2, "record: no FILE given; usage: record FILE -- COMMAND"),
    ("record r s -- true", 2, "record: s: only one FILE can be given; usage: record FILE -- COMMAND"),
    ("record - -- true", 2, "record: -: standard output belongs to COMMAND; use /dev/stdout to record there anyway"),
    ("record no/r -- true", 1, f"record: no/r: {NO_FILE}"),
    ("record / -- true", 1, "record: /: Is a directory"),
    ("stats -w -", 2, "stats: -w -: text and NDJSON would be mixed on standard output; use -w /dev/stdout to mix "),
    ("stats --field elapsed", 2, "stats: --field elapsed: no such field; there are model, "),
    ("stats --field ''", 2, "stats: --field : no such field; "),
    ("stats --json --field model", 2, "stats: --field: can't be combined with --json"),
    ("stats --plot --json", 2, "stats: --json: can't be combined with --plot"),
    ("stats --summary --plot", 2, "stats: --summary: can only be combined with --json"),
    ("stats --summary --field model", 2, "stats: --summary: can only be combined with --json"),
    ("batch -o a -o b", 2, "batch: -o: given twice"),
    ("batch -m ''", 2, "batch: --model: is empty; give a model name, or leave it out to use $OLLAMA_MODEL"),
    ("batch --resume", 2, "batch: --resume: needs an answer file; add -o FILE"),
    ("batch -j 0", 2, "batch: -j/--jobs: must be a whole number from 1 to 1,000, not '0'"),
    ("batch --think=much", 2, f"batch: --think=much: {LEVELS}"),
    ("batch --changed=resend", 2, "batch: --changed: needs an answer file; add -o FILE"),
    ("batch --changed=no", 2, "batch: --changed: must be keep or resend, not 'no'"),
    ("batch --patience -1", 2, "batch: --patience: must be a number of seconds, 0 or more, not '-1'"),
    ("batch --progress 30", 2, "batch: --progress 30: write --progress=30, or ./30 for the file"),
    ("batch ''", 2, "batch: FILE: needs a name, not ''"),
    ("batch --files", 2, "batch: --files: needs at least one FILE"),
    ("batch --tools /dev/null", 2, "batch: --tools /dev/null: not JSON: Expecting value: line 1 column 1 (char 0)"),
    ("replay", 2, "replay: no FILE given; usage: replay FILE ... -- COMMAND"),
    ("replay -- true", 2, "replay: no FILE given; usage: replay FILE ... -- COMMAND"),
    ("replay --speed=nan -", 2, "replay: --speed: must be a number, 0 or more, not 'nan'"),
    ("replay --match x -", 2, "replay: --match: must be request, path or model, not 'x'"),
    ("replay --port 65536 -", 2, "replay: --port: must be a port, 0 to 65535, not '65536'"),
    ("replay --fault x -", 2, f"replay: --fault: must be {FAULT}, not 'x'"),
    ("replay - -- true", 2, "replay: standard input: contains no recording; make one: record FILE -- COMMAND"),
]
# The same with standard input.
WITH_INPUT = [
    ("replay - -- true", SAY, 2, "replay: standard input: contains no recording; make one: record FILE -- COMMAND"),
    (
        "replay - -- true",
        b"what?\n",
        2,
        "replay: standard input:1: not JSON: Expecting value at column 1; a recording ",
    ),
    ("send -m m Summarise: -", b" \n", 2, "send: standard input is empty; nothing was sent; leave out - to send the "),
    ("extract-content", SAY, 3, "extract-content: standard input: contains a conversation, not a response; read it "),
    ("extract-content", b"{}", 3, NOT_OLLAMA + FROM_SEND),
    (
        *("extract-content", b'{"id":"x","object":"chat.completion","choices":[],"usage":{}}\n', 3),
        NOT_OLLAMA + "docs/other-servers.md shows how to read the stream of an OpenAI API",
    ),
]


@pytest.fixture(name="folder", autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, data in {
        "p.txt": b"plain text\n",
        "t.csv": b"a,b\n1,2\n",
        "schema.json": b"{}",
        "x.nd": ANSWER,
        "t.nd": ANSWER + b"text\n",
    }.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "stdin", "status", "message"), [*((row[0], b"", *row[1:]) for row in MISTAKES), *WITH_INPUT]
)
def test_a_likely_mistake_gets_a_message_with_the_remedy(line: str, stdin: bytes, status: int, message: str) -> None:
    """A message that ends with a space is the beginning of the printed message."""
    command, *arguments = shlex.split(line)
    result = call(command, *arguments, stdin=stdin, env={"OLLAMA_HOST": "127.0.0.1:1"})
    printed = result.stderr.decode().replace(f"; see '{command} --help'", "").rstrip("\n")
    assert (result.returncode, printed[: len(message)] if message.endswith(" ") else printed) == (status, message)


def test_batch_does_not_read_its_own_answers(folder: Path) -> None:
    result = sh("python3 -m ostream batch --lines -m m p.txt >> p.txt", env={"OLLAMA_HOST": "127.0.0.1:1"})
    assert result.stderr == b"batch: p.txt: is also standard output; write to another file\n"
    assert (result.returncode, (folder / "p.txt").read_bytes()) == (1, b"plain text\n")


def test_a_batch_without_an_answer_can_be_corrected_without_resume(folder: Path) -> None:
    fails = call("batch", "--lines", "-m", "m", "nosuch.txt", "-o", "q")
    assert (fails.returncode, b'"exit_status":2' in (folder / "q").read_bytes()) == (2, True)
    again = call("batch", "--lines", "-m", "m", "p.txt", "-o", "q", "--dry-run")
    assert (again.returncode, b'"content":"plain text"' in again.stdout) == (0, True)
    assert call("batch", "-m", "m", "-o", "new", stdin=b"").returncode == 3
    assert not (folder / "new").exists()
    (folder / "mine").write_bytes(b"text\n")
    assert b"already exists" in call("batch", "-m", "m", "-o", "mine", stdin=b"").stderr


@pytest.mark.parametrize("folder_of_checkout", [False, True])
def test_a_copied_launcher_reports_that_the_package_is_missing(folder_of_checkout: bool, folder: Path) -> None:
    (folder / "bin").mkdir()
    if folder_of_checkout:
        (folder / "ostream").mkdir()  # Python accepts a directory without __init__.py as a package
    shutil.copy(BIN / "send", folder / "bin" / "send")
    result = subprocess.run([folder / "bin" / "send", "hi"], env=environment(), capture_output=True, check=False)
    message = b"the package is not beside this file; link it instead of copying it (ostream --install DIR)"
    assert (result.returncode, result.stderr) == (1, b"ostream: " + message + b"\n")


def test_another_missing_module_is_not_reported_as_a_copied_launcher(folder: Path) -> None:
    (folder / "bin").mkdir()
    (folder / "ostream").mkdir()
    (folder / "ostream" / "__main__.py").write_text("import no_such_module\n")
    shutil.copy(BIN / "send", folder / "bin" / "send")
    result = subprocess.run([folder / "bin" / "send", "hi"], env=environment(), capture_output=True, check=False)
    assert b"No module named 'no_such_module'" in result.stderr


def test_an_old_python_is_reported_in_one_line() -> None:
    script = "import sys; sys.version_info = (3, 7); exec(compile(open(sys.argv[1]).read(), 'send', 'exec'))"
    result = subprocess.run([sys.executable, "-c", script, BIN / "send"], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (1, b"ostream needs Python 3.8 or newer\n")
