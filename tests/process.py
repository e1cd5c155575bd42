"""Commands run as real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BIN = ROOT / "bin"


def environment(**changes: str) -> dict[str, str]:
    """The environment of a command under test: ours, less what would steer it, with the launchers on PATH.

    `python3` is the interpreter that runs the tests.
    """
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    for name in ("OLLAMA_HOST", "OLLAMA_MODEL", "OLLAMA_API_KEY", "NO_COLOR", "REQUEST_METHOD"):
        kept.pop(name, None)
    kept["PATH"] = os.pathsep.join([str(BIN), str(Path(sys.executable).parent), kept.get("PATH", "")])
    kept["PYTHONPATH"] = str(ROOT)
    return {**kept, **changes}


def run(
    command: str, *arguments: str | Path, stdin: bytes | None = b"", timeout: float = 60, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run one command; stdout and stderr are bytes. Keyword `env` adds to the environment."""
    env = environment(**options.pop("env", {}))
    return subprocess.run(
        [sys.executable, "-m", "ostream", command, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=timeout,
        env=env,
        check=False,
        **options,
    )


def start(command: str, *arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start one command, its three descriptors pipes unless `options` say otherwise."""
    env = environment(**options.pop("env", {}))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-m", "ostream", command, *map(str, arguments)], env=env, **{**pipes, **options}
    )


def sh(
    script: str, *, stdin: bytes | None = b"", timeout: float = 60, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run a script under plain sh, with the launchers on PATH."""
    env = environment(**options.pop("env", {}))
    return subprocess.run(
        ["sh", "-c", script], input=stdin, capture_output=True, timeout=timeout, env=env, check=False, **options
    )
