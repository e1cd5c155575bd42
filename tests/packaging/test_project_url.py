"""The links of the README work on a package index, where the files of the repository are missing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.process import ROOT

URL = "https://example.org/ostream"


def test_relative_links_become_absolute_and_no_other_text_changes(tmp_path: Path) -> None:
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run([sys.executable, ROOT / "scripts" / "project_url.py", tmp_path, f"{URL}/", "1.2.3"], check=True)
    before, after = (ROOT / "README.md").read_text(), (tmp_path / "README.md").read_text()
    targets = re.findall(r"\]\(([^)]+)\)", after)
    assert targets and all(target.startswith(("https://", "#")) for target in targets)
    assert f"![make demo on a terminal]({URL}/raw/v1.2.3/docs/demo.svg)" in after
    assert f"({URL}/blob/v1.2.3/docs/batch.md)" in after
    assert re.sub(r"\]\([^)]+\)", "", after) == re.sub(r"\]\([^)]+\)", "", before)
    assert f'\n[project.urls]\nHomepage = "{URL}"\n' in (tmp_path / "pyproject.toml").read_text()


def test_every_relative_link_of_the_readme_names_a_file() -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
