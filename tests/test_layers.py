"""The rooms of the house: which may know which, how large they are, and what a filter loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import FILTERS, ROOT, words

PACKAGE = ROOT / "ostream"
SOURCES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}

# Each room, in order, and the rooms it may know: only such as stand above it.
ARROWS = {
    "errors": "",
    "terminal": "",
    "wait": "",
    "ndjson": "errors",
    "chunk": "ndjson",
    "metrics": "chunk",
    "message": "chunk",
    "extract": "chunk",
    "failure": "errors",
    "tools": "chunk errors message",
    "net.host": "errors",
    "request": "errors tools",
    "net.retry": "errors",
    "recording": "errors failure ndjson request",
    "fault": "ndjson recording",
    "net.clocks": "errors wait",
    "net.wire": "errors net.clocks wait",
    "net.response": "errors net.clocks net.wire",
    "net.transport": "errors failure net.clocks net.host net.response net.wire",
    "types": "",
    "stream": "chunk errors failure message metrics ndjson net.response wait",
    "client": "chunk errors net.clocks net.host net.response net.retry net.transport net.wire request stream types",
    "net.loopback": "net.host wait",
    "net.proxy": "errors ndjson net.clocks net.host net.loopback net.response net.transport net.wire recording wait",
    "page": "chunk metrics",
    "plot": "",
    "summary": "errors metrics",
    "output": "errors page terminal wait",
    "stdio": "errors ndjson output terminal wait",
    "openai": "",
    "batch.jobs": "errors failure message ndjson openai request",
    "spinner": "errors output wait",
    "files": "errors",
    "conversation": "errors files ndjson request",
    "context": "errors files ndjson request",
    "execute": "stdio wait",
    "toolbox": "errors execute message ndjson request",
    "batch.answers": "batch.jobs errors files ndjson output stdio",
    "batch.pool": "errors net.clocks",
    "batch.progress": "errors metrics output stdio summary wait",
    "batch.work": (
        "batch.answers batch.jobs batch.pool batch.progress client errors ndjson net.clocks net.response stdio wait"
    ),
    "stage": "errors failure ndjson openai output page stdio wait",
    "commands.arguments": "errors output stdio",
    "commands.extract": "chunk commands.arguments errors extract ndjson stage stdio",
    "commands.extract_content": "commands.arguments commands.extract stdio",
    "commands.extract_thinking": "commands.arguments commands.extract stdio",
    "commands.collect": "commands.arguments message ndjson stage stdio",
    "commands.stats": "commands.arguments errors failure metrics ndjson plot stage stdio summary terminal",
    "commands.render": "commands.arguments metrics page spinner stage stdio",
    "commands.run_tools": "chunk commands.arguments errors execute message ndjson output stage stdio toolbox wait",
    "commands.options": "client commands.arguments errors stdio",
    "commands.ask": "context conversation errors files request stdio toolbox",
    "commands.forward": "errors failure message ndjson net.response output recording",
    "commands.turns": "chunk client commands.forward errors message ndjson output recording request stdio toolbox wait",
    "commands.batch": (
        "batch.answers batch.jobs batch.progress batch.work commands.arguments commands.ask commands.options "
        "errors output stdio wait"
    ),
    "commands.send": (
        "client commands.arguments commands.ask commands.options commands.turns context conversation errors "
        "ndjson output request stdio toolbox wait"
    ),
    "commands.wrapper": "errors output stdio wait",
    "commands.replay": (
        "commands.arguments commands.wrapper errors failure fault ndjson net.loopback recording stdio wait"
    ),
    "commands.record": (
        "commands.arguments commands.wrapper errors ndjson net.host net.loopback net.proxy output stdio wait"
    ),
    "program.completion": "client commands.arguments errors net.clocks net.transport net.wire wait",
    "program.install": "errors",
    "program.shells": "",
    "program.about": "errors output program.completion program.install program.shells stdio",
    "__main__": "program.about stdio wait",
}

# What reaches out of the process, and the only rooms that may.
REACH = {
    "argparse": "commands.arguments",
    "fcntl": "files",
    "http": "net.loopback net.response net.transport",
    "select": "wait",
    "_signal": "stdio",
    "signal": "batch.work commands.batch commands.wrapper execute stdio",
    "socket": "net.loopback net.wire",
    "ssl": "net.wire",
    "subprocess": "commands.wrapper execute",
    "threading": "batch.pool batch.progress commands.replay execute net.loopback net.proxy net.wire spinner",
    "urllib": "net.transport",
}

# What is slow to load, and no filter needs.
HEAVY = [
    "argparse",
    "asyncio",
    "dataclasses",
    "email",
    "http",
    "inspect",
    "logging",
    "socket",
    "ssl",
    "typing",
    "urllib.request",
]


def imports(source: Path) -> set[str]:
    """The full names of all modules that a source imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, "imports are absolute"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_every_room_is_in_the_plan() -> None:
    assert set(ARROWS) == set(SOURCES)


def test_the_arrows_of_the_plan_point_one_way() -> None:
    above: set[str] = set()
    for room, allowed in ARROWS.items():
        assert set(allowed.split()) <= above, room
        above.add(room)


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_knows_only_those_it_may(room: str) -> None:
    known = {name[len("ostream.") :] for name in imports(SOURCES[room]) if name.startswith("ostream.")}
    assert known & set(SOURCES) <= set(ARROWS[room].split())


@pytest.mark.parametrize("module", REACH)
def test_only_the_rim_reaches_out(module: str) -> None:
    users = {room for room, source in SOURCES.items() if module in {name.partition(".")[0] for name in imports(source)}}
    assert users == set(REACH[module].split())


@pytest.mark.parametrize("path", [*PACKAGE.rglob("*.py"), ROOT / "bin" / "ostream"], ids=lambda path: path.name)
def test_a_room_can_be_overlooked(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


LOADED = """
import json, sys
sys.path.insert(0, sys.argv.pop(1))
from ostream.__main__ import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted(sys.modules)]), file=sys.stderr)
"""


def loaded(*arguments: str) -> set[str]:
    """The modules that a command has loaded at its end, in an interpreter as the launchers start it."""
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOADED, str(ROOT), *arguments],
        input=b'{"message":{"content":"a"},"done":true}\n',
        capture_output=True,
        check=True,
    )
    status, modules = json.loads(result.stderr.splitlines()[-1])
    assert status == 0
    return set(modules)


@pytest.mark.parametrize("command", FILTERS)
def test_a_filter_loads_nothing_heavy(command: str) -> None:
    plain = loaded(*words(command))
    assert plain & set(HEAVY) == ({"argparse"} if words(command)[1:] else set())
    assert loaded(*words(command, "-w", "/dev/null")) & set(HEAVY) == {"argparse"}
    assert not plain & {"subprocess", "ostream.extract", "ostream.client"}
    assert "threading" not in plain or "argparse" in plain  # that of Python 3.8 loads it
