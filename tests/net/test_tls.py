"""TLS: which certificates are trusted, and how a failure is reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ostream import Client, ConnectError, RequestError
from ostream.errors import UNAVAILABLE
from tests.process import environment
from tests.server import Answers, certificate, http_answer, resolve, send_lines, serve, server_context, tcp

ssl = pytest.importorskip("ssl", reason="this python3 has no ssl module")

DONE = b'{"message":{"role":"assistant","content":"hi"},"done":true}\n'
LOCAL = "DNS:ollama.test, DNS:localhost, IP:127.0.0.1"


@pytest.fixture(name="pems", scope="module")
def _pems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("certificates")
    return {
        "good": certificate(directory, "good", LOCAL),
        "stranger": certificate(directory, "stranger", LOCAL),
        "other host": certificate(directory, "other", "DNS:other.test"),
        "expired": certificate(directory, "expired", LOCAL, end="200102000000Z"),
    }


# the server's certificate, the client's settings, part of the error or None
TRUST: list[tuple[str, dict[str, Any], str | None]] = [
    ("good", {"cacert": "good"}, None),
    ("good", {}, "self.signed certificate"),
    ("good", {"cacert": "stranger"}, "self.signed certificate|unable to get|signature"),
    ("good", {"insecure": True}, None),
    ("stranger", {"cacert": "good", "insecure": True}, None),
    ("other host", {"cacert": "other host"}, "mismatch"),
    ("other host", {"verify": False}, None),
    ("expired", {"cacert": "expired"}, "certificate has expired"),
    ("expired", {"insecure": True}, None),
    ("good", {"verify": "good"}, None),
    ("stranger", {"verify": "good"}, "self.signed certificate|unable to get|signature"),
    ("good", {"SSL_CERT_FILE": "good"}, None),
    ("stranger", {"SSL_CERT_FILE": "good"}, "self.signed certificate|unable to get|signature"),
]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "ollama.test"])
@pytest.mark.parametrize(("shown", "trust", "refusal"), TRUST)
def test_a_certificate_must_be_trusted_and_valid_for_this_host_now(
    pems: dict[str, Path],
    shown: str,
    trust: dict[str, Any],
    refusal: str | None,
    host: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve(monkeypatch, ollama_test="127.0.0.1", localhost="127.0.0.1")
    settings = {key: str(pems[value]) if isinstance(value, str) else value for key, value in trust.items()}
    if "SSL_CERT_FILE" in settings:
        monkeypatch.setenv("SSL_CERT_FILE", settings.pop("SSL_CERT_FILE"))
    answers = Answers(http_answer(200, DONE), tls=server_context(pems[shown]))
    with tcp(answers) as port:
        client = Client(f"https://{host}:{port}", retry=1, **settings)
        if refusal is None:
            assert client.chat("m").message.content == "hi"
            return
        with pytest.raises(ConnectError, match=rf"^{host}:{port}: TLS: .*({refusal})") as caught:
            client.chat("m")
    assert caught.value.exit_status == UNAVAILABLE
    assert "cacert=" in caught.value.advice
    assert not caught.value.retryable
    assert answers.requests == []


def test_trusted_certificates_are_read_once(pems: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "pem").write_bytes(pems["good"].read_bytes())
    with tcp(Answers(http_answer(200, DONE), tls=server_context(pems["good"]))) as port:
        client = Client(f"https://127.0.0.1:{port}", cacert=str(tmp_path / "pem"))
        assert client.chat("m").done
        (tmp_path / "pem").unlink()
        assert client.chat("m").done


def test_an_ssl_context_is_used_unchanged(pems: dict[str, Path]) -> None:
    context = ssl.create_default_context(cafile=pems["other host"])
    context.check_hostname = False
    with tcp(Answers(http_answer(200, DONE), tls=server_context(pems["other host"]))) as port:
        assert Client(f"https://127.0.0.1:{port}", cacert=context).chat("m").done


def test_tls_to_a_port_without_it_is_reported() -> None:
    with serve(send_lines(DONE)) as server, pytest.raises(ConnectError) as caught:
        Client(server.url.replace("http:", "https:")).chat("m")
    assert "TLS: the server does not use TLS on this port" in str(caught.value)
    assert caught.value.advice == "try http://"


def test_large_requests_and_responses_over_tls(pems: dict[str, Path]) -> None:
    text = "x" * (4 << 20)
    body = b'{"message":{"content":"%b"},"done":true}\n' % text.encode()
    answers = Answers(http_answer(200, body), tls=server_context(pems["good"]))
    with tcp(answers) as port:
        client = Client(f"https://localhost:{port}", cacert=str(pems["good"]))
        assert client.chat("m", [{"role": "user", "content": text}]).message.content == text
    assert text.encode() in answers.requests[0][2]


@pytest.mark.parametrize("cacert", ["missing", "text", ".", "nul\0nul", 5])
def test_an_invalid_cacert_is_a_usage_error(cacert: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("not a certificate")
    with tcp(lambda connection: None) as port, pytest.raises(RequestError, match=f"^{cacert}: ") as caught:
        Client(f"https://127.0.0.1:{port}", cacert=cacert).chat("m")
    assert "cacert=" in caught.value.advice


WITHOUT_SSL = """
import sys
sys.modules["ssl"] = None
from ostream import Client, ConnectError
print(Client(sys.argv[1]).chat("m").message.content)
try:
    Client("https://127.0.0.1:" + sys.argv[1].rpartition(":")[2]).chat("m")
except ConnectError as error:
    print(error.error, error.exit_status)
"""


def test_without_the_ssl_module_http_works_and_https_is_an_error() -> None:
    with serve(send_lines(DONE)) as server:
        result = subprocess.run(
            [sys.executable, "-c", WITHOUT_SSL, server.url],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["hi", "https: this python3 has no ssl module 69"]
