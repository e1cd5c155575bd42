"""Write the project's address into a source tree: project_url.py TREE URL VERSION.

A package index shows the README without the other files. Therefore its relative links are replaced by absolute links to
the tag of the release. In pyproject.toml, the address is added as a project URL. The repository itself contains no
address.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def absolute_links(markdown: str, url: str, version: str) -> str:
    """Return `markdown` with absolute links: relative links and images point to files of the tag of `version`."""

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
