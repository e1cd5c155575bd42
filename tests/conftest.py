"""Test tiers, hypothesis profiles, and the rule that CI skips nothing.

Without --full, tests marked `full` or `tools` are left out and hypothesis tries few examples: that is `make test`.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.process import ROOT

for profile, examples in (("sample", 10), ("full", 100), ("fuzz", 1000)):
    settings.register_profile(
        profile,
        max_examples=examples,
        # On a busy machine, an example and its data can take long.
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        # A run in CI can be repeated; others try new examples each time.
        derandomize=bool(os.environ.get("CI")) and profile != "fuzz",
    )

# A make started by a test must not join the job server of the make that runs the tests.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run all tests, with all examples (make check)")


@pytest.hookimpl(tryfirst=True)  # before hypothesis, whose --hypothesis-profile overrides this
def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("full" if config.getoption("full") else "sample")


NEED_SDK = ("test_sdk_differences.py", "test_sdk_parity.py")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import modules that need the official SDK unless their tests run."""
    return True if collection_path.name in NEED_SDK and not runs_tools(config) else None


def runs_tools(config: pytest.Config) -> bool:
    """Whether tests that need tests/requirements-check.txt are selected."""
    return bool(config.getoption("full")) and config.getoption("markexpr") != "not tools"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marks = [] if config.getoption("full") else ["full", "tools"]
    if sys.platform != "linux":
        marks.append("linux")
    left_out = [item for item in items if any(map(item.get_closest_marker, marks))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in CI that skipped a test: a missing tool would otherwise go unnoticed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped and sys.platform != "darwin":  # where some of the tools do not exist
        reporter.write_line(f"{len(skipped)} tests were skipped; CI must run all of them", red=True)
        session.exitstatus = 1


def pytest_xdist_auto_num_workers() -> int:
    """Two workers per core for -n auto: tests mostly wait for processes, so one per core leaves a third of it idle."""
    return 2 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2 * (os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def _collect_between_tests() -> Iterator[None]:
    """Collect garbage between tests: a finalizer that runs in the middle of a deep recursion exceeds its limit."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether --full is given."""
    return bool(request.config.getoption("full"))


@pytest.fixture
def tools(request: pytest.FixtureRequest) -> bool:
    return runs_tools(request.config)


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The single-file executable."""
    path = tmp_path_factory.mktemp("pyz") / "ostream.pyz"
    subprocess.run([sys.executable, "scripts/pyz.py", path], cwd=ROOT, check=True, timeout=300)
    return path
