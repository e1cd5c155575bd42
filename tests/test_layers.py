"""The layer order of the packages, and which packages import sockets and locks."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from tests.process import ROOT

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


@functools.lru_cache(maxsize=None)
def imports(source: Path) -> frozenset[str]:
    """Return the full names of all modules that a source imports, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, "imports are absolute"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def package_of(module: str) -> str:
    """Return the package of a module, or its own name if it is directly in ostream/."""
    return module.split(".")[1]


def imported_modules(module: str) -> frozenset[str]:
    """Return the modules of ostream that a module imports."""
    return imports(SOURCES[module]) & set(SOURCES) - {module, "ostream"}


def test_imports_point_to_lower_layers() -> None:
    for module in set(SOURCES) - {"ostream"}:
        own = package_of(module)
        for other in map(package_of, imported_modules(module)):
            assert other == own or LEVELS[other] < LEVELS[own], f"{module} imports from {other}"


def test_modules_have_no_import_cycle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for other in imported_modules(module):
                visit(other, (*path, module))
            done.add(module)

    for module in SOURCES:
        visit(module, ())


def test_restricted_modules_are_imported_only_by_their_packages() -> None:
    for module, source in SOURCES.items():
        for name in {imported.partition(".")[0] for imported in imports(source)} & set(RESTRICTED):
            assert package_of(module) in RESTRICTED[name], f"{module} imports {name}"


def test_modules_have_at_most_320_lines() -> None:
    for path in [*SOURCES.values(), ROOT / "bin" / "ostream"]:
        assert len(path.read_text().splitlines()) <= 320, path
