"""Input that tries to make a command hang, leak a key, lose data or report success wrongly."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from ostream import Client, ConnectError, ResponseError
from ostream.net.exchange import Connection
from ostream.net.socket import WatchedSocket
from ostream.net.timeouts import Timeouts
from ostream.protocol.error_lines import error_text
from ostream.system.diagnostics import Diagnostics
from ostream.system.process import run_process
from tests.process import run
from tests.server import http_answer, read_request, tcp

DONE = b'{"message":{"content":"a"},"done":true}\n'
LINE = b'{"message":{"content":"a"},"done":false}\n'


@contextlib.contextmanager
def silent_after(answer: bytes, read: bool) -> Any:
    """A server that answers, after reading the request if `read`, and then sends nothing more."""
    over = threading.Event()

    def handle(connection: socket.socket) -> None:
        if read:
            read_request(connection)
        connection.sendall(answer)
        over.wait(60)

    with tcp(handle) as port:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            over.set()


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_an_interim_response_during_the_request_body_does_not_end_it(status: str) -> None:
    def handle(connection: socket.socket) -> None:
        connection.recv(1, socket.MSG_PEEK)
        connection.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())
        read_request(connection)
        connection.sendall(http_answer(200, DONE))

    with tcp(handle) as port:
        assert Client(f"127.0.0.1:{port}", max_time=30).generate("m", "x" * 6_000_000).done


def test_an_error_status_is_reported_when_its_body_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostream.net.timeouts.ERROR_BODY_S", 0.2)
    answer = b"HTTP/1.1 503 Busy\r\n\r\nbusy\n"
    with silent_after(answer, read=True) as url, pytest.raises(ResponseError, match="busy") as caught:
        Client(url).chat("m")
    assert caught.value.status_code == 503


@pytest.mark.parametrize(("address", "sent"), [("192.0.2.2", False), ("127.0.0.9", True), ("::ffff:127.0.0.1", True)])
def test_a_key_is_not_sent_to_another_machine_that_claims_a_local_name(address: str, sent: bool) -> None:
    # A fake peer stands in for another machine.
    peer: Any = SimpleNamespace(getpeername=lambda: (address, 1), setblocking=lambda _: None)
    exchange: Any = None
    connection = Connection("evil.localhost:1", exchange)
    refused = pytest.raises(ConnectError, match=r"is 192\.0\.2\.2, and Authorization is not sent")
    with contextlib.nullcontext() if sent else refused:
        connection._check_peer(WatchedSocket(peer, Timeouts(), None))


def test_a_deeply_nested_error_is_an_error() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    assert error_text(nested) == "error nested too deeply"


def test_running_out_of_memory_is_not_reported_as_a_bug(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_process(Diagnostics("send"), lambda: len(bytes(1 << 62))) == 1
    assert capfd.readouterr().err == "send: out of memory\n"


def test_data_after_done_is_dropped_with_a_message() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    with silent_after(head + DONE + LINE, read=True) as url:
        sent = run("send", "-m", "m", "--host", url, "hi")
    assert sent.returncode == 3
    assert (
        sent.stderr == b'send: the server sent more data after "done": true and did not end the response; '
        b"the answer before that data is complete\n"
    )
