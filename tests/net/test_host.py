"""Where the server is: the grammar of OLLAMA_HOST, and of headers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostream.errors import RequestError
from ostream.net.host import check_header, is_loopback, parse_host

HOSTS = [
    # OLLAMA_HOST, the address: Go's, but for what can't be dialled or is written in more than one way
    (None, "http://127.0.0.1:11434"),
    ("", "http://127.0.0.1:11434"),
    ("localhost", "http://localhost:11434"),
    ("example.com", "http://example.com:11434"),
    (":1234", "http://127.0.0.1:1234"),
    ("h:", "http://h:11434"),
    ("0.0.0.0", "http://127.0.0.1:11434"),
    ("0.0.0.0:80", "http://127.0.0.1:80"),
    ("[::]:80", "http://[::1]:80"),
    ("::1", "http://[::1]:11434"),
    ("[::1]", "http://[::1]:11434"),
    ("http://::1", "http://[::1]:80"),
    ("[::1]:8080", "http://[::1]:8080"),
    ("https://[fe80::1%eth0]:8080", "https://[fe80::1%eth0]:8080"),
    ("::ffff:10.0.0.1", "http://[::ffff:10.0.0.1]:11434"),
    ("[localhost]:80", "http://localhost:80"),
    ("http://localhost", "http://localhost:80"),
    ("https://h", "https://h:443"),
    ("HTTP://localhost", "http://localhost:11434"),
    ("ollama.com", "https://ollama.com:443"),
    ("ollama.com:80", "http://ollama.com:80"),
    ("http://ollama.com", "http://ollama.com:80"),
    ("https://h/ollama", "https://h:443/ollama"),
    ("http://h:1/base/", "http://h:1/base"),
    ("h/a/b~c/%7B1%7D;x=1,2", "http://h:11434/a/b~c/%7B1%7D;x=1,2"),
    ('"1.2.3.4"', "http://1.2.3.4:11434"),
    (" '1.2.3.4:1' \n", "http://1.2.3.4:1"),
    ('" h "', "http://h:11434"),
    ("h:080", "http://h:80"),
    ("http://", "http://127.0.0.1:80"),
    ("h:65535", "http://h:65535"),
    ("my_host-1.local", "http://my_host-1.local:11434"),
    ("bücher.example", "http://xn--bcher-kva.example:11434"),
]


@pytest.mark.parametrize(("text", "url"), HOSTS)
def test_a_host_is_read_as_ollama_reads_it(text: str | None, url: str) -> None:
    host = parse_host(text)
    assert host.url == url
    assert parse_host(host.url).url == url


BAD_HOSTS = [
    # OLLAMA_HOST, what is wrong with it; Go takes a default in silence, or mangles it
    (":0", "not a port: '0'"),
    ("http://h:0", "not a port: '0'"),
    ("h:65536", "not a port: '65536'"),
    (":66000", "not a port: '66000'"),
    ("h:abc", "not a port: 'abc'"),
    ("h:+80", "not a port: '+80'"),
    ("h:-1", "not a port: '-1'"),
    ("h:٣", "not a port"),
    ("[::1]:x", "not a port: 'x'"),
    ("http://user:pw@h:99", "no user and password here"),
    ("user@h", "host '***@h': no user and password here"),
    ("ftp://user:pw@h", "host '***@h': the scheme must be http or https"),
    ("https://h/a?x=1#f", "no query or fragment here"),
    ("h?x", "no query or fragment here"),
    ("h#f", "no query or fragment here"),
    ("ftp://h", "the scheme must be http or https"),
    ("://h", "the scheme must be http or https"),
    ("unix:///run/x", "the scheme must be http or https"),
    ("[::1", "not a host and a port"),
    ("[::1]x", "not a host and a port"),
    ("h:80:90", "not a host name"),
    ("[h:80]", "not a host name"),
    ("my host", "not a host name"),
    ("h\r\nX", "not a host name"),
    ("a%20b", "not a host name"),
    ("ü..example", "not a host name"),
    ("h\udcff", "not a host name"),
    ("h/a b", "not a path"),
    ("h/ü", "not a path"),
    ("h/a\r\nX", "not a path"),
    ('h/"x', "not a path"),
]


@pytest.mark.parametrize(("text", "message"), BAD_HOSTS)
def test_a_host_that_makes_no_sense_is_a_clear_error(text: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_host(text)
    assert str(caught.value).startswith("host ")
    assert message in str(caught.value)
    assert "pw" not in str(caught.value)


@settings(deadline=None, max_examples=300)
@given(st.text() | st.text("htps:/[]1.@?#%a \r\n\u0660\udcff"))
def test_any_host_gives_an_address_or_the_documented_error(text: str) -> None:
    try:
        host = parse_host(text)
    except RequestError:
        return
    assert host.url.isascii()
    assert host.url.isprintable()
    assert " " not in host.url
    assert 0 < host.port < 65536


LOOPBACK = [
    *((name, True) for name in ("", "localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::]")),
    *((name, False) for name in ("h", "localhost.example", "127.0.0.1.example", "10.0.0.1", "::2", "notlocalhost")),
]


@pytest.mark.parametrize(("name", "loopback"), LOOPBACK)
def test_secrets_go_over_tls_or_stay_on_the_machine(name: str, loopback: bool) -> None:
    assert parse_host(name).is_loopback is loopback
    assert parse_host(name).keeps_secrets is loopback
    assert parse_host(f"https://{name}").keeps_secrets


@pytest.mark.parametrize(
    ("name", "loopback"), [("0.0.0.0", True), ("::", True), ("::1", True), ("", False), ("[::1]", False), ("h", False)]
)
def test_a_bare_name_or_address_tells_whether_it_is_this_machine(name: str, loopback: bool) -> None:
    assert is_loopback(name) is loopback


HEADERS = [
    # name, value, is it one
    ("Authorization", "Bearer x", True),
    ("X-A_b.c~1", "a\tb c", True),
    ("X", "", True),
    ("", "x", False),
    ("X Y", "x", False),
    ("X:", "x", False),
    ("Authorization Bearer secret", "x", False),
    ("X\n", "x", False),
    ("Ü", "x", False),
    ("X", "a\r\nY: b", False),
    ("X", "a\nb", False),
    ("X", "a\0", False),
    ("X", "a\x7f", False),
    ("X", "ü", False),
    ("X", "a\n", False),
    ("Content-length", "1", False),
    ("Transfer-Encoding", "chunked", False),
]


@pytest.mark.parametrize(("name", "value", "fine"), HEADERS)
def test_no_header_can_forge_another(name: str, value: str, fine: bool) -> None:
    if fine:
        check_header(name, value)
        return
    with pytest.raises(RequestError, match=r"^header ") as caught:
        check_header(name, value)
    assert "secret" not in str(caught.value)
    assert not value or value not in str(caught.value)  # it may be a secret


WRONG: list[tuple[Any, Any, str]] = [
    ("X", 5, "^header X: its value must be text, not int$"),
    ("X", None, "^header X: its value must be text, not NoneType$"),
    ("X", b"y", "^header X: its value must be text, not bytes$"),
    (b"X", "y", "^header: its name must be text, not bytes$"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_header_is_text(name: Any, value: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        check_header(name, value)
