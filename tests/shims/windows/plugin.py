"""A pytest plugin that takes away what Windows lacks after the tests were collected, except what the tests use."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import runpy
import signal
import sys
from pathlib import Path

# What pytest, subprocess and ostream.testing use. They are not under test.
USED = [
    (os, "O_CLOEXEC"),
    (os, "O_NONBLOCK"),
    (os, "fork"),
    (os, "getuid"),
    (os, "waitpid"),
    (signal, "SIGKILL"),
    (signal, "SIGUSR1"),
]

# Before the library is imported.
errno.WSAEWOULDBLOCK = 10035  # type: ignore[attr-defined]


def pytest_collection_finish() -> None:
    assert asyncio.Event  # loads the modules that need the names
    used = [(module, name, getattr(module, name)) for module, name in USED]
    runpy.run_path(str(Path(__file__).with_name("sitecustomize.py")))
    sys.modules["resource"] = resource
    for module, name, value in used:
        setattr(module, name, value)
