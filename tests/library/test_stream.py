"""The owner of a stream: closing it from threads, signal handlers and at exit, wherever the reader waits."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest

import ostream.stream
from ostream import ChatResponse, Client, ConnectError, IncompleteStream, StreamTimeout
from ostream.stream import Stream
from ostream.system.wakeup import Wakeup
from tests.process import ROOT
from tests.server import Answers, certificate, http_answer, read_request, send_lines, serve, server_context, tcp

HI = b'{"model":"m","message":{"role":"assistant","content":"hi"},"done":false}\n'
DONE = b'{"model":"m","message":{"role":"assistant","content":""},"done":true}\n'
PATIENCE_S = 60


class Reader(threading.Thread):
    """Starts to read a stream to its end."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(daemon=True)
        self.stream = stream
        self.outcome: Any = []
        self.start()

    def run(self) -> None:
        try:
            for chunk in self.stream:
                self.outcome.append(chunk)
        except BaseException as error:
            self.outcome = error

    def chunks(self) -> Any:
        """Return what the stream contained, or its error."""
        self.join(PATIENCE_S)
        assert not self.is_alive()
        return self.outcome

    def wait_until_asleep(self, count: int = 0) -> None:
        """Return when the thread has read `count` chunks and sleeps, according to /proc, or soon, without /proc."""
        end = time.monotonic() + PATIENCE_S
        while len(self.outcome) < count:
            assert time.monotonic() < end
            time.sleep(0.001)
        wait_until_asleep(self.native_id)


def wait_until_asleep(thread: int | None) -> None:
    """Return when a thread of this process sleeps, according to /proc, or soon, without /proc."""
    state = Path(f"/proc/self/task/{thread}/stat")
    if not state.exists():
        time.sleep(0.2)
        return
    while state.read_text().rpartition(")")[2].split()[0] != "S":
        time.sleep(0.01)


