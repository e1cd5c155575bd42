"""The files, make targets, limits and exit statuses that the documents name exist."""

from __future__ import annotations

import re
import subprocess

import pytest

from ostream.errors import CLAIMABLE_STATUSES, STATUSES
from ostream.protocol.ndjson import LINE_LIMIT
from ostream.tools.process import BYTES, ENVIRONMENT, TIME_S
from tests.process import ROOT

DOCUMENTS = ["CONTRIBUTING.md", "SECURITY.md", "docs/batch.md", "docs/library.md"]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_that_is_named_exists(name: str) -> None:
    named = re.findall(r"`((?:tests|docs|examples|ostream|scripts|\.ci)/[\w./-]+)`", text_of(name))
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_that_is_named_exists(name: str) -> None:
    rules = set(re.findall(r"^([a-z.-]+):", text_of("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", text_of(name))) <= rules


def test_every_threat_has_a_test_that_tries_it() -> None:
    lines = [line for line in text_of("SECURITY.md").splitlines() if re.match(r"\| (an?|the|another) ", line)]
    rows = [line.split(" | ") for line in lines]
    assert len(rows) > 10
    assert all(len(row) == 4 and "tests/" in row[3] for row in rows)


def test_the_documented_limits_are_those_of_the_code() -> None:
    text = text_of("SECURITY.md")
    assert f"`{' '.join(ENVIRONMENT)}`" in text
    assert f"{TIME_S:g} s, {BYTES >> 20} MiB" in text
    assert f"a line has {LINE_LIMIT >> 20} MiB" in text
    *most, last = sorted(CLAIMABLE_STATUSES)
    assert f"among {', '.join(map(str, most))} and {last}" in text


def test_make_lists_every_documented_target() -> None:
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^([a-z.-]+):.*##", text_of("Makefile"), re.MULTILINE)
    assert [line.split()[0] for line in listed.splitlines()] == targets


def test_the_page_of_failures_lists_the_exit_statuses_of_the_code() -> None:
    page = text_of("docs/failures.md")
    rows = re.findall(r"^\| \[(\d+)\]\(.*?\) \| (.*?) \|", page, re.MULTILINE)
    assert {int(code): meaning.replace("`", "") for code, meaning in rows} == {
        status.code: status.meaning for status in STATUSES
    }
    claimable = [str(status.code) for status in STATUSES if status.claimable]
    assert f"the first of {', '.join(claimable)} wins" in page
