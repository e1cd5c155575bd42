"""What somebody found who tried to make it lie, hang, leak or lose data, and that no other table has."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ostream import Client, ConnectError, ResponseError
from ostream.net.host import Host, is_loopback
from ostream.net.socket import WatchedSocket
from ostream.net.timeouts import Timeouts
from ostream.net.tls import TLSConfig
from ostream.net.transport import _Connection, _Request, post
from ostream.protocol.error_lines import error_text
from ostream.system.diagnostics import Diagnostics
from ostream.system.process import run_process
from tests.process import call, run, start
from tests.server import http_answer, read_request, send_raw, serve, tcp

DONE = b'{"message":{"content":"a"},"done":true}\n'
LINE = b'{"message":{"content":"a"},"done":false}\n'


@contextlib.contextmanager
def silent_after(answer: bytes, read: bool) -> Any:
    """A server that answers, before or after it has read the request, and then does nothing for ever."""
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


def test_an_answer_that_comes_while_the_request_is_still_being_sent_is_heard() -> None:
    answer = http_answer(413, b'{"error":"too big"}')
    with silent_after(answer, read=False) as url, pytest.raises(ResponseError, match="too big") as caught:
        Client(url).generate("m", "x" * 50_000_000)
    assert caught.value.status_code == 413


def test_the_status_of_a_refusal_is_enough_when_its_text_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostream.net.timeouts.REFUSAL_S", 0.2)
    answer = b"HTTP/1.1 503 Busy\r\n\r\nbusy\n"
    with silent_after(answer, read=True) as url, pytest.raises(ResponseError, match="busy") as caught:
        Client(url).chat("m")
    assert caught.value.status_code == 503


def test_the_answer_behind_early_hints_is_the_answer() -> None:
    hints = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    with serve(send_raw(hints + http_answer(200, DONE))) as server:
        assert Client(server.url).chat("m").message.content == "a"


@pytest.mark.parametrize("name", ["127.300.1.1", "127.0.0.1.test", "1270.0.0.1", "localhost.test", "notlocalhost"])
def test_a_name_that_only_begins_like_this_machine_is_another(name: str) -> None:
    assert not is_loopback(name)


@pytest.mark.parametrize(("address", "sent"), [("192.0.2.2", False), ("127.0.0.9", True), ("::ffff:127.0.0.1", True)])
def test_a_key_goes_to_no_other_machine_whatever_the_name_server_says(address: str, sent: bool) -> None:
    # There is no other machine here: a peer that says where it is stands for one.
    peer: Any = SimpleNamespace(getpeername=lambda: (address, 1), setblocking=lambda _: None)
    connection = _Connection("evil.localhost:1", _Request("http://evil.localhost:1/"))
    refused = pytest.raises(ConnectError, match=r"is 192\.0\.2\.2, and Authorization is not sent")
    with contextlib.nullcontext() if sent else refused:
        connection._check_peer(WatchedSocket(peer, Timeouts(), None))


def test_a_key_to_this_machine_is_sent() -> None:
    with serve(send_raw(http_answer(200, DONE))) as server:
        port = int(server.url.rpartition(":")[2])
        response = post(
            Host("http", "localhost", port, ""), "/", b"{}", {"Authorization": "x"}, Timeouts(), TLSConfig()
        )
        response.close()
        assert server.requests[0].headers["Authorization"] == "x"  # type: ignore[attr-defined]


def test_who_is_asked_to_come_back_next_year_is_told_so() -> None:
    with serve(send_raw(http_answer(503, b"", "Retry-After: " + "9" * 400))) as server:
        with pytest.raises(ResponseError):
            Client(server.url, retry=3).chat("m")
        assert len(server.requests) == 1  # type: ignore[attr-defined]


def test_an_error_nested_without_end_is_an_error() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    assert error_text(nested) == "an error nested too deeply"


def test_no_memory_is_not_a_bug(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_process(Diagnostics("send"), lambda: len(bytes(1 << 62))) == 1
    assert capfd.readouterr().err == "send: out of memory\n"


def test_a_message_line_from_a_server_completes_nothing() -> None:
    with serve(send_raw(http_answer(200, b'{"role":"assistant","content":"x","done":true}\n'))) as server:
        sent = run("send", "-m", "m", "--host", server.url, "hi")
    assert (sent.returncode, call("extract-content", stdin=sent.stdout).returncode) == (3, 3)


def test_a_server_that_goes_on_after_done_is_cut_off_and_that_is_said() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    with silent_after(head + DONE + LINE, read=True) as url:
        sent = run("send", "-m", "m", "--host", url, "hi")
    assert sent.returncode == 3
    assert sent.stderr == b"send: what came after done: true was cut off; the answer before it is whole\n"


def test_the_file_of_w_is_not_that_of_standard_output(tmp_path: Path) -> None:
    (tmp_path / "stream").write_bytes(DONE)
    with (tmp_path / "out").open("wb") as out:
        process = start("stats", "-w", "out", "stream", cwd=tmp_path, stdout=out)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"out: is also standard output" in stderr


@pytest.mark.parametrize(
    ("header", "status"), [("Transfer-Encoding: chunked", 411), ("Content-Length: 1073741825", 413)]
)
def test_a_request_that_is_not_read_is_refused(header: str, status: int) -> None:
    with serve(send_raw(b"")) as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(f"POST /api/chat HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n".encode())
            assert connection.recv(100).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_word_that_looks_like_an_option_is_told_where_to_go() -> None:
    sent = run("send", "-m", "m", "- one item", env={"OLLAMA_HOST": "127.0.0.1:1"})
    assert sent.returncode == 2
    assert b"a word that begins with - goes behind --" in sent.stderr
