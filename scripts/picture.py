"""Run the script of `make demo` in a pseudo-terminal, and draw its final screen as docs/demo.svg."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from html import escape
from itertools import groupby
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parent.parent
COLUMNS, ROWS = 120, 60
# The width and height of a character, and the margin, in pixels.
WIDTH, HEIGHT, MARGIN = 8, 17, 14
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>make demo, on a terminal</title>
<rect width="100%" height="100%" rx="8" fill="#1e2430"/>
<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13" xml:space="preserve" fill="#d8dee9">
"""


def shown() -> pyte.Screen:
    """Run the demo and return the final screen."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    with subprocess.Popen(["sh", "examples/demo.sh"], cwd=ROOT, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        try:
            for block in iter(lambda: os.read(master, 4096), b""):
                stream.feed(block)
        except OSError:
            pass  # on Linux, reading fails with EIO after the last writer has closed the terminal
    os.close(master)
    if process.returncode:
        raise SystemExit(f"the demo failed: status {process.returncode}")
    return screen


def picture(screen: pyte.Screen) -> str:
    lines = [[screen.buffer[row][column] for column in range(COLUMNS)] for row in range(ROWS)]
    while not "".join(cell.data for cell in lines[-1]).strip():
        lines.pop()
    while not "".join(cell.data for cell in lines[0]).strip():
        lines.pop(0)
    parts = [HEAD.format(width=COLUMNS * WIDTH + 2 * MARGIN, height=len(lines) * HEIGHT + 2 * MARGIN)]
    for row, line in enumerate(lines):
        column = 0
        for bold, cells in groupby(line, key=lambda cell: cell.bold):
            run = list(cells)
            text = "".join(cell.data for cell in run).rstrip()
            if text:
                weight = ' font-weight="bold" fill="#ffffff"' if bold else ' fill="#7f8c9f"' if text[0] == "#" else ""
                x, y = MARGIN + column * WIDTH, MARGIN + (row + 1) * HEIGHT - 4
                parts.append(f'<text x="{x}" y="{y}"{weight}>{escape(text)}</text>\n')
            column += len(run)
    return "".join([*parts, "</g>\n</svg>\n"])


if __name__ == "__main__":
    (ROOT / "docs" / "demo.svg").write_text(picture(shown()), encoding="utf-8")
