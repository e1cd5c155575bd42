"""In CI nothing may be skipped: a test whose tool is missing there would pass for ever without running."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A busy machine is not a slow program.
settings.register_profile("patient", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=1000)  # make fuzz
settings.load_profile("patient")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped:
        reporter.write_line(f"{len(skipped)} skipped, and CI allows none", red=True)
        session.exitstatus = 1
