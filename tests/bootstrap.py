"""Make a virtual environment with the tools of the tests: bootstrap.py DIRECTORY REQUIREMENTS."""

import importlib.util
import os
import subprocess
import sys


def main(directory: str, requirements: str) -> None:
    python = os.path.join(directory, "bin", "python")
    if importlib.util.find_spec("ensurepip"):
        subprocess.check_call([sys.executable, "-m", "venv", "--clear", directory])
        pip = [python, "-m", "pip"]
    elif importlib.util.find_spec("pip"):
        # Debian splits ensurepip off; the pip of the system can install into an environment that has none.
        subprocess.check_call([sys.executable, "-m", "venv", "--clear", "--without-pip", directory])
        pip = [sys.executable, "-m", "pip", "--python", python]
    else:
        sys.exit("make: this python3 has neither ensurepip nor pip; on Debian: apt-get install python3-venv")
    subprocess.check_call([*pip, "install", "-q", "--disable-pip-version-check", "-r", requirements])


if __name__ == "__main__":
    main(*sys.argv[1:])
