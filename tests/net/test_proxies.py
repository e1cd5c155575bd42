"""Proxies of the environment are used or reported as unusable, and never used for this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from ostream import Client, ConnectError, IncompleteStream, OstreamError, RequestError, ResponseError
from ostream.errors import UNAVAILABLE, USAGE
from tests.server import (
    Answers,
    certificate,
    http_answer,
    read_request,
    resolve,
    send_lines,
    serve,
    server_context,
    tcp,
)

DONE = b'{"message":{"role":"assistant","content":"hi"},"done":true}\n'
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD", "OLLAMA_API_KEY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("form", ["http://{}", "HTTP://{}/", "{}", " {} ", "http://{}/ignored"])
def test_an_http_request_is_sent_to_the_proxy_with_its_full_url(
    variable: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Answers(http_answer(200, DONE))
    with tcp(proxy) as port:
        monkeypatch.setenv(variable, form.format(f"127.0.0.1:{port}"))
        assert Client("http://example.test/base").chat("m").message.content == "hi"
    first, headers, _ = proxy.requests[0]
    assert first == "POST http://example.test:80/base/api/chat HTTP/1.1"
    assert headers["host"] == "example.test:80"
    assert "proxy-authorization" not in headers


@pytest.mark.parametrize(("user", "sent"), [("me:p%40ss", "bWU6cEBzcw=="), ("me", "bWU6")])
def test_user_and_password_are_sent_to_the_proxy(user: str, sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Answers(http_answer(200, DONE))
    with tcp(proxy) as port:
        monkeypatch.setenv("http_proxy", f"http://{user}@127.0.0.1:{port}")
        Client("http://example.test").chat("m")
    assert proxy.requests[0][1]["proxy-authorization"] == f"Basic {sent}"


def test_settings_of_the_system_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS and Windows getproxies() and proxy_bypass() read them."""
    for name in ("getproxies", "proxy_bypass"):
        monkeypatch.delattr(f"urllib.request.{name}")
    proxy = Answers(http_answer(200, DONE))
    with tcp(proxy) as port:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{port}")
        assert Client("http://example.test").chat("m").done


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "ollama.localhost", "0.0.0.0", "[::1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_machine_is_never_reached_through_a_proxy(host: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Answers(http_answer(200, DONE))
    resolve(monkeypatch, **{"ollama_localhost": "127.0.0.1", "::1": "127.0.0.1"})
    with tcp(proxy) as port, serve(send_lines(DONE)) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        client = Client(f"{scheme}://{host}:{server.server_port}")
        if scheme == "http":
            assert client.chat("m").done
        else:
            with pytest.raises(ConnectError, match="TLS"):
                client.chat("m")
    assert proxy.requests == []


