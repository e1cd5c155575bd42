"""Build the single-file executable: pyz.py FILE.

The file is a short sh script followed by a zip of the sources. A commit produces the same bytes on every machine.
Therefore the zip contains no bytecode, which differs between versions of Python, and is not compressed, because
compressed data differs between versions of zlib. (Loading zlib also takes longer than reading the uncompressed file.)
"""

import os
import re
import sys
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# With -I and -S, Python starts fast and imports nothing from the current directory. Python skips the text before the
# zip.
HEADER = b'#!/bin/sh\nexec python3 -I -S "$0" "$@"\nexit\n'
EPOCH = (1980, 1, 1, 0, 0, 0)


def main(target: str) -> None:
    files = {name: read(name) for name in sources()}
    files["__main__.py"] = launcher()
    new = f"{target}.new"
    with open(new, "wb") as file:
        file.write(HEADER)
        with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
            for name in sorted(files):
                info = zipfile.ZipInfo(name, EPOCH)
                info.create_system = 3
                info.external_attr = 0o100644 << 16
                archive.writestr(info, files[name])
    os.chmod(new, 0o755)
    os.replace(new, target)


def sources() -> "list[str]":
    """Return the paths of the package's files and of the license, relative to the repository."""
    names = ["LICENSE"]
    for folder, _, found in os.walk(os.path.join(ROOT, "ostream")):
        names += [os.path.relpath(os.path.join(folder, name), ROOT) for name in found if name.endswith((".py", "sh"))]
    return names


def launcher() -> bytes:
    """Return bin/ostream without the line that sets sys.path. Python adds the zip that it runs to sys.path itself."""
    text, found = re.subn(rb"^(#.*\n)*sys\.path\..*\n", b"", read("bin/ostream"), flags=re.MULTILINE)
    if found != 1:
        sys.exit("pyz.py: bin/ostream: not one line that sets sys.path")
    return text


def read(name: str) -> bytes:
    with open(os.path.join(ROOT, name), "rb") as file:
        return file.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
