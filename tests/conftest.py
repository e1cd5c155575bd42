"""In CI nothing may be skipped: a test whose tool is missing there would pass for ever without running."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.process import ROOT

# A busy machine is not a slow program.
settings.register_profile("patient", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=1000)  # make fuzz
settings.load_profile("patient")


# The makes that tests start are not those of `make test`, nor of the `make release` above it.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped:
        reporter.write_line(f"{len(skipped)} skipped, and CI allows none", red=True)
        session.exitstatus = 1


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole program as one file."""
    path = tmp_path_factory.mktemp("pyz") / "ostream.pyz"
    subprocess.run([sys.executable, "scripts/pyz.py", path], cwd=ROOT, check=True, timeout=60)
    return path
