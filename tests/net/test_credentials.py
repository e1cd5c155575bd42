"""Credentials go to the configured host, over TLS or inside this machine; repeated by a server they are masked."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ostream import Client, ConnectError, OstreamError, RequestError, ResponseError
from ostream.errors import USAGE
from ostream.net.credentials import Credentials
from ostream.net.exchange import Connection
from ostream.net.socket import WatchedSocket
from ostream.net.timeouts import Timeouts
from tests.process import run, sh
from tests.server import Answers, certificate, http_answer, resolve, server_context, tcp

DONE = b'{"message":{"role":"assistant","content":"hi"},"done":true}\n'


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLLAMA_API_KEY", " secret\n")
    resolve(monkeypatch, ollama_test="127.0.0.1", box_localhost="127.0.0.1", **{"::1": "127.0.0.1"})


# the server, whether a key may be sent to it
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
def test_the_key_is_sent_over_tls_or_to_this_machine(host: str, allowed: bool, request: pytest.FixtureRequest) -> None:
    server = server_for(host, request)
    with tcp(server) as port:
        client = Client(f"{host}:{port}", insecure=True)
        assert client.chat("m").done
    assert server.requests[0][1].get("authorization") == ("Bearer secret" if allowed else None)
    assert client._session.key_withheld is not allowed
    assert b"secret" not in server.requests[0][2]


@pytest.mark.parametrize(("host", "allowed"), HOSTS)
@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_an_authorization_header_is_sent_where_the_key_is(
    host: str, allowed: bool, name: str, request: pytest.FixtureRequest
) -> None:
    server = server_for(host, request)
    with tcp(server) as port:
        if allowed:
            client = Client(f"{host}:{port}", insecure=True, headers={name: "Basic mine"})
            assert client.chat("m").done
            assert not client._session.key_withheld
            assert server.requests[0][1]["authorization"] == "Basic mine"
        else:
            with pytest.raises(RequestError, match="Authorization is not sent over plain http") as caught:
                Client(f"{host}:{port}", headers={name: "Basic mine"})
            assert caught.value.exit_status == USAGE
            assert server.requests == []


@pytest.mark.parametrize(("address", "sent"), [("192.0.2.2", False), ("127.0.0.9", True), ("::ffff:127.0.0.1", True)])
def test_a_key_is_not_sent_to_another_machine_that_claims_a_local_name(address: str, sent: bool) -> None:
    # The peer is not a real socket, because that would need another machine.
    peer: Any = SimpleNamespace(getpeername=lambda: (address, 1), setblocking=lambda _: None, fileno=lambda: 0)
    exchange: Any = None
    connection = Connection("evil.localhost:1", exchange)
    refused = pytest.raises(ConnectError, match=r"is 192\.0\.2\.2, and Authorization is not sent")
    with contextlib.nullcontext() if sent else refused:
        connection._check_peer(WatchedSocket(peer, Timeouts(), None))


def test_without_a_key_nothing_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "  "):
        monkeypatch.setenv("OLLAMA_API_KEY", value)
        session = Client("http://ollama.test")._session
        assert not session.key_withheld
        assert session.headers == {}


@pytest.mark.parametrize(("headers", "key"), [({}, "secret"), ({"Authorization": "Basic c2VjcmV0"}, "")])
def test_plain_http_to_another_machine_can_be_allowed(
    headers: dict[str, str], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", key)
    server = Answers(http_answer(200, DONE))
    with tcp(server) as port:
        client = Client(f"http://ollama.test:{port}", headers=headers, allow_plain_http=True)
        assert client.chat("m").done
    assert server.requests[0][1]["authorization"] == headers.get("Authorization", "Bearer secret")
    assert not client._session.key_withheld


LONG = "sk-1234567890"
MASKED = [
    # credentials, what a server sends, what is shown
    ({"Authorization": f"Bearer {LONG}"}, f"bad key: Bearer {LONG}", "bad key: Bearer ***"),
    ({"Authorization": f"Bearer {LONG}"}, f"bad key {LONG}, {LONG}!", "bad key ***, ***!"),
    ({"Authorization": "Bearer ollama"}, "ollama: bad key: bearer  ollama.", "ollama: bad key: bearer  ***."),
    ({"Authorization": "Bearer ollama"}, "Bearer ollamas", "Bearer ollamas"),
    ({"Authorization": "Basic bWU6cA=="}, "Basic bWU6cA== is wrong", "Basic *** is wrong"),
    ({"X-Api-Key": LONG, "X-Token": LONG + "9"}, f"{LONG}9 {LONG}", "*** ***"),
    ({"X-Model": LONG, "Authorization": " "}, LONG, LONG),
    ({"X-Key": 'sk-"1\\2/34567'}, r'sk-"1\2/34567 sk-\"1\\2/34567 sk-\"1\\2\/34567', "*** *** ***"),
    ({"Authorization": "Basic a+b/cdefghi="}, r"a\u002Bb\/cdefghi\u003d \u0061+b/cdefghi=", "*** ***"),
    ({"Authorization": "Bearer o+o"}, r"o+o: bad key: Bearer o\u002bo.", "o+o: bad key: Bearer ***."),
]


@pytest.mark.parametrize(("headers", "text", "shown"), MASKED)
def test_credentials_are_masked(headers: dict[str, str], text: str, shown: str) -> None:
    credentials = Credentials(headers)
    assert credentials.mask(text) == shown
    assert credentials.mask_bytes(text.encode() + b"\xff") == shown.encode() + b"\xff"
    error = ResponseError(text, 401, signin_url=text, advice=text)
    assert credentials.mask_error(error) is error
    assert (str(error), error.advice, error.signin_url) == (f"{shown} (status code: 401)", shown, shown)
    assert error.error_line()["error"] == shown


KEY = LONG.encode()
PREFIX = b"x" * 188  # a message of 200 characters ends inside a key that follows
CHUNK = b'{"message":{"content":"a"},"done":false}\n'
ERRORS = {
    "an HTTP error": http_answer(401, b'{"error":"bad key: Bearer %b"}' % KEY),
    "a redirect": http_answer(307, b"", f"Location: http://x.test/?key={LONG}"),
    "an error line": http_answer(200, b'{"response":"%b"}\n{"error":"%b"}\n' % (KEY, KEY)),
    "a temporary error": http_answer(200, b'{"error":"timed out waiting for llama runner %b"}\n' % KEY),
    "an object before an early end": http_answer(200, CHUNK + b'{"debug":"Bearer %b"}\n' % KEY),
    "a long HTTP error": http_answer(401, PREFIX + KEY),
    "a long web page": http_answer(200, PREFIX + KEY, "Content-Type: text/html"),
    "a response that is not HTTP": b"HTTP" + PREFIX + KEY + b"\r\n\r\n",
    "a content encoding": http_answer(200, CHUNK, f"Content-Encoding: {LONG}"),
    "a line that is not JSON": http_answer(200, b"not json %b\n" % KEY),
    "a truncated line": http_answer(200, CHUNK + b'{"message":{"content":"%b' % KEY),
    "a content type": http_answer(200, b'{"error":"***"}\n', f"Content-Type: text/{LONG}"),
}


@pytest.mark.parametrize("response", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("command", ["send", "send -v --stamp", "batch", "record", "chat"])
def test_no_command_shows_its_key_in_an_error(
    command: str, response: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = LONG.upper()  # shows that no part of a message is converted to lower case
    response = response.replace(KEY, key.encode())
    monkeypatch.setenv("OLLAMA_API_KEY", key)
    with tcp(Answers(response)) as port:
        env = {"OLLAMA_API_KEY": key, "OLLAMA_HOST": f"127.0.0.1:{port}"}
        if command == "chat":
            with pytest.raises(OstreamError) as caught:
                list(Client(env["OLLAMA_HOST"]).chat("m", stream=True))
            line = getattr(caught.value, "line", "")
            output = f"{caught.value}{caught.value.advice}{caught.value.error_line()}{line}"
        elif command == "record":
            recorded = sh(f"record {tmp_path}/file -- send -m m hi", env=env)
            output = recorded.stderr.decode() + (tmp_path / "file").read_text()
        else:
            name, *options = command.split()
            words = ["-m", "m", "hi"] if name == "send" else ["-m", "m", "--lines", "--retry", "1"]
            result = run(name, *options, *words, stdin=b"hi\n", env=env)
            output = (result.stdout + result.stderr).decode()
    assert key[:8].lower() not in output.replace(f'"response":"{key}"', "").lower()


# status, body, host, whether a key is sent or withheld, part of the advice
ADVICE = [
    (401, b'{"error":"unauthorized"}', "127.0.0.1", "", "run 'ollama signin'"),
    (401, b'{"error":"unauthorized","signin_url":"https://x/y"}', "127.0.0.1", "", "or open https://x/y"),
    (401, b'{"detail":"Not authenticated"}', "127.0.0.1", "", "set OLLAMA_API_KEY"),
    (401, b'{"detail":"Not authenticated"}', "127.0.0.1", "key", "the server rejected the key that was sent"),
    (401, b'{"detail":"Not authenticated"}', "ollama.test", "key", "OLLAMA_API_KEY was not sent over plain http"),
    (403, b'{"detail":"Not authenticated"}', "127.0.0.1", "", "set OLLAMA_API_KEY"),
    (403, b"", "127.0.0.1", "key", "set the Host header to localhost"),
    (403, b'{"error":"ollama cloud is disabled: x"}', "127.0.0.1", "", None),
    (404, b'{"error":"model \'x\' not found"}', "127.0.0.1", "key", "'ollama pull x'"),
]


@pytest.mark.parametrize(("status", "body", "host", "key", "advice"), ADVICE)
def test_advice_on_a_rejection_contradicts_nothing_known(
    status: int, body: bytes, host: str, key: str, advice: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", key)
    with tcp(Answers(http_answer(status, body))) as port, pytest.raises(ResponseError) as caught:
        Client(f"http://{host}:{port}").chat("m")
    assert (advice in caught.value.advice) if advice else not caught.value.advice
