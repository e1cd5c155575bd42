"""What importing the package costs, and what it gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ostream
from tests.process import ROOT

NEVER = [
    *("urllib.request", "http", "ssl", "socket", "email", "asyncio", "dataclasses", "inspect", "typing", "logging"),
]


def fresh(script: str) -> str:
    """What a fresh interpreter prints, started as the launchers start it: no site, nothing of the environment."""
    prelude = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    command = [sys.executable, "-I", "-S", "-c", prelude + script]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_importing_the_package_loads_nothing_but_the_package() -> None:
    script = "before = set(sys.modules); import ostream; print(*sorted(set(sys.modules) - before - {'__future__'}))"
    assert fresh(script) == "ostream"


PURE = [
    "protocol.chunk",
    "errors",
    "protocol.text",
    "protocol.error_lines",
    "protocol.accumulator",
    "protocol.metrics",
    "protocol.ndjson",
    "recording.format",
    "protocol.request",
    "system.terminal",
]


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_loads_nothing_that_is_slow_to_load(module: str) -> None:
    loaded = fresh(f"import ostream.{module}; print(*sys.modules)").split()
    assert f"ostream.{module}" in loaded
    assert not [name for name in NEVER if name in loaded]


@pytest.mark.parametrize("name", ["decode_line", "content", "Accumulator", "Chunk", "IncompleteStream"])
def test_using_a_pure_name_loads_no_network(name: str) -> None:
    loaded = fresh(f"import ostream; ostream.{name}; print(*sys.modules)").split()
    assert not [module for module in NEVER if module in loaded]


@pytest.mark.parametrize("name", ostream.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert fresh(f"from ostream import {name}; print({name}.__module__.partition('.')[0])") == "ostream"
    assert getattr(ostream, name) is getattr(ostream, name)
    assert name in dir(ostream)


def test_all_names_come_with_a_star() -> None:
    names = fresh("from ostream import *; print(*sorted(n for n in dir() if not n.startswith('_') and n != 'sys'))")
    assert names.split() == sorted(ostream.__all__)


def test_the_names_of_the_sdk_mean_the_same_class() -> None:
    assert ostream.ChatResponse is ostream.GenerateResponse is ostream.Chunk


@pytest.mark.parametrize("name", ["AsyncClient", "embed", "_no_such_name"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"^module 'ostream' has no attribute '{name}'$"):
        getattr(ostream, name)
    with pytest.raises(ImportError):
        exec(f"from ostream import {name}")


def test_there_is_a_version() -> None:
    assert fresh("import ostream; print(ostream.__version__)") == ostream.__version__
    assert ostream.__version__.count(".") == 2
