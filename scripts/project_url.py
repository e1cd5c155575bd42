"""Point the links of a source tree at the project's address: project_url.py TREE URL VERSION.

The README of a package index has no files beside it, so its relative links become absolute ones at the release's tag.
pyproject.toml gets the address as a project URL. No address is written in the repository itself.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def absolute_links(markdown: str, url: str, version: str) -> str:
    """Return Markdown whose relative links and images point below `url` at the tag of `version`."""

    def replace(match: re.Match[str]) -> str:
        kind = "raw" if match[1] == "!" else "blob"
        return f"{match[1]}[{match[2]}]({url}/{kind}/v{version}/{match[3]})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)]+)\)", replace, markdown)


def main(tree: str, url: str, version: str) -> None:
    url = url.rstrip("/")
    readme, project = Path(tree, "README.md"), Path(tree, "pyproject.toml")
    readme.write_text(absolute_links(readme.read_text(encoding="utf-8"), url, version), encoding="utf-8")
    documentation = f"{url}/blob/v{version}/README.md"
    urls = f'[project.urls]\nHomepage = "{url}"\nDocumentation = "{documentation}"\nIssues = "{url}/issues"\n\n'
    text = project.read_text(encoding="utf-8")
    project.write_text(text.replace("[project.scripts]\n", f"{urls}[project.scripts]\n"), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
