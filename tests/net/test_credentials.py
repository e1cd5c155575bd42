"""Secrets go to the configured host, over TLS or inside this machine, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostream import Client, RequestError, ResponseError
from ostream.errors import USAGE
from tests.process import run
from tests.server import Answers, certificate, http_answer, resolve, server_context, tcp

DONE = b'{"message":{"role":"assistant","content":"hi"},"done":true}\n'


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLLAMA_API_KEY", " secret\n")
    resolve(monkeypatch, ollama_test="127.0.0.1", box_localhost="127.0.0.1", **{"::1": "127.0.0.1"})


# where the server is, whether a key may go there
HOSTS = [
    ("http://127.0.0.1", True),
    ("http://localhost", True),
    ("http://box.localhost", True),
    ("http://[::1]", True),
    ("http://0.0.0.0", True),
    ("https://ollama.test", True),
    ("https://127.0.0.1", True),
    ("http://ollama.test", False),
    ("ollama.test", False),
    ("HTTP://ollama.test", False),
]


@pytest.fixture(name="pem", scope="module")
def _pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("certificates"), "ollama", "DNS:ollama.test, IP:127.0.0.1")


def server_for(host: str, request: pytest.FixtureRequest) -> Answers:
    tls = server_context(request.getfixturevalue("pem")) if host.startswith("https") else None
    return Answers(http_answer(200, DONE), tls=tls)


@pytest.mark.parametrize(("host", "allowed"), HOSTS)
def test_the_key_goes_over_tls_or_to_this_machine(host: str, allowed: bool, request: pytest.FixtureRequest) -> None:
    server = server_for(host, request)
    with tcp(server) as port:
        client = Client(f"{host}:{port}", insecure=True)
        assert client.chat("m").done
    assert server.requests[0][1].get("authorization") == ("Bearer secret" if allowed else None)
    assert client.key_withheld is not allowed
    assert b"secret" not in server.requests[0][2]


@pytest.mark.parametrize(("host", "allowed"), HOSTS)
@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_an_authorization_of_the_user_goes_where_the_key_may_go(
    host: str, allowed: bool, name: str, request: pytest.FixtureRequest
) -> None:
    server = server_for(host, request)
    with tcp(server) as port:
        if allowed:
            client = Client(f"{host}:{port}", insecure=True, headers={name: "Basic mine"})
            assert client.chat("m").done
            assert not client.key_withheld
            assert server.requests[0][1]["authorization"] == "Basic mine"
        else:
            with pytest.raises(RequestError, match="Authorization is not sent over plain http") as caught:
                Client(f"{host}:{port}", headers={name: "Basic mine"})
            assert caught.value.exit_status == USAGE
            assert server.requests == []


def test_without_a_key_nothing_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "  "):
        monkeypatch.setenv("OLLAMA_API_KEY", value)
        client = Client("http://ollama.test")
        assert not client.key_withheld
        assert client.headers == {}


def test_the_key_does_not_go_where_a_redirect_points() -> None:
    elsewhere = Answers(http_answer(200, DONE))
    with tcp(elsewhere) as port:
        server = Answers(http_answer(307, b"", f"Location: http://ollama.test:{port}/api/chat"))
        with tcp(server) as port, pytest.raises(ResponseError, match="not followed"):
            Client(f"http://127.0.0.1:{port}").chat("m")
    assert server.requests[0][1]["authorization"] == "Bearer secret"
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"X-Mine": "a\r\nX-Forged: b"}, ""),
        ({"X-Mine": "a\nb"}, ""),
        ({"X-Mine": "a\0b"}, ""),
        ({"X-Mine": "a\x7f"}, ""),
        ({"X-Mine": "é"}, ""),
        ({"X Mine": "a"}, ""),
        ({"X-Mine:": "a"}, ""),
        ({"X-Mine\r\nX-Forged": "a"}, ""),
        ({"": "a"}, ""),
        ({}, "a\r\nX-Forged: b"),
        ({}, "a\x1b[2J"),
        ({}, "clé"),
    ],
)
def test_no_header_can_forge_another(headers: dict[str, str], key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if key:
        monkeypatch.setenv("OLLAMA_API_KEY", key)
    with pytest.raises(RequestError, match=r"^(header .*|OLLAMA_API_KEY): ") as caught:
        Client("http://127.0.0.1:1", headers=headers)
    assert key not in str(caught.value) or not key
    assert caught.value.exit_status == USAGE


def test_headers_of_the_user_go_along() -> None:
    server = Answers(http_answer(200, DONE))
    with tcp(server) as port:
        Client(f"127.0.0.1:{port}", headers={"X-Mine": "a\tb", "user-agent": "me"}).chat("m")
    assert server.requests[0][1]["x-mine"] == "a\tb"
    assert server.requests[0][1]["user-agent"] == "me"


def test_the_command_says_that_the_key_was_withheld() -> None:
    proxy = Answers(http_answer(200, DONE))
    with tcp(proxy) as port:
        environment = {"OLLAMA_API_KEY": "secret", "http_proxy": f"127.0.0.1:{port}"}
        sent = run("send", "-m", "m", "--host", "http://ollama.test", "hello", env=environment)
    assert (sent.returncode, sent.stdout) == (0, DONE)
    assert b"OLLAMA_API_KEY is not sent over plain http to http://ollama.test:80; use https" in sent.stderr
    assert b"secret" not in sent.stderr
    assert "authorization" not in proxy.requests[0][1]