@pytest.mark.parametrize(
    ("host", "exceptions", "direct"),
    [
        ("example.test", "example.test", True),
        ("example.test", ".test", True),
        ("example.test", "other.test, example.test:{port}", True),
        ("example.test", "*", True),
        ("example.test", "other.test", False),
        ("example.test", "127.0.0.0/8", False),
        ("example.test", "", False),
        ("192.0.2.7", "192.0.2.7:{port}", True),
        ("192.0.2.7", "192.0.2.7:1", False),
        ("192.0.2.7", "192.0.2.0/24", False),
    ],
)
def test_a_host_in_no_proxy_is_reached_directly(
    host: str, exceptions: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = Answers(http_answer(200, DONE)), Answers(http_answer(200, DONE))
    resolve(monkeypatch, **{host.replace(".", "_"): "127.0.0.1"})
    with tcp(proxy) as proxy_port, tcp(server) as port:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy_port}")
        monkeypatch.setenv("no_proxy", exceptions.format(port=port))
        Client(f"http://{host}:{port}").chat("m")
    assert (len(server.requests), len(proxy.requests)) == ((1, 0) if direct else (0, 1))


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("socks5://127.0.0.1:1080", "proxy socks5://...: only http proxies are supported"),
        ("https://127.0.0.1:3128", "proxy https://...: only http proxies are supported"),
        ("://127.0.0.1", "only http proxies are supported"),
        ("http://", "invalid host and port"),
        ("http://127.0.0.1:99999", "invalid host and port"),
        ("http://a b:1", "invalid host and port"),
        ("http://[::1", "invalid host and port"),
        ("http://me:12/secret@127.0.0.1:1", "invalid host and port"),
        ("http://127.0.0.1:1/secret@127.0.0.1:1", "invalid host and port"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_unusable_proxy_is_a_usage_error_and_never_bypassed(
    scheme: str, proxy: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Answers(http_answer(200, DONE))
    resolve(monkeypatch, example_test="127.0.0.1")
    with tcp(server) as port:
        monkeypatch.setenv(f"{scheme}_proxy", proxy)
        with pytest.raises(RequestError) as caught:
            Client(f"{scheme}://example.test:{port}").chat("m")
    assert words in str(caught.value)
    assert "secret" not in f"{caught.value} {caught.value.advice}"
    assert caught.value.exit_status == USAGE
    assert server.requests == []


@pytest.mark.parametrize(("variable", "used"), [("HTTP_PROXY", False), ("http_proxy", True), ("ALL_PROXY", True)])
def test_under_cgi_a_header_cannot_set_the_proxy(variable: str, used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A web server passes a `Proxy:` header on as HTTP_PROXY."""
    proxy, server = Answers(http_answer(200, DONE)), Answers(http_answer(200, DONE))
    resolve(monkeypatch, example_test="127.0.0.1")
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    with tcp(proxy) as proxy_port, tcp(server) as port:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy_port}")
        Client(f"http://example.test:{port}").chat("m")
    assert len(proxy.requests) == used
    assert len(server.requests) == (not used)


class Tunnel:
    """A proxy that connects to this port of this machine, whatever the client requests."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    def __call__(self, connection: socket.socket) -> None:
        self.requests.append(read_request(connection))
        with socket.create_connection(("127.0.0.1", self.port)) as onward:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\nVia: tunnel\r\n\r\n")
            back = threading.Thread(target=self._pump, args=(onward, connection))
            back.start()
            self._pump(connection, onward)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for data in iter(lambda: source.recv(1 << 16), b""):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture(name="pem", scope="module")
def _pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("certificates"), "example", "DNS:example.test")


@pytest.mark.parametrize("variable", ["https_proxy", "all_proxy"])
def test_https_uses_a_tunnel_that_sees_no_secret(variable: str, pem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "secret")
    server = Answers(http_answer(200, DONE), tls=server_context(pem))
    with tcp(server) as port:
        tunnel = Tunnel(port)
        with tcp(tunnel) as proxy_port:
            monkeypatch.setenv(variable, f"http://me:pass@127.0.0.1:{proxy_port}")
            client = Client("https://example.test/base", cacert=str(pem), headers={"X-Mine": "secret"})
            assert client.chat("m", [{"role": "user", "content": "secret"}]).message.content == "hi"
    ((first, headers, body),) = tunnel.requests
    assert first.startswith("CONNECT example.test:443 HTTP/1.")
    assert headers["proxy-authorization"] == "Basic bWU6cGFzcw=="
    assert "secret" not in f"{headers} {body!r}"
    first, headers, body = server.requests[0]
    assert first == "POST /base/api/chat HTTP/1.1"
    assert headers["authorization"] == "Bearer secret"
    assert "proxy-authorization" not in headers


def test_a_certificate_is_checked_through_a_tunnel_too(pem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Answers(http_answer(200, DONE), tls=server_context(pem))
    with tcp(server) as port, tcp(Tunnel(port)) as proxy_port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy_port}")
        with pytest.raises(ConnectError, match=r"^other\.test:8443: TLS: .*mismatch"):
            Client("https://other.test:8443", cacert=str(pem)).chat("m")
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", ConnectError, "407 Proxy Authentication Required"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", ConnectError, "502 Bad Gateway"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\n\r\n", ConnectError, "302 Found"),
        (b"", IncompleteStream, "closed"),
        (b"garbage\r\n\r\n", ResponseError, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, ResponseError, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n", ConnectError, "TLS"),
    ],
)
def test_a_proxy_that_makes_no_tunnel_is_an_error(
    answer: bytes, kind: type[OstreamError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tcp(Answers(answer)) as port:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{port}")
        with pytest.raises(kind, match=words) as caught:
            Client("https://example.test").chat("m")
    assert caught.value.exit_status == (UNAVAILABLE if kind is ConnectError else caught.value.exit_status)
    assert "example.test" in str(caught.value)


def test_an_unreachable_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, address)
        for scheme in ("http", "https"):
            with pytest.raises(ConnectError, match=f"^proxy {address}: connection refused"):
                Client(f"{scheme}://example.test").chat("m")