def kill_while_reading(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process a signal when it waits for the next block of a stream.

    A signal between Python's last check for signals and poll() would not end the wait.
    """
    read_block = Stream._read_block
    reading = threading.Event()

    def kill() -> None:
        assert reading.wait(PATIENCE_S)
        wait_until_asleep(threading.main_thread().native_id)
        os.kill(os.getpid(), number)

    def read(stream: Stream) -> Any:
        reading.set()
        return read_block(stream)

    monkeypatch.setattr(Stream, "_read_block", read)
    threading.Thread(target=kill, daemon=True).start()


def silent_after(*data: bytes) -> tuple[Callable[[socket.socket], None], threading.Event, threading.Event]:
    """Send `data`, then nothing; `sent` is set then, and `left` when the client has closed the connection."""
    sent, left = threading.Event(), threading.Event()

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        for piece in data:
            connection.sendall(piece)
        sent.set()
        with contextlib.suppress(ConnectionError):  # closing with unread input resets the connection
            while connection.recv(65536):
                pass
        left.set()

    return handle, sent, left


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
SILENCES = {
    # what the server sends before it is silent, and the number of chunks in it
    "nothing": ((), 0),
    "headers cut": ((HEAD[:30],), 0),
    "headers": ((HEAD,), 0),
    "a chunk": ((HEAD, b"%x\r\n%s\r\n" % (len(HI), HI)), 1),
    "half a line": ((HEAD, b"%x\r\n%s\r\n" % (len(HI), HI), b"5\r\n" + HI[:5]), 1),
}


@pytest.mark.parametrize(("data", "count"), SILENCES.values(), ids=SILENCES)
def test_closing_wakes_a_thread_that_reads(data: tuple[bytes, ...], count: int) -> None:
    handle, sent, left = silent_after(*data)
    with tcp(handle) as port:
        stream = Client(f"127.0.0.1:{port}").chat("m", stream=True)
        reader = Reader(stream)
        assert sent.wait(PATIENCE_S)
        reader.wait_until_asleep(count)
        stream.close()
        assert left.wait(PATIENCE_S)
        assert len(reader.chunks()) == count
    assert list(stream) == []
    assert (stream.message.content or "") == "hi" * count


def test_closing_wakes_a_thread_that_connects_sends_or_waits_for_a_retry() -> None:
    silent = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:  # these fill the queue, so a connection gets no reply
        filler.setblocking(False)
        filler.connect_ex(silent.getsockname())
    done = threading.Event()
    with tcp(lambda connection: bool(connection.recv(1)) and done.wait(PATIENCE_S)) as unread, serve(
        lambda exchange: exchange.send_body(503, "text/plain", b"busy")
    ) as busy:
        for stream in (
            Client(f"127.0.0.1:{silent.getsockname()[1]}", connect_timeout=600).chat("m", stream=True),
            Client(busy.url, retry=1000, max_time=600).chat("m", stream=True),
            Client(f"127.0.0.1:{unread}").generate("m", "x" * (64 << 20), stream=True),
        ):
            reader = Reader(stream)
            reader.wait_until_asleep()
            stream.close()
            assert reader.chunks() == []
        done.set()
    for sock in (silent, *fillers):
        sock.close()


def test_closing_wakes_a_thread_under_tls(tmp_path: Path) -> None:
    pem = certificate(tmp_path, "server", "DNS:localhost,IP:127.0.0.1")
    sent = threading.Event()

    def handle(connection: socket.socket) -> None:
        with server_context(pem).wrap_socket(connection, server_side=True) as secure:
            read_request(secure)  # all of it: an unread body would be taken for the end
            secure.sendall(HEAD + b"%x\r\n%s\r\n" % (len(HI), HI))
            sent.set()
            secure.recv(65536)

    with tcp(handle) as port:
        stream = Client(f"https://127.0.0.1:{port}", cacert=str(pem)).chat("m", stream=True)
        reader = Reader(stream)
        assert sent.wait(PATIENCE_S)
        stream.close()
        assert len(reader.chunks()) < 2


def test_many_threads_can_close_at_once() -> None:
    handle, sent, left = silent_after(HEAD)
    with tcp(handle) as port:
        stream = Client(f"127.0.0.1:{port}").chat("m", stream=True)
        reader = Reader(stream)
        assert sent.wait(PATIENCE_S)
        with ThreadPoolExecutor(8) as pool:
            for _ in range(8):
                pool.submit(stream.close)
        assert left.wait(PATIENCE_S)
        assert reader.chunks() == []


def test_closing_while_the_request_is_prepared_prevents_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def post(reader: Any) -> Any:
        raise AssertionError("sent all the same")

    stream = Stream(post, ChatResponse)

    class ClosingWakeup(Wakeup):
        def __init__(self) -> None:
            super().__init__()
            stream.close()

    monkeypatch.setattr(ostream.stream, "Wakeup", ClosingWakeup)
    assert list(stream) == []
    assert stream._wakeup is None


def test_closing_while_the_request_is_sent_leaves_the_response_unread() -> None:
    def post(wakeup: Wakeup) -> Any:
        stream.close()
        return SimpleNamespace(blocks=lambda: iter([HI]), close=lambda: closed.append(True))

    closed: list[bool] = []
    stream: Stream[Any] = Stream(post, ChatResponse)
    assert (list(stream), closed) == ([], [True])


def test_no_chunk_is_returned_after_closing() -> None:
    with serve(send_lines(HI + HI + DONE)) as server:
        stream = Client(server.url).chat("m", stream=True)
        next(stream)
        stream.close()
        assert list(stream) == []
        with pytest.raises(IncompleteStream, match="closed before its end") as caught:
            stream.final()
    assert caught.value.partial.message.content == stream.message.content == "hi"


def test_closing_hundreds_of_streams_while_they_are_read() -> None:
    with serve(send_lines(*[HI] * 20, DONE)) as server:
        client = Client(server.url)
        for _ in range(300):  # a generator closed by another thread crashed Python 3.11 within 100
            reader = Reader(client.chat("m", stream=True))
            reader.stream.close()
            assert isinstance(reader.chunks(), list)


def test_a_second_thread_in_next_gets_an_error() -> None:
    handle, sent, _ = silent_after(HEAD)
    with tcp(handle) as port:
        reader = Reader(Client(f"127.0.0.1:{port}").chat("m", stream=True))
        assert sent.wait(PATIENCE_S)
        with pytest.raises(RuntimeError, match="another thread is reading this stream"):
            next(reader.stream)
        assert reader.stream.message == {"role": "assistant", "content": ""}
        reader.stream.close()
        assert reader.chunks() == []


def test_a_signal_handler_can_close_a_stream_and_read_what_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    handle, _sent, left = silent_after(HEAD, b"%x\r\n%s\r\n" % (len(HI), HI))
    texts = []

    def handler(*_: Any) -> None:
        stream.close()
        texts.append(stream.message.content)

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        with tcp(handle) as port:
            stream = Client(f"127.0.0.1:{port}").chat("m", stream=True)
            next(stream)
            kill_while_reading(signal.SIGUSR1, monkeypatch)
            assert list(stream) == []
            assert left.wait(PATIENCE_S)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert texts == ["hi"]


def test_an_exception_of_a_signal_handler_closes_the_connection_and_the_rest_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handle, _sent, left = silent_after(HEAD, b"%x\r\n%s\r\n" % (len(HI), HI))
    with tcp(handle) as port:
        stream = Client(f"127.0.0.1:{port}").chat("m", stream=True)
        next(stream)
        kill_while_reading(signal.SIGINT, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            list(stream)
        assert left.wait(PATIENCE_S)
        with pytest.raises(IncompleteStream, match="interrupted"):
            next(stream)
    assert list(stream) == []
    assert repr(stream).endswith(": failed>")


UNFINISHED = """
import sys, threading
from ostream import chat
stream = chat("m", [], stream=True)
next(stream)
texts = chat("m", [], stream=True).text_stream
next(texts)
threading.Thread(target=list, args=(chat("m", [], stream=True),), daemon=True).start()
print("end", flush=True)
"""


def test_an_interpreter_exits_without_noise_with_unfinished_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    handle, _sent, left = silent_after(HEAD, b"%x\r\n%s\r\n" % (len(HI), HI))
    with tcp(handle) as port:
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{port}")
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", UNFINISHED]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE_S, check=False)
        assert left.wait(PATIENCE_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"end\n", b"")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_neither_reads_nor_stops_the_stream_of_its_parent() -> None:
    with serve(send_lines(HI, HI, DONE)) as server:
        stream = Client(server.url).chat("m", stream=True)
        next(stream)
        child = os.fork()
        if not child:  # pragma: no cover - in the child
            status = 1
            try:
                with contextlib.suppress(RuntimeError):
                    list(stream)
                stream.close()
                del stream
                gc.collect()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert len(list(stream)) == 2


def test_a_stream_of_another_process_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    handle, _sent, _ = silent_after(HEAD, b"%x\r\n%s\r\n" % (len(HI), HI))
    with tcp(handle) as port, Client(f"127.0.0.1:{port}").chat("m", stream=True) as stream:
        next(stream)
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(RuntimeError, match="a forked child cannot read it"):
            next(stream)
        monkeypatch.undo()


def test_a_repr_shows_model_host_and_state() -> None:
    with serve(send_lines(HI, DONE)) as server:
        stream = Client(server.url).chat("m", stream=True)
        assert repr(stream) == f"<Stream model='m' host='{server.url}': not started>"
        next(stream)
        assert repr(stream).endswith((": open>", ": complete>"))
        stream.final()
        assert repr(stream).endswith(": complete>")
    stream = Client(server.url).chat("m", stream=True)
    stream.close()
    assert repr(stream).endswith(": closed>")


def test_advice_is_in_the_traceback_in_the_words_of_the_library() -> None:
    handle, _sent, _ = silent_after()
    with tcp(handle) as port, pytest.raises(StreamTimeout) as caught:
        Client(f"127.0.0.1:{port}", first_byte_timeout=0.05).chat("m")
    text = "".join(traceback.format_exception(None, caught.value, None))
    assert "first_byte_timeout=" in caught.value.advice
    assert caught.value.advice in text
    assert "--" not in text


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def close(stream: Stream) -> None:
    next(stream)
    stream.close()


@pytest.mark.parametrize("use", [next, close, list])
def test_no_descriptor_stays_open(use: Callable[[Stream], Any]) -> None:
    """The garbage collector is off during tests: dropping a stream must close it, or the server goes on generating."""
    with tcp(Answers(http_answer(200, HI + DONE, content_type="application/x-ndjson"))) as port:
        client = Client(f"127.0.0.1:{port}")
        before = open_descriptors()
        for _ in range(20):
            use(client.chat("m", stream=True))
        client.close()
        end = time.monotonic() + PATIENCE_S
        while open_descriptors() > before:  # the server's own are closed by its threads
            assert time.monotonic() < end
            time.sleep(0.01)


def test_no_descriptors_left_is_a_connect_error() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))  # 0 to 2 are open
    try:
        with pytest.raises(ConnectError, match="no descriptors left: Too many open files"):
            next(Client("127.0.0.1:1").chat("m", stream=True))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
