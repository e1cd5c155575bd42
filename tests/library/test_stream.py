"""A stream that another thread closes: it ends at once, cleanly, wherever it waits, and the server sees it."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import socket
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from ostream import Client, ConnectError
from ostream.stream import Stream
from tests.server import Answers, certificate, http_answer, read_request, send_lines, serve, server_context, tcp

HI = b'{"model":"m","message":{"role":"assistant","content":"hi"},"done":false}\n'
DONE = b'{"model":"m","message":{"role":"assistant","content":""},"done":true}\n'
PATIENCE_S = 20


class Reader(threading.Thread):
    """Reads a stream to its end; `chunks` and `error` are what came."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(daemon=True)
        self.chunks: list[Any] = []
        self.error: BaseException | None = None
        self._stream = stream

    def run(self) -> None:
        try:
            for chunk in self._stream:
                self.chunks.append(chunk)
        except BaseException as error:
            self.error = error


def is_waiting(thread: threading.Thread) -> None:
    """Return when a thread sleeps in the kernel, as `/proc` tells."""
    state = Path(f"/proc/self/task/{thread.native_id}/stat")
    while state.read_text().rpartition(")")[2].split()[0] != "S":
        time.sleep(0.01)


def silent_after(*data: bytes) -> tuple[Callable[[socket.socket], None], threading.Event, threading.Event]:
    """Send this, then nothing; `said` is set then, and `left` when the client has hung up."""
    said, left = threading.Event(), threading.Event()

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        for piece in data:
            connection.sendall(piece)
        said.set()
        with contextlib.suppress(ConnectionError):  # who leaves with something unread resets the connection
            while connection.recv(65536):
                pass
        left.set()

    return handle, said, left


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
SILENCES = {
    # what the server sends before it falls silent, how many chunks that is
    "no answer": ((), 0),
    "headers cut": ((HEAD[:30],), 0),
    "headers": ((HEAD,), 0),
    "a chunk": ((HEAD, b"%x\r\n%s\r\n" % (len(HI), HI)), 1),
    "half a line": ((HEAD, b"%x\r\n%s\r\n" % (len(HI), HI), b"5\r\n" + HI[:5]), 1),
}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only /proc tells whether a thread waits")
@pytest.mark.parametrize(("data", "count"), SILENCES.values(), ids=SILENCES)
def test_closing_wakes_the_thread_that_waits(data: tuple[bytes, ...], count: int) -> None:
    handle, said, left = silent_after(*data)
    with tcp(handle) as port:
        stream = Client(f"127.0.0.1:{port}").chat("m", stream=True)
        reader = Reader(stream)
        reader.start()
        assert said.wait(PATIENCE_S)
        is_waiting(reader)
        stream.close()
        assert left.wait(PATIENCE_S)
        reader.join(PATIENCE_S)
    assert not reader.is_alive()
    assert reader.error is None
    assert len(reader.chunks) == count
    assert list(stream) == []
    assert (stream.message.content or "") == "hi" * count


def test_closing_wakes_the_thread_that_waits_for_a_connection_or_for_another_try() -> None:
    silent = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:  # with these the queue is full, and who connects gets no answer
        filler.setblocking(False)
        filler.connect_ex(silent.getsockname())
    with serve(lambda exchange: exchange.send_body(503, "text/plain", b"busy")) as busy:
        streams = [
            Client(f"127.0.0.1:{silent.getsockname()[1]}", connect_timeout=600).chat("m", stream=True),
            Client(busy.url, retry=1000, max_time=600).chat("m", stream=True),
        ]
        readers = [Reader(stream) for stream in streams]
        for reader, stream in zip(readers, streams):
            reader.start()
            is_waiting(reader)
            stream.close()
            reader.join(PATIENCE_S)
            assert not reader.is_alive()
            assert (reader.error, reader.chunks) == (None, [])
    for sock in (silent, *fillers):
        sock.close()


def test_closing_wakes_the_thread_that_sends() -> None:
    done = threading.Event()
    with tcp(lambda connection: bool(connection.recv(1)) and done.wait(PATIENCE_S)) as port:
        stream = Client(f"127.0.0.1:{port}").generate("m", "x" * (64 << 20), stream=True)
        reader = Reader(stream)
        reader.start()
        is_waiting(reader)
        stream.close()
        reader.join(PATIENCE_S)
        done.set()
    assert not reader.is_alive()
    assert (reader.error, reader.chunks) == (None, [])


