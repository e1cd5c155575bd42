"""Install test tools into a virtual environment: bootstrap.py DIRECTORY REQUIREMENTS NOTE.

NOTE describes what is installed and its size, and is printed first. The directory is created if it has no working pip.
A Python without venv, and a package index that cannot be reached, are each reported in one line.
"""

import importlib.util
import os
import subprocess
import sys


def main(directory, requirements, note):
    ensurepip = importlib.util.find_spec("ensurepip")
    if not (ensurepip and ensurepip.origin):
        sys.exit(
            f"bootstrap.py: {sys.executable} cannot create virtual environments; install the package python3-venv "
            "(Debian and Ubuntu: sudo apt install python3-venv)"
        )
    print(f"Installing {note} into {directory}.", flush=True)
    pip = [os.path.join(directory, "bin", "python"), "-m", "pip"]
    if not works([*pip, "--version"]):
        subprocess.check_call([sys.executable, "-m", "venv", "--clear", directory])
    install = ["install", "-q", "--disable-pip-version-check", "--retries", "3", "-r", requirements]
    result = subprocess.run([*pip, *install], stderr=subprocess.PIPE, text=True)
    if "connection broken" in result.stderr and result.returncode:
        sys.exit(
            "bootstrap.py: the package index could not be reached; connect to the network, or set PIP_INDEX_URL to an "
            "index that can be reached, and try again"
        )
    if result.returncode:
        sys.exit(result.stderr)


def works(command):
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
