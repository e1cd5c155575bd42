"""The public names of the package, and what importing them loads."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import ostream
from tests.process import ROOT
from tests.server import send_lines, serve

NEVER = [
    *("urllib.request", "http", "ssl", "socket", "email", "asyncio", "dataclasses", "inspect", "typing", "logging"),
]


def fresh(script: str) -> str:
    """Return the output of a fresh interpreter, started as the launchers start it: -I -S, no environment."""
    prelude = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    command = [sys.executable, "-I", "-S", "-c", prelude + script]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_importing_the_package_loads_nothing_but_the_package() -> None:
    script = "before = set(sys.modules); import ostream; print(*sorted(set(sys.modules) - before - {'__future__'}))"
    assert fresh(script) == "ostream"


def test_a_chat_loads_few_modules_besides_urllib() -> None:
    """Each module is 0.3 % of the instructions, which are at most 1.15 of those of `import urllib.request`."""
    chat = "before = set(sys.modules); import ostream; ostream.Client({!r}).chat('m', [])"
    report = "print(*sorted(set(sys.modules) - before))"
    with serve(send_lines(b'{"message":{"role":"assistant","content":"a"},"done":true}\n')) as server:
        loaded = fresh(f"import urllib.request; {chat.format(server.url)}; {report}").split()
    assert {name for name in loaded if not name.startswith("ostream")} <= {"__future__", "_json", "atexit"}
    assert len(loaded) <= 35
    assert not {f"ostream.{name}" for name in ("protocol.metrics", "protocol.text", "types")} & {*loaded}


@pytest.mark.parametrize("name", ["decode_line", "content", "Accumulator", "Chunk", "IncompleteStream"])
def test_a_name_without_io_loads_no_network(name: str) -> None:
    loaded = fresh(f"import ostream; ostream.{name}; print(*sys.modules)").split()
    assert not [module for module in NEVER if module in loaded]


@pytest.mark.parametrize("name", ostream.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert fresh(f"from ostream import {name}; print({name}.__module__.partition('.')[0])") == "ostream"
    assert getattr(ostream, name) is getattr(ostream, name)
    assert name in dir(ostream)


def test_a_star_import_gives_the_public_names() -> None:
    names = fresh("from ostream import *; print(*sorted(n for n in dir() if not n.startswith('_') and n != 'sys'))")
    assert names.split() == sorted(ostream.__all__)
    assert {name for name in dir(ostream) if name[0] != "_"} == {*ostream.__all__, "errors", "testing", "types"}


MISSING = {
    "AsyncClient": "; read the stream in a thread, as examples/from_asyncio.py does",
    "pull": "; use the command 'ollama pull' or the official SDK (pip install ollama)",
    "embed": "; use the official SDK (pip install ollama)",
}


@pytest.mark.parametrize("name", MISSING)
def test_a_name_of_the_sdk_that_is_missing_is_an_error_with_the_alternative(name: str) -> None:
    words = re.escape(f"module 'ostream' has no attribute '{name}'{MISSING[name]}") + "$"
    with pytest.raises(AttributeError, match=words):
        getattr(ostream, name)
    with pytest.raises(ImportError, match=words):
        exec(f"from ostream import {name}")
    assert not hasattr(ostream, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'ostream' has no attribute '_no_such_name'$"):
        getattr(ostream, "_no_such_name")  # noqa: B009
    with pytest.raises(ImportError, match="cannot import name"):
        exec("from ostream import _no_such_name")


def test_the_modules_of_types_and_errors_are_there() -> None:
    assert fresh("import ostream; print(ostream.types.MessageDict.__module__, ostream.errors.__name__)").split() == [
        *("ostream.types", "ostream.errors"),
    ]


def test_there_is_a_version() -> None:
    assert fresh("import ostream; print(ostream.__version__)") == ostream.__version__
    assert ostream.__version__.count(".") == 2


def test_the_stub_declares_the_public_names() -> None:
    stub = (ROOT / "ostream" / "__init__.pyi").read_text()
    declared = set(re.findall(r" (\w+) as \1\b", stub)) - {"errors", "testing", "types", "__version__"}
    assert declared == set(ostream.__all__)
