"""How time and memory grow: with the number of chunks, the length of a line, and the stages of a pipe.

The drawings are straight lines, or the page says why not.
"""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import NamedTuple

from house import ROOT, Pipe, Python, Run, in_turns, run
from server import line

DRAWINGS = ROOT / "docs"
PIECE = b"".join(line("qwen3:0.6b", f" word{number % 10}") for number in range(10))
LAST = line("qwen3:0.6b", "", done=True)


class Point(NamedTuple):
    x: float
    seconds: float
    mib: float


def fed(pipe: Pipe, chunks: int) -> Run:
    """Run a pipe on so many chunks, which no file holds."""
    here, there = os.pipe()

    def feed() -> None:
        tens = chunks // 10
        with open(there, "wb") as pipe_end:
            for _ in range(tens // 100):
                pipe_end.write(PIECE * 100)
            pipe_end.write(PIECE * (tens % 100) + LAST)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        return run(pipe, here, memory=True)
    finally:
        os.close(here)
        feeder.join()


def point(x: float, once: object, turns: int) -> Point:
    measured = in_turns({"it": once}, turns)  # type: ignore[dict-item]
    return Point(x, measured.median("it", "cpu_s"), measured.median("it", "peak_kib") / 1024)


def by_chunks(python: Python, most: int) -> list[Point]:
    command = python.ours("extract-content")
    return [
        point(10**power, lambda chunks=10**power: fed([command], chunks), 3 if power < 6 else 1)
        for power in range(1, round(math.log10(most)) + 1)
    ]


def by_length(python: Python, scratch: Path, most: int) -> list[Point]:
    """One line, longer and longer."""
    points = []
    size = 128
    while size <= most:
        path = scratch / "line"
        path.write_bytes(line("qwen3:0.6b", "x" * (size - 130)) + LAST)
        points.append(point(size, lambda: run([python.ours("extract-content")], str(path), memory=True), 3))  # noqa: B023
        size *= 8
    return points


def by_stages(python: Python, scratch: Path) -> list[Point]:
    """Filters that pass the stream on, and the one at the end."""
    path = scratch / "stages"
    path.write_bytes(PIECE * 1000 + LAST)
    passing = python.ours("extract-thinking", "-w", os.devnull)
    return [
        point(
            stages,
            lambda stages=stages: run(
                [passing] * (stages - 1) + [python.ours("extract-content")], str(path), memory=True
            ),
            5,
        )
        for stages in range(1, 7)
    ]


def draw(title: str, unit: str, points: list[Point], logarithmic: bool) -> str:
    """Seconds (a line) and MiB (a dashed line) over x, as SVG; on logarithmic axes what is linear has slope one."""
    width, height, edge = 560, 320, 60

    def scale(values: list[float], length: int, log: bool) -> list[float]:
        places = [math.log10(max(value, 1e-9)) if log else value for value in values]
        low = min(places) if log else 0
        return [edge + (place - low) / ((max(places) - low) or 1) * (length - 2 * edge) for place in places]

    def path(values: list[float], style: str) -> str:
        ys = scale(values, height, logarithmic)
        corners = " ".join(f"{x:.1f},{height - y:.1f}" for x, y in zip(xs, ys))
        return f'<polyline fill="none" stroke-width="2" {style} points="{corners}"/>'

    def label(x: float, y: float, text: str, anchor: str = "middle") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'

    xs = scale([point.x for point in points], width, logarithmic)
    seconds, mib = [point.seconds for point in points], [point.mib for point in points]
    bottom = height - edge
    marks = [label(x, bottom + 18, short(point.x)) for x, point in zip(xs, points)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
            "<style>text { font: 12px sans-serif }</style>",
            f'<rect width="{width}" height="{height}" fill="white"/>',
            f'<path d="M{edge},{edge / 2:.0f} V{bottom} H{width - edge / 2:.0f}" fill="none" stroke="black"/>',
            label(width / 2, 20, title),
            *marks,
            label(width / 2, height - 12, unit),
            path(seconds, 'stroke="#06c"'),
            path(mib, 'stroke="#c60" stroke-dasharray="6 4"'),
            label(edge + 6, edge / 2 + 12, f"CPU: {seconds[0]:.3g} to {seconds[-1]:.3g} s (line)", "start"),
            label(edge + 6, edge / 2 + 28, f"memory: {mib[0]:.3g} to {mib[-1]:.3g} MiB (dashed)", "start"),
            "</svg>",
            "",
        ]
    )


def short(number: float) -> str:
    for size, name in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{name}"
    return f"{number:.3g}"


def more(first: Point, point: Point) -> str:
    """CPU for each chunk, byte or stage, without the start; where it is too little to be told from that, nothing."""
    seconds = point.seconds - first.seconds
    return f"{seconds / (point.x - first.x) * 1e6:,.3f} µs" if seconds > 0.02 else ""


def lines(python: Python, scratch: Path) -> list[str]:
    """The part of the page; the drawings are made beside it. CHUNKS says up to how many chunks."""
    most = int(os.environ.get("CHUNKS", 1_000_000))
    alone = in_turns(
        {"it": lambda: fed([[python.path, "-I", "-S", "-c", "import os\nwhile os.read(0, 65536): pass"]], 10)}, 3
    )
    series = [
        ("chunks", "chunks, through extract-content", by_chunks(python, most), True),
        ("length", "bytes in one line, through extract-content", by_length(python, scratch, 32 << 20), True),
        ("stages", "stages of a pipe, 10,000 chunks", by_stages(python, scratch), False),
    ]
    page = [
        "## Growth",
        "",
        f"A bare python3 takes {alone.median('it', 'peak_kib') / 1024:.1f} MiB.",
        "",
    ]
    for name, title, points, logarithmic in series:
        drawing = draw(
            title, f"{title.partition(',')[0]}{' (both axes logarithmic)' * logarithmic}", points, logarithmic
        )
        (DRAWINGS / f"growth-{name}.svg").write_text(drawing)
        page += [
            f"![{title}](growth-{name}.svg)",
            "",
            f"| {title} | CPU | for each more than in the first line | peak memory |",
            "|---:|---:|---:|---:|",
        ]
        page += [
            f"| {point.x:,.0f} | {point.seconds:.3f} s | {more(points[0], point)} | {point.mib:.1f} MiB |"
            for point in points
        ]
        page.append("")
    return page
