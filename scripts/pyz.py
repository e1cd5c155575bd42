"""Make the whole program one file: pyz.py FILE.

A line of sh, then a zip of the sources. Sources, not bytecode: that would be for one Python only, and not the same
bytes everywhere; and stored, not packed: zlib has versions too, and to load it takes longer than to read the file.
So one commit gives one file, wherever it is made.
"""

import os
import re
import sys
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# -I and -S: start fast, and import nothing from where we are called. To Python all this is just in front of the zip.
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
    """The files of the package, and the license that it is given under."""
    names = ["LICENSE"]
    for folder, _, found in os.walk(os.path.join(ROOT, "ostream")):
        names += [os.path.relpath(os.path.join(folder, name), ROOT) for name in found if name.endswith(".py")]
    return names


def launcher() -> bytes:
    """bin/ostream, without the place of the package: Python looks into the zip that it runs."""
    text, found = re.subn(rb"^(#.*\n)*sys\.path\..*\n", b"", read("bin/ostream"), flags=re.MULTILINE)
    if found != 1:
        sys.exit("pyz.py: bin/ostream: not one line that sets sys.path")
    return text


def read(name: str) -> bytes:
    with open(os.path.join(ROOT, name), "rb") as file:
        return file.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
