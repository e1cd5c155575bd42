"""Write the manual pages: manual.py DIRECTORY.

The pages are man1/ostream.1, man1/ostream-COMMAND.1 and man7/ostream.7 in DIRECTORY. They are generated from the option
tables, docs/protocol.md and the table of exit statuses. They are not generated from the output of --help, because each
version of Python formats it differently.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from ostream.cli import COMMANDS  # noqa: E402
from ostream.cli.parser import Option  # noqa: E402
from ostream.errors import STATUSES, Status  # noqa: E402
from ostream.installer.main_options import OPTIONS, SUMMARY  # noqa: E402
from ostream.version import __version__  # noqa: E402

# These sections of docs/protocol.md become the page ostream(7).
SECTIONS = ("Lines", "Exit status", "Limits")

ENVIRONMENT = {
    "OLLAMA_HOST": "the server (default: http://127.0.0.1:11434)",
    "OLLAMA_MODEL": "the model of send and batch, unless -m is given",
    "OLLAMA_API_KEY": "sent as a Bearer header to the server of OLLAMA_HOST or --host, over https or loopback only",
    "NO_COLOR": "no dim text and no animation on a terminal",
    "http_proxy, https_proxy, all_proxy, no_proxy": "the proxy for servers that are not on this machine",
}


def main(directory: str) -> None:
    pages = {"man1/ostream.1": overview(), "man7/ostream.7": grammar()}
    for name, (_, what) in COMMANDS.items():
        pages[f"man1/ostream-{name}.1"] = command_page(name, what)
    for name, lines in pages.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            # Remove .PP after .SH and .SS, because these start a paragraph themselves.
            file.write(re.sub(r"^(\.S[HS] .*\n)\.PP\n", r"\1", "\n".join(lines) + "\n", flags=re.MULTILINE))


def overview() -> list[str]:
    others = [f"ostream-{name}(1)" for name in COMMANDS]
    return [
        *head("ostream", 1, "stream from Ollama through Unix pipes"),
        *section("Synopsis"),
        f"{bold('ostream')} {italic('COMMAND')} [{italic('ARGUMENT')} ...]",
        ".br",
        f"{bold('ostream help')} [{italic('COMMAND')}]",
        *[line for name, value in OPTIONS.items() for line in (".br", synopsis(name, value))],
        *section("Description"),
        *paragraphs(SUMMARY),
        *section("Commands"),
        *terms([(name, "", f"{what} ({kind})") for name, (kind, what) in COMMANDS.items()]),
        *section("Environment"),
        *terms([(name, "", what) for name, what in ENVIRONMENT.items()]),
        *section("Exit status"),
        *paragraphs("See ostream(7)."),
        *section("See also"),
        *paragraphs(", ".join([*others, "ostream(7)"])),
    ]


def synopsis(option: str, value: str) -> str:
    shown = "SHELL" if " " in value else value
    return f"{bold('ostream')} {bold(option)} {italic(shown)}".rstrip()


def command_page(name: str, what: str) -> list[str]:
    module = __import__(f"ostream.commands.{name.replace('-', '_')}", fromlist=["parser"])
    parser = module.parser()
    page = [
        *head(f"ostream-{name}", 1, what),
        *section("Synopsis"),
        *[f"{bold(f'ostream {name}')}", *wrapped(parser.usage)],
        *section("Description"),
        *paragraphs(f"{parser.description}\n\n{parser.kind}"),
        *section("Options"),
    ]
    groups: dict[str, list[tuple[str, str, str]]] = {"": [("", f"{parser.operands.metavar} ...", parser.operands.help)]}
    for option in parser.options:
        groups.setdefault(option.group, []).append((*names_of(option), option.help))
    for title, rows in groups.items():
        page += [f".SS {quoted(title[0].upper() + title[1:])}"] if title else []
        page += terms(rows)
    return [
        *page,
        *section("Exit status"),
        *paragraphs("See ostream(7)."),
        *section("Examples"),
        *literal(parser.examples),
        *section("See also"),
        *paragraphs("ostream(1), ostream(7)"),
    ]


def names_of(option: Option) -> tuple[str, str]:
    """Return the names of an option, separated by commas, and the placeholder of its value."""
    names = ", ".join(option.names)
    return names, f"[={option.metavar}]" if option.optional_value is not None else option.metavar


def grammar() -> list[str]:
    with open(os.path.join(ROOT, "docs", "protocol.md"), encoding="utf-8") as file:
        text = file.read()
    page = head("ostream", 7, "line format, exit statuses and limits")
    for title in SECTIONS:
        found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        if not found:
            sys.exit(f"manual.py: docs/protocol.md: no section {title!r}")
        page += [*section(title), *markdown(found[1])]
        if title == "Exit status":
            page += terms([(str(status.code), "", status.meaning) for status in sorted(STATUSES, key=code_of)])
    return [*page, *section("See also"), *paragraphs("ostream(1)")]


def code_of(status: Status) -> int:
    return status.code


def markdown(text: str) -> list[str]:
    """Convert Markdown to roff. Paragraphs, lists and tables of two columns are supported; SECTIONS use only these."""
    lines = []
    for block in re.split(r"\n\s*\n|\n(?=\d+\. |- )", text.strip()):
        if block.startswith("["):
            continue  # refers to a page that is not part of the manual
        if block.startswith("|"):
            rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in block.splitlines()]
            lines += terms([(cells[0], "", cells[1]) for cells in rows[2:]])
            continue
        item = re.match(r"(\d+\.|-) ", block)
        if item:
            mark = r"\(bu" if item[1] == "-" else item[1]
            lines += [f".IP {mark} 4", *wrapped(block[item.end() :])]
        else:
            lines += paragraphs(block)
    return lines


def head(name: str, number: int, what: str) -> list[str]:
    return [
        f'.TH {name.upper()} {number} "{released()}" "ostream {__version__}"',
        *section("Name"),
        *textwrap.wrap(f"{plain(name)} \\- {plain(what)}", 78, break_on_hyphens=False),
    ]


def released() -> str:
    """Return the release date of this version in the changelog, or "" if there is none.

    The date of the build is not used, so that every build of a version writes the same pages.
    """
    with open(os.path.join(ROOT, "CHANGELOG.md"), encoding="utf-8") as file:
        found = re.search(rf"^## \[?{re.escape(__version__)}\]? - (\d{{4}}-\d\d-\d\d)$", file.read(), re.MULTILINE)
    return found[1] if found else ""


def section(title: str) -> list[str]:
    return [f".SH {quoted(title.upper())}"]


def paragraphs(text: str) -> list[str]:
    lines = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines += [".PP", *wrapped(paragraph)]
    return lines


def terms(rows: list[tuple[str, str, str]]) -> list[str]:
    lines = []
    for name, value, what in rows:
        joint = "" if not name or value.startswith("[=") else " "
        lines += [".TP", (bold(name) + joint + italic(value)).strip(), *wrapped(what)]
    return lines


def literal(lines: list[str]) -> list[str]:
    return [".PP", ".nf", *[rf"\&    {plain(line)}" for line in lines], ".fi"]


def wrapped(text: str) -> list[str]:
    """Convert inline Markdown to roff, and wrap it into lines. Escape a line that would begin like a roff request."""
    # Convert before wrapping, because marked text may extend over several lines.
    words = re.split(r"(`[^`]*`|\*\*[^*]*\*\*|\*[^*]*\*|\[[^]]*\]\([^)]*\))", " ".join(text.split()))
    marked = "".join(map(mark, words))
    lines = textwrap.wrap(marked, 78, break_long_words=False, break_on_hyphens=False)
    return [rf"\&{line}" if line[0] in ".'" else line for line in lines]


def mark(text: str) -> str:
    if text.startswith("`"):
        return bold(text.strip("`"))
    if text.startswith("**"):
        return bold(text.strip("*"))
    if text.startswith("*") and text.endswith("*") and len(text) > 2:
        return italic(text.strip("*"))
    link = re.fullmatch(r"\[([^]]*)\]\(([^)]*)\)", text)
    return plain(link[1] if link else text)


def bold(text: str) -> str:
    return rf"\fB{plain(text)}\fR" if text else ""


def italic(text: str) -> str:
    return rf"\fI{plain(text)}\fR" if text else ""


def quoted(text: str) -> str:
    return '"' + plain(text).replace('"', r"\(dq") + '"'


_ESCAPES = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def plain(text: str) -> str:
    """Escape text so that a roff formatter shows it unchanged. The result is ASCII."""
    return "".join(_ESCAPES.get(c) or (c if c.isascii() else rf"\[u{ord(c):04X}]") for c in text)


if __name__ == "__main__":
    main(*sys.argv[1:])
