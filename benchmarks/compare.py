"""All comparisons, side by side, and docs/benchmarks.md made of them: `make bench`.

python3 benchmarks/compare.py [--fast] [--only=WORD]
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import batch
import growth
from house import ROOT, Python, install_peers, instructions, machine, pythons, scratch, serving, versions
from rows import CURL_JQ_UNBUFFERED, PIPELINE, Row, isolated, latency, rows, stream, verdict

PAGE = ROOT / "docs" / "benchmarks.md"
TEXT = ROOT / "benchmarks" / "remarks.md"


def shown(row: Row) -> list[str]:
    """A row's part of the page."""
    measured = row.measure()
    lines = [f"| {row.title}; {row.turns} turns | median | quartiles |", "|---|---:|---:|"]
    for name in measured.runs:
        low, high = measured.spread(name, row.field)
        median = measured.median(name, row.field)
        lines.append(
            f"| {cell(name)} | {median * row.scale:.3g} {row.unit} | {low * row.scale:.3g} to {high * row.scale:.3g} |"
        )
    lines.append("")
    for ratio in row.ratios:
        value = measured.ratio(ratio.of, ratio.to, ratio.field)
        cpu = measured.ratio(ratio.of, ratio.to, "cpu_s")
        lines.append(
            f"* {ratio.of} / {ratio.to}, {ratio.unit}: "
            + ratio.verdict(value)
            + (f"; CPU {cpu:.2f}" if ratio.field == "wall_s" else "")
        )
    return [*lines, ""]


def cell(name: str) -> str:
    return name.replace("|", "\\|")


def instruction_lines(python: Python, folder: Path) -> list[str]:
    """The same as the first row and the file, in a measure that no load disturbs."""
    one, many = stream(folder / "few", 0), stream(folder / "many", 10_000)
    commands = {
        "import json": isolated(python, "import json"),
        "extract-content": [python.path, "-I", "-S", str(ROOT / "bin" / "extract-content")],
        "jq": ["jq", "-j", ".message.content"],
    }
    lines = ["| Instructions, by valgrind | start and end | for each chunk |", "|---|---:|---:|"]
    for name, command in commands.items():
        start = instructions(command, one)
        rest = (instructions(command, many) - start) / 10_000
        lines.append(f"| {name} | {start / 1e6:.1f} million | {f'{rest:,.0f}' if rest > 10 else ''} |")
    return [*lines, ""]


def latency_lines(python: Python, host: str, turns: int) -> list[str]:
    lines = ["| Latency of a chunk through the pipe | p50 | p99 |", "|---|---:|---:|"]
    ratios = []
    for rate in (50, 1000):
        found = latency(python, host, rate, turns)
        for name, (p50, p99) in found.items():
            lines.append(f"| {cell(name)}, {rate:,} chunks/s | {p50:.2f} ms | {p99:.2f} ms |")
        ours, theirs = found[PIPELINE], found[CURL_JQ_UNBUFFERED]
        for index, quantile in enumerate(("p50", "p99") if rate == 1000 else ("p50",)):
            value = ours[index] / theirs[index]
            ratios.append(f"* {quantile} at {rate:,} chunks/s: {verdict(value, 1.2)}")
    return [*lines, "", *ratios, ""]


def load() -> str:
    """Whether others were at work on the machine at the start."""
    return f"Load of the machine at the start: {os.getloadavg()[1]:.1f}."


def main() -> None:
    fast = "--fast" in sys.argv
    only = next((word.partition("=")[2] for word in sys.argv if word.startswith("--only=")), "")
    install_peers()
    remarks = TEXT.read_text()
    head, _, tail = remarks.partition("<!-- measured -->\n")
    lines = [
        f"Machine: {machine()}.",
        "",
        f"Peers: {', '.join(versions())}.",
        "",
        f"Date: {time.strftime('%Y-%m-%d')}. {load()}",
        "",
    ]
    with scratch() as folder, serving() as host:
        for python in pythons(folder):
            python.use()
            lines += [f"## On {python.name}", ""]
            for row in rows(python, host, folder, fast):
                if only in row.title:
                    print(f"{python.name}: {row.title}", flush=True)
                    lines += shown(row)
            if only in "instructions":
                lines += instruction_lines(python, folder)
            if only in "latency":
                lines += latency_lines(python, host, 1 if fast else 5)
            if only in "growth" and "system" in python.name:
                grown = growth.lines(python, folder)
        if only in "growth":
            lines += grown
        if only in "batch":
            lines += ["## batch", "", "```", *batch.compare(2000 if fast else 10_000), "```", ""]
    page = head + "\n".join(lines) + "\n" + tail
    print(page)
    if not only and not (fast and "--write" not in sys.argv):
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
