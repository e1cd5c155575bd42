"""How the tests' own environment is made where Python has no pip to put into it."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Iterator

import pytest

from ostream.net.loopback import Exchange, Server
from tests import bootstrap
from tests.server import serve

WHEEL = b"not really a wheel"
DIGEST = hashlib.sha256(WHEEL).hexdigest()
OURS = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine counts, of its proxy neither."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "etc"))


PAGE = f"""
<!DOCTYPE html><html><body>
<a href="pip-9.0-py2.py3-none-any.whl#sha256={DIGEST}">old</a>
<a href="pip-10.1-py2.py3-none-any.whl#sha256={DIGEST}" data-requires-python="&gt;={OURS}">the one</a>
<a href="pip-10.1.tar.gz">no wheel</a>
<a href="pip-10.2b1-py3-none-any.whl">not released</a>
<a href="pip-10.3-py3-none-any.whl" data-yanked="broken">taken back</a>
<a href="pip-11.0-py3-none-any.whl" data-requires-python="&gt;=99">for another Python</a>
<a href="pipx-12.0-py3-none-any.whl">another name</a><a>nothing</a>
</body></html>
"""


@pytest.fixture(name="index")
def _index() -> Iterator[Server]:
    def respond(exchange: Exchange) -> None:
        body = PAGE.encode() if exchange.path.endswith("/") else WHEEL
        exchange.whole(200 if "/simple/pip/" in exchange.path else 404, "text/html", body)

    with serve(respond) as server:
        yield server


def paths(server: Server) -> list[str]:
    return [exchange.path for exchange in server.requests]  # type: ignore[attr-defined]


def test_the_newest_released_wheel_for_this_python_is_fetched(
    index: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple/")
    wheel = bootstrap.fetch_pip(str(tmp_path))
    assert Path(wheel) == tmp_path / "pip-10.1-py2.py3-none-any.whl"
    assert Path(wheel).read_bytes() == WHEEL
    assert paths(index) == ["/simple/pip/", "/simple/pip/pip-10.1-py2.py3-none-any.whl"]


def test_a_folder_is_an_index_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "simple" / "pip"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(PAGE)
    (folder / "pip-10.1-py2.py3-none-any.whl").write_bytes(WHEEL)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    assert Path(bootstrap.fetch_pip(str(tmp_path))).read_bytes() == WHEEL


def test_a_damaged_wheel_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, index: Server) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")
    monkeypatch.setitem(globals(), "WHEEL", b"something else")
    with pytest.raises(SystemExit, match=r"pip-10\.1-py2\.py3-none-any\.whl: is damaged"):
        bootstrap.fetch_pip(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_password_goes_into_a_header_and_into_no_message(index: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = index.url.replace("//", "//me:p%40ss@")
    bootstrap.get(f"{url}/simple/pip/")
    assert index.requests[0].headers["Authorization"] == "Basic bWU6cEBzcw=="  # type: ignore[attr-defined]
    with pytest.raises(SystemExit, match=r"^bootstrap.py: http://\*\*\*@127\.0\.0\.1:\d+/no: HTTP Error 404"):
        bootstrap.get(f"{url}/no")


def test_an_index_without_a_pip_for_us_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "index.html").write_text("<base href='/'><a href='pip-1.0-py3-none-any.whl'>")
    monkeypatch.setattr(bootstrap, "satisfied", lambda wanted: False)
    monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
    with pytest.raises(SystemExit, match=r"no pip for this Python; on Debian: apt-get install python3-venv$"):
        bootstrap.fetch_pip(str(tmp_path))


SETTINGS = [
    ({}, {}, "https://pypi.org/simple"),
    ({}, {"etc/pip/pip.conf": "shared"}, "shared"),
    ({}, {"etc/pip/pip.conf": "shared", "home/.pip/pip.conf": "own"}, "own"),
    ({}, {"home/.config/pip/pip.conf": "new", "home/.pip/pip.conf": "old"}, "new"),
    ({"XDG_CONFIG_HOME": "{tmp}/mine"}, {"mine/pip/pip.conf": "new", "home/.config/pip/pip.conf": "own"}, "new"),
    ({"PIP_CONFIG_FILE": "{tmp}/file"}, {"file": "named"}, "named"),
    ({"PIP_CONFIG_FILE": "/dev/null"}, {"home/.pip/pip.conf": "own"}, "https://pypi.org/simple"),
    ({"PIP_INDEX_URL": "told"}, {"home/.pip/pip.conf": "own"}, "told"),
]


@pytest.mark.parametrize("section", ["global", "install"])
@pytest.mark.parametrize(("env", "files", "expected"), SETTINGS)
def test_the_index_is_the_one_that_pip_was_told(
    env: dict[str, str],
    files: dict[str, str],
    expected: str,
    section: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "python"))
    for name, value in env.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    for name, value in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"[{section}]\nindex_url = {value}\n")
    found = bootstrap.settings()
    if Path("/etc/pip.conf").exists() and "index-url" in Path("/etc/pip.conf").read_text():
        pytest.skip("this machine has an index of its own")
    assert found["index-url"] == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("", True),
        (f">={OURS}", True),
        (f">={OURS}.99", False),
        (f"<{OURS}", False),
        (f"<={OURS}.99", True),
        (f"<={OURS}", sys.version_info[2] == 0),
        (f">{OURS}.99", False),
        (">2.7, <99", True),
        ("<3", False),
        (f"=={OURS}.*", True),
        (f"=={OURS}", sys.version_info[2] == 0),
        (f">=3.0,!={OURS}.*", False),
        (">=3.0,!=3.0.*,!=3.1.*", True),
        ("~=3.0", False),
        ("nonsense", False),
    ],
)
def test_which_pythons_are_meant(wanted: str, expected: bool) -> None:
    assert bootstrap.satisfied(wanted) is expected
