"""Test code that calls an Ollama server, without running one: replay recordings, or record what is missing.

    from ostream.testing import replay

    def test_summary():
        with replay("answers.ndjson", strict=True):
            assert summarize("a long text") == "The sky is blue."

The recordings are served by a thread of this process. Inside the `with` block, OLLAMA_HOST and OLLAMA_MODEL are set for
this process and the processes that it starts. If a request matches no recording, ReplayError is raised at the end of
the `with` block, even if the code under test ignored the failure. The error describes the nearest recording and the
first difference.
"""

from __future__ import annotations

import contextlib
import os
import sys

from ostream.net.host import parse_host
from ostream.net.tls import TLSConfig
from ostream.recording.faults import parse_fault
from ostream.recording.file import RecordingFile, load
from ostream.recording.format import decode_body
from ostream.recording.http_server import Server, free_port
from ostream.recording.matching import MATCHES, Recordings
from ostream.recording.recorder import Recorder
from ostream.recording.replayer import Replayer, parse_speed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Sequence, Union

    from ostream.recording.request_handler import RequestHandler

    Path = Union[str, "os.PathLike[str]"]

__all__ = ["ReplayError", "ReplayServer", "Request", "free_port", "record_once", "replay"]


class Request:
    """A request that was received.

    Attributes:
        method: the HTTP method.
        path: the path, including the query if there is one.
        body: the decoded JSON body; {} if there is no body, None if the body is not JSON.
    """

    def __init__(self, method: str, path: str, body: Any) -> None:
        self.method = method
        self.path = path
        self.body = body

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"


class ReplayError(AssertionError):
    """The code under test did not send the recorded requests. The message has one line for each problem."""


class ReplayServer:
    """The server of `replay` and `record_once`.

    Attributes:
        url: the address of the server, for clients that do not read OLLAMA_HOST.
        port: the port of the server.
        model: the model of the first recording that has one, or None.
        requests: a list of the requests received so far, in order.
    """

    def __init__(self, server: Server, model: str | None, requests: list[Request]) -> None:
        self.url = server.url
        self.port = server.server_port
        self.model = model
        self.requests = requests

    def __repr__(self) -> str:
        return f"<ReplayServer {self.url}>"


@contextlib.contextmanager
def replay(
    *files: Path,
    match: str = "request",
    repeat: bool = False,
    strict: bool = False,
    faults: Sequence[str] = (),
    speed: float = 0,
    port: int = 0,
) -> Iterator[ReplayServer]:
    """Serve recordings inside the `with` block.

    Arguments:
        files: recordings written by `send`, `send --stamp` or `record`.
        match: how a recording is selected. "request" (default): by method, path and body; each recording is used once.
            "model": if none matches, the next recording with the same path and model. "path": if none matches, the next
            recording with the same path.
        repeat: True to use the last matching recording again when all matching recordings have been used.
        strict: True to also raise ReplayError if a recording was not used.
        faults: failures to inject, KIND[:K][@N] as for `replay --fault`: "status:503@1", "eof:3", "reset", "stall:2".
        speed: multiplies the recorded speed: 1 keeps the recorded timing, 2 is twice as fast. 0 (default) means no
            delay.
        port: the port on 127.0.0.1 (default: a free port).

    Yields a ReplayServer. Raises ValueError for an invalid `match`, `faults` or `speed`, and OstreamError for a file or
    port that can't be used. Raises ReplayError at the end of the `with` block if a request matched no recording.

    The result also decorates a function or a test method, but not a class: each call runs inside a `with` block of its
    own.
    """
    __tracebackhide__ = True  # pytest then shows the test
    if match not in MATCHES:
        raise ValueError(f"match must be one of {', '.join(MATCHES)}, not {match!r}")
    if isinstance(faults, str):
        raise ValueError(f"faults must be a list, not {faults!r}")
    parsed = [parse_fault(text) for text in faults]
    recordings = Recordings((each for file in files for each in load(os.fspath(file))), match, repeat)
    replayer = Replayer(recordings, parse_speed(speed), parsed)

    def check() -> list[str]:
        unused = recordings.unused if strict else []
        return [*replayer.mismatches, *(f"{each.where}: this recording was not used" for each in unused)]

    with _serving(replayer, recordings.model, port, check) as server:
        yield server


@contextlib.contextmanager
def record_once(
    file: Path, host: str | None = None, refresh: bool = False, cacert: str | None = None, port: int = 0
) -> Iterator[ReplayServer]:
    """Replay `file`. If a request matches no recording in it, forward the request and record the response.

    Only the first run of a test needs the server; later runs replay its responses.

    Arguments:
        file: the recording. It is created if it does not exist.
        host: the server to record from (default: $OLLAMA_HOST, or http://127.0.0.1:11434 if it is not set).
        refresh: True to ignore the recordings in the file, and to replace them if the `with` block ends without an
            exception.
        cacert: a PEM file with certificate authorities to trust.
        port: the port on 127.0.0.1 (default: a free port).

    A response is recorded if it is complete and not a temporary failure (such as status 429 or 5xx). Credentials are
    not recorded.

    Yields a ReplayServer. Raises OstreamError for a file, host or port that can't be used. Raises ReplayError at the
    end of the `with` block if a response could not be recorded.
    """
    __tracebackhide__ = True
    name = os.fspath(file)
    problems: list[str] = []
    recording = RecordingFile(name, "refresh" if refresh else "append", problems.append, str)
    recorded = [] if refresh or not os.path.getsize(name) else load(name)
    target = parse_host(os.environ.get("OLLAMA_HOST") if host is None else host)
    recorder = Recorder(target, recording, recorded, TLSConfig(cacert), problems.append)
    succeeded = False

    def check() -> list[str]:
        recorder.finish()
        return problems

    try:
        with _serving(recorder, recorder.recordings.model, port, check) as server:
            yield server
        succeeded = True
    finally:
        recording.close(succeeded)


@contextlib.contextmanager
def _serving(
    respond: Callable[[RequestHandler], None], model: str | None, port: int, check: Callable[[], list[str]]
) -> Iterator[ReplayServer]:
    """Run the server, with the environment variables set. Then raise ReplayError if `check` returns problems."""
    __tracebackhide__ = True
    requests: list[Request] = []

    def report(text: str) -> None:
        print(f"ostream.testing: {text}", file=sys.stderr)

    def respond_and_log(handler: RequestHandler) -> None:
        requests.append(Request(handler.command, handler.path, decode_body(handler.body)))
        respond(handler)

    failure = None
    with Server(respond_and_log, port, report) as server:
        changes = server.environment(os.environ)
        if model:
            changes["OLLAMA_MODEL"] = model
        saved = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            yield ReplayServer(server, model, requests)
        except Exception as error:
            failure = error
        finally:
            for name, value in saved.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
    problems = check()
    if problems:
        # An exception of the code under test is probably caused by these problems. Python prints both.
        raise ReplayError("\n".join(problems)) from failure
    if failure:
        raise failure
