"""The order of the packages, the modules that reach out of the process, and what a filter loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ostream.__main__ import COMMANDS
from tests.process import FILTERS, ROOT, words

PACKAGE = ROOT / "ostream"
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).replace(".__init__", ""): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# Each layer imports from itself and from the layers before it.
LAYERS = [
    {"errors", "types", "version"},
    {"protocol"},
    {"system"},
    {"net"},
    {"tools", "storage"},
    {"recording"},
    {"stream", "testing"},
    {"client"},
    {"batch"},
    {"cli"},
    {"commands", "installer"},
    {"__main__"},
]
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}

# Modules of the standard library that only some packages may import.
RESTRICTED = {
    "argparse": {"cli"},
    "fcntl": {"storage", "system"},
    "http": {"net", "recording"},
    "select": {"system"},
    "socket": {"net", "recording", "system"},
    "ssl": {"net"},
    "urllib": {"net"},
}

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
    """The full names of all modules that a source imports, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, "imports are absolute"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def package_of(module: str) -> str:
    """The part of a module's name below `ostream`: a package, or a module beside the packages."""
    return module.split(".")[1]


def imported_modules(module: str) -> set[str]:
    """The modules of ostream that a module imports."""
    return imports(SOURCES[module]) & set(SOURCES) - {module, "ostream"}


@pytest.mark.parametrize("module", sorted(set(SOURCES) - {"ostream"}))
def test_imports_point_to_lower_layers(module: str) -> None:
    own = package_of(module)
    for other in map(package_of, imported_modules(module)):
        assert other == own or LEVELS[other] < LEVELS[own], f"{module} imports from {other}"


def test_no_circle_of_modules() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for other in imported_modules(module):
                visit(other, (*path, module))
            done.add(module)

    for module in SOURCES:
        visit(module, ())


@pytest.mark.parametrize("name", RESTRICTED)
def test_only_these_packages_import(name: str) -> None:
    users = {
        package_of(module)
        for module, source in SOURCES.items()
        if name in {imported.partition(".")[0] for imported in imports(source)}
    }
    assert users <= RESTRICTED[name]


def test_commands_holds_the_commands_and_nothing_else() -> None:
    names = {path.stem for path in (PACKAGE / "commands").iterdir() if path.suffix == ".py"} - {"__init__"}
    assert names == {command.replace("-", "_") for command in COMMANDS}


@pytest.mark.parametrize("path", [*PACKAGE.rglob("*.py"), ROOT / "bin" / "ostream"], ids=lambda path: path.name)
def test_a_module_can_be_read_in_a_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 320


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
    assert not (plain | loaded(*words(command, "-w", "/dev/null"))) & set(HEAVY)
    assert not plain & {"subprocess", "threading", "ostream.protocol.text", "ostream.client"}