def test_closing_wakes_a_thread_under_tls(tmp_path: Path) -> None:
    pem = certificate(tmp_path, "server", "DNS:localhost,IP:127.0.0.1")
    said = threading.Event()

    def handle(connection: socket.socket) -> None:
        with server_context(pem).wrap_socket(connection, server_side=True) as secure:
            read_request(secure)  # whole: its body may come behind its headers, and would pass for a goodbye
            secure.sendall(HEAD + b"%x\r\n%s\r\n" % (len(HI), HI))
            said.set()
            secure.recv(65536)

    with tcp(handle) as port:
        stream = Client(f"https://127.0.0.1:{port}", cacert=str(pem)).chat("m", stream=True)
        reader = Reader(stream)
        reader.start()
        assert said.wait(PATIENCE_S)
        stream.close()
        reader.join(PATIENCE_S)
    assert not reader.is_alive()
    assert reader.error is None


def test_many_threads_may_close_at_once() -> None:
    handle, said, left = silent_after(HEAD)
    with tcp(handle) as port:
        stream = Client(f"127.0.0.1:{port}").chat("m", stream=True)
        reader = Reader(stream)
        reader.start()
        assert said.wait(PATIENCE_S)
        closers = [threading.Thread(target=stream.close) for _ in range(8)]
        for closer in closers:
            closer.start()
        for thread in (*closers, reader):
            thread.join(PATIENCE_S)
        assert left.wait(PATIENCE_S)
    assert reader.error is None


def test_closed_while_the_request_is_prepared_it_is_not_sent() -> None:
    def post(reader: object) -> Any:
        raise AssertionError("sent all the same")

    stream = Stream(post)
    socketpair = socket.socketpair

    def close_meanwhile() -> tuple[socket.socket, socket.socket]:
        threading.Thread(target=stream.close).start()
        while not stream._reading.closed:
            time.sleep(0.001)
        return socketpair()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socketpair", close_meanwhile)
        assert list(stream) == []


def test_closed_between_two_lines_of_one_block_it_gives_no_more() -> None:
    with serve(send_lines(HI + HI + DONE)) as server:
        stream = Client(server.url).chat("m", stream=True)
        next(stream)
        stream._reading.closed = True  # as by a close that finds another thread in next()
        assert list(stream) == []


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.fixture
def no_collector() -> Iterator[None]:
    """A stream that is let go must not wait for the garbage collector: the server would go on all the while."""
    gc.disable()
    yield
    gc.enable()


def leave_it(stream: Stream) -> None:
    next(stream)


def close_it(stream: Stream) -> None:
    next(stream)
    stream.close()


def read_it(stream: Stream) -> None:
    assert len(list(stream)) == 2


@pytest.mark.parametrize("use", [leave_it, close_it, read_it])
@pytest.mark.usefixtures("no_collector")
def test_no_descriptor_stays_open(use: Callable[[Stream], None]) -> None:
    answer = http_answer(200, HI + DONE, content_type="application/x-ndjson")
    answers = Answers(answer)
    with tcp(answers) as port:
        client = Client(f"127.0.0.1:{port}")
        before = open_descriptors()
        for _ in range(20):
            use(client.chat("m", stream=True))
        end = time.monotonic() + PATIENCE_S
        while open_descriptors() > before:  # the server's own are closed by threads of its
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.close(taken[0])


def test_no_descriptors_left_is_an_error_of_ours(few_descriptors: None) -> None:
    with pytest.raises(ConnectError, match="no descriptors left: Too many open files"):
        next(Client("127.0.0.1:1").chat("m", stream=True))


def test_the_metrics_are_those_of_the_whole_response() -> None:
    last = DONE[:-2] + b',"eval_count":2,"eval_duration":1000000000,"total_duration":2000000000}\n'
    with serve(send_lines(HI, last)) as server:
        stream = Client(server.url).chat("m", stream=True)
        assert stream.metrics.eval_rate is None
        list(stream)
    assert stream.metrics.eval_rate == stream.metrics["eval_rate"] == 2.0
    assert stream.metrics.time_to_first_token_from == "client clock"
    assert stream.metrics.time_to_first_token > 0
