"""OLLAMA_HOST is read as Ollama reads it; a host or a header that makes no sense is a clear error."""

from __future__ import annotations

from typing import Any

import pytest

from ostream.errors import RequestError
from ostream.net.host import check_header, is_loopback, parse_host

HOSTS = [
    # OLLAMA_HOST, URL: Go's, except for addresses that cannot be connected to
    (None, "http://127.0.0.1:11434"),
    ("", "http://127.0.0.1:11434"),
    ("example.com", "http://example.com:11434"),
    (":1234", "http://127.0.0.1:1234"),
    ("h:", "http://h:11434"),
    ("0.0.0.0", "http://127.0.0.1:11434"),
    ("[::]:80", "http://[::1]:80"),
    ("::1", "http://[::1]:11434"),
    ("http://::1", "http://[::1]:80"),
    ("[::1]:8080", "http://[::1]:8080"),
    ("https://[fe80::1%eth0]:8080", "https://[fe80::1%eth0]:8080"),
    ("::ffff:10.0.0.1", "http://[::ffff:10.0.0.1]:11434"),
    ("[localhost]:80", "http://localhost:80"),
    ("http://localhost", "http://localhost:80"),
    ("https://h", "https://h:443"),
    ("HTTP://localhost", "http://localhost:11434"),
    ("ollama.com", "https://ollama.com:443"),
    ("http://ollama.com", "http://ollama.com:80"),
    ("https://h/ollama", "https://h:443/ollama"),
    ("http://h:1/base/", "http://h:1/base"),
    ("h/a/b~c/%7B1%7D;x=1,2", "http://h:11434/a/b~c/%7B1%7D;x=1,2"),
    ('"1.2.3.4"', "http://1.2.3.4:11434"),
    (" '1.2.3.4:1' \n", "http://1.2.3.4:1"),
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
    # OLLAMA_HOST, problem; Go takes a default without a message, or misreads it
    ("http://h:0", "invalid port '0'"),
    ("h:65536", "invalid port '65536'"),
    ("h:abc", "invalid port 'abc'"),
    ("h:+80", "invalid port '+80'"),
    ("h:٣", "invalid port"),
    ("[::1]:x", "invalid port 'x'"),
    ("http://user:pw@h:99", "user and password are not supported"),
    ("user@h", "host '***@h': user and password are not supported"),
    ("ftp://user:pw@h", "host '***@h': the scheme must be http or https"),
    ("https://h/a?x=1#f", "a query or fragment is not allowed"),
    ("h#f", "a query or fragment is not allowed"),
    ("://h", "the scheme must be http or https"),
    ("[::1", "invalid host and port"),
    ("[::1]x", "invalid host and port"),
    ("h:80:90", "invalid host name"),
    ("h[1", "invalid host and port"),
    ("::1%", "invalid host name"),
    ("::\0", "invalid host name"),
    ("[h:80]", "invalid host name"),
    ("my host", "invalid host name"),
    ("h\r\nX", "invalid host name"),
    ("a%20b", "invalid host name"),
    ("ü..example", "invalid host name"),
    ("h\udcff", "invalid host name"),
    ("h/ü", "invalid path"),
    ("h/a\r\nX", "invalid path"),
]


@pytest.mark.parametrize(("text", "message"), BAD_HOSTS)
def test_an_invalid_host_is_an_error_without_its_password(text: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_host(text)
    assert str(caught.value).startswith("host ")
    assert message in str(caught.value)
    assert "pw" not in str(caught.value)


NAMES = [
    *((name, True) for name in ("0.0.0.0", "::", "::1", "127.0.0.1", "127.255.0.9", "x.localhost")),
    *((name, False) for name in ("", "[::1]", "h", ".localhost", "127.300.1.1", "127.0.0.1.test", "1270.0.0.1")),
    *((name, False) for name in ("localhost.test", "notlocalhost", "127.0.0.\u0661", "127..0.1")),
]


@pytest.mark.parametrize(("name", "loopback"), NAMES)
def test_only_names_and_addresses_of_this_machine_are_loopback(name: str, loopback: bool) -> None:
    assert is_loopback(name) is loopback


HEADERS = [
    # name, value, valid
    ("Authorization", "Bearer x", True),
    ("X-A_b.c~1", "a\tb c", True),
    ("X", "", True),
    ("", "x", False),
    ("X:", "x", False),
    ("Authorization Bearer secret", "x", False),
    ("X\n", "x", False),
    ("Ü", "x", False),
    ("X", "a\r\nY: b", False),
    ("X", "a\0", False),
    ("X", "a\x7f", False),
    ("X", "ü", False),
    ("Content-length", "1", False),
    ("Transfer-Encoding", "chunked", False),
]


@pytest.mark.parametrize(("name", "value", "valid"), HEADERS)
def test_no_header_can_forge_another(name: str, value: str, valid: bool) -> None:
    if valid:
        check_header(name, value)
        return
    with pytest.raises(RequestError, match=r"^header ") as caught:
        check_header(name, value)
    assert "secret" not in str(caught.value)
    assert not value or value not in str(caught.value)  # it may be a secret


WRONG: list[tuple[Any, Any, str]] = [
    ("X", 5, "^header X: the value must be text, not int$"),
    ("X", b"y", "^header X: the value must be text, not bytes$"),
    (b"X", "y", "^header: the name must be text, not bytes$"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_a_header_must_be_text(name: Any, value: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        check_header(name, value)
