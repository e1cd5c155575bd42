"""Make a virtual environment with the tools of the tests: bootstrap.py DIRECTORY REQUIREMENTS.

Needs nothing but this Python and a package index. Where Python has no pip of its own to put there (Debian splits it
off), the wheel of pip is fetched from the index that pip would use, and run as it is: a wheel is a zip.
"""

import base64
import configparser
import hashlib
import html.parser
import importlib.util
import os
import re
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request


def main(directory, requirements):
    python = os.path.join(directory, "bin", "python")
    install = ["install", "-q", "--disable-pip-version-check", "-r", requirements]
    ensurepip = importlib.util.find_spec("ensurepip")
    if ensurepip and ensurepip.origin:
        subprocess.check_call([sys.executable, "-m", "venv", "--clear", directory])
        subprocess.check_call([python, "-m", "pip", *install])
        return
    subprocess.check_call([sys.executable, "-m", "venv", "--clear", "--without-pip", directory])
    with tempfile.TemporaryDirectory() as folder:
        wheel = fetch_pip(folder)
        subprocess.check_call([python, f"{wheel}/pip", *install, wheel])


def fetch_pip(folder):
    """The newest wheel of pip that this Python can run, in `folder`."""
    index = settings()["index-url"].rstrip("/") + "/pip/"
    page = Links()
    page.feed(get(index).decode())
    for _, link, wanted in sorted(page.wheels, reverse=True):
        if satisfied(wanted):
            url, _, digest = urllib.parse.urljoin(page.base or index, link).partition("#")
            data = get(url)
            if digest.startswith("sha256=") and hashlib.sha256(data).hexdigest() != digest[len("sha256=") :]:
                sys.exit(f"bootstrap.py: {shown(url)}: is damaged: not what the index says")
            path = os.path.join(folder, os.path.basename(urllib.parse.urlsplit(url).path))
            with open(path, "wb") as file:
                file.write(data)
            return path
    return sys.exit(f"bootstrap.py: {shown(index)}: no pip for this Python; on Debian: apt-get install python3-venv")


class Links(html.parser.HTMLParser):
    """The wheels of released pips on a page of the index: (version, address, which Pythons)."""

    def __init__(self):
        super().__init__()
        self.wheels = []
        self.base = None

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        link = attributes.get("href") or ""
        if tag == "base":
            self.base = link
        version = re.search(r"(?:^|/)pip-(\d+(?:\.\d+)*)-py[\w.]*-none-any\.whl(?:#|$)", link)
        if tag == "a" and version and "data-yanked" not in attributes:
            numbers = [int(number) for number in version[1].split(".")]
            self.wheels.append((numbers, link, attributes.get("data-requires-python") or ""))


def satisfied(wanted):
    """Is this Python one of those: ">=3.8, !=3.9.*"? What is not understood counts as a no."""
    for part in filter(None, wanted.replace(" ", "").split(",")):
        match = re.fullmatch(r"(>=|<=|==|!=|>|<)(\d+(?:\.\d+)*)(\.\*)?", part)
        if not match:
            return False
        sign, numbers, star = match[1], [int(number) for number in match[2].split(".")], match[3]
        ours = list(sys.version_info[: len(numbers) if star else 3])
        theirs = numbers if star else [*numbers, 0, 0][:3]
        if not {
            ">=": ours >= theirs,
            "<=": ours <= theirs,
            "==": ours == theirs,
            "!=": ours != theirs,
            ">": ours > theirs,
            "<": ours < theirs,
        }[sign]:
            return False
    return True


def settings():
    """What pip was told: its files from the most general to the most special, then the environment."""
    found = {"index-url": "https://pypi.org/simple", "cert": None}
    home = os.path.expanduser("~")
    shared = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    own = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    names = [os.environ.get("PIP_CONFIG_FILE", "")]
    names += [os.path.join(folder, "pip", "pip.conf") for folder in reversed(shared.split(os.pathsep))]
    names += ["/etc/pip.conf", os.path.join(home, ".pip", "pip.conf"), os.path.join(own, "pip", "pip.conf")]
    names += [os.path.join(sys.prefix, "pip.conf")]
    for name in [] if names[0] == os.devnull else names:
        parser = configparser.RawConfigParser()
        parser.read(name)
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update((key.replace("_", "-"), value) for key, value in parser.items(section))
    for name in ("index-url", "cert"):
        found[name] = os.environ.get("PIP_" + name.upper().replace("-", "_")) or found[name]
    return found


def get(url):
    """What is at this address; a password in it becomes a header, as with pip."""
    parts = urllib.parse.urlsplit(url)
    headers = {"Accept": "text/html, */*"}
    if "@" in parts.netloc:
        secret, _, place = parts.netloc.rpartition("@")
        user, _, password = secret.partition(":")
        pair = f"{urllib.parse.unquote(user)}:{urllib.parse.unquote(password)}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        parts = parts._replace(netloc=place)
    if parts.scheme == "file" and parts.path.endswith("/"):
        parts = parts._replace(path=parts.path + "index.html")
    context = ssl.create_default_context(cafile=settings()["cert"] or None)
    try:
        with urllib.request.urlopen(
            urllib.request.Request(parts.geturl(), headers=headers), context=context, timeout=60
        ) as answer:
            return answer.read()
    except OSError as error:
        return sys.exit(f"bootstrap.py: {shown(url)}: {error}")


def shown(url):
    """An address without the password that may be in it."""
    return re.sub(r"//[^/@]*@", "//***@", url)


if __name__ == "__main__":
    main(*sys.argv[1:])
