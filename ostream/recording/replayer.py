"""Answer requests from recordings: select an exchange, inject faults, convert it, and count for the final report."""

from __future__ import annotations

import contextlib
import json
import threading
import time

from ostream.recording.folding import converted
from ostream.recording.format import COMPLETE, JSON, TRUNCATED, RecordedExchange, decode_body
from ostream.recording.matching import Recordings
from ostream.system.polling import wait_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

    from ostream.recording.faults import Fault
    from ostream.recording.http_server import RequestHandler

# A recording may contain any elapsed time. Every line is sent after this many seconds at the latest.
LONGEST_DELAY_S = 24 * 3600.0

# Requests about the server and its models. Many clients send them on their own, so they are answered even if they were
# not recorded.
_INFORMATION = {
    ("GET", "/"),
    ("HEAD", "/"),
    *((method, f"/api/{name}") for method in ("GET", "HEAD") for name in ("version", "tags", "ps")),
    ("POST", "/api/show"),
}
_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "",
    "families": [],
    "parameter_size": "",
    "quantization_level": "",
}


def parse_speed(value: float | str) -> float:
    """Return the factor of a replay's speed. Raises ValueError with a message."""
    speed = float(value)
    if not 0 <= speed < 1e6:
        raise ValueError(f"speed must be a number, 0 or more, not {value!r}")
    return speed


class Replayer:
    """Answer each request from recordings. An instance is a `respond` function for `http_server.Server`.

    Arguments:
        recordings: the exchanges that answer the requests.
        speed: multiplies the recorded speed; 0 means no delay.
        faults: the failures to inject.
        report: called with a message for each request that no recording matches.
        trace: called with a message for each request.

    `report` and `trace` are called in the threads of the connections.
    """

    def __init__(
        self,
        recordings: Recordings,
        speed: float = 0,
        faults: Sequence[Fault] = (),
        report: Callable[[str], object] = str,
        trace: Callable[[str], object] = str,
    ) -> None:
        self.recordings = recordings
        self.mismatches: list[str] = []
        self.answered = 0  # requests answered from a recording
        self.loose = 0  # answered requests that differ from the recorded request
        self.faults = 0  # requests whose response has an injected fault
        self._speed = speed
        self._faults = faults
        self._report = report
        self._trace = trace
        self._requests = 0
        self._lock = threading.Lock()

    def __call__(self, request: RequestHandler) -> None:
        path, body = request.path.partition("?")[0], decode_body(request.body)
        if self.answer(request, path, body):
            return
        if not self._answer_information(request, path, body):
            text = self.recordings.explain(request.command, path, body)
            with self._lock:
                self.mismatches.append(text)
            self._report(text)
            error: Any = {"message": text, "type": "not_found_error"} if path.startswith("/v1/") else text
            request.send_body(404, JSON, json.dumps({"error": error}, ensure_ascii=False).encode("utf-8", "replace"))

    def answer(self, request: RequestHandler, path: str, body: Any) -> bool:
        """Answer a request from a fault or a recording. Return False if there is neither for this request.

        `path` is the path of the request without its query; `body` is the decoded JSON.
        """
        name = f"{request.command} {path}"
        fault = self._next_fault(request.command, path)
        if fault and not fault.needs_recording:
            self._trace(f"{name}: injected {fault}")
            self._send(request, fault.response(path))
            return True
        match = self.recordings.find(
            request.command, path, body, lambda exchange: not (fault and fault.applies_to(exchange))
        )
        if not match:
            return False
        exchange = match.exchange
        if fault and not fault.applies_to(exchange):
            fault = None
        if fault:
            exchange = fault.inject(exchange)
        with self._lock:
            self.answered += 1
            self.loose += bool(match.note)
            self.faults += fault is not None
        injected = f", injected {fault}" if fault else ""
        self._trace(f"{name}: {match.exchange.where}{f' ({match.note})' if match.note else ''}{injected}")
        self._send(request, converted(exchange, body))
        return True

    def _next_fault(self, method: str, path: str) -> Fault | None:
        """Count the request. Return the fault for its number, else the first fault that has no number, else None.

        Requests about the server and its models are not counted and get no fault.
        """
        if (method, path) in _INFORMATION:
            return None
        with self._lock:
            self._requests += 1
            number = self._requests
            every = [fault for fault in self._faults if fault.request is None]
            fault = next((fault for fault in self._faults if fault.request == number), every[0] if every else None)
            if fault and not fault.needs_recording:
                self.faults += 1
        return fault

    def report(self, strict: bool = False) -> list[str]:
        """Return the lines of the final report: requests without an exact match and, if `strict`, unused recordings."""
        lines = []
        if self.mismatches:
            lines.append(f"{_count(len(self.mismatches), 'request')} matched no recording")
        if self.loose:
            lines.append(f"{_count(self.loose, 'request')} differed from the recorded request")
        unused = self.recordings.unused if strict else []
        if unused:
            count = f"{len(unused)} of {_count(len(self.recordings.exchanges), 'recording')}"
            lines.append(f"{count} not used; the first is {unused[0].where}")
        return lines

    def summary(self) -> str:
        """Return one line with all counts."""
        total, unused = len(self.recordings.exchanges), len(self.recordings.unused)
        return (
            f"{_count(self.answered, 'request')} answered from {total - unused} of {_count(total, 'recording')}, "
            f"{len(self.mismatches)} without a match, {_count(self.faults, 'injected fault')}"
        )

    def _send(self, request: RequestHandler, exchange: RecordedExchange) -> None:
        begin = time.monotonic()
        # Only a wait needs a thread that watches the client. Without a wait, the next write fails if the client has
        # disconnected.
        waits = self._speed or exchange.ending == "stall"
        with request.watched() if waits else contextlib.nullcontext() as client:

            def delay(elapsed_ns: int) -> None:
                if self._speed:
                    end = min(begin + elapsed_ns / 1e9 / self._speed, begin + LONGEST_DELAY_S)
                    wait_ready(None, 0, client, lambda: end - time.monotonic())

            if request.command == "HEAD" or exchange.status in (101, 204, 304):
                request.send_body(exchange.status, exchange.content_type, b"")
            elif exchange.ending == COMPLETE and exchange.content_type.startswith("application/json"):
                delay(exchange.elapsed_ns)
                body = b"".join(line for line, _ in exchange.lines)
                is_line = body.endswith(b"\n") and not exchange.is_text
                request.send_body(exchange.status, exchange.content_type, body[:-1] if is_line else body)
            else:
                # A server sends its headers together with the first line. If it was killed before, it sent no headers.
                if exchange.lines or exchange.ending == COMPLETE:
                    request.head(exchange.status, exchange.content_type)
                for line, elapsed_ns in exchange.lines:
                    delay(elapsed_ns)
                    request.chunk(line)
                if exchange.ending == COMPLETE:
                    request.end()
                elif exchange.ending == "stall":
                    wait_ready(None, 0, client)
        if exchange.ending == TRUNCATED:
            request.truncate()
        elif exchange.ending == "reset":
            request.reset()

    def _answer_information(self, request: RequestHandler, path: str, body: Any) -> bool:
        """Answer a request about the server or its models, as a server that has the recorded models would.

        Return False for any other request.
        """
        if (request.command, path) not in _INFORMATION:
            return False
        self._trace(f"{request.command} {path}: not recorded; answered from the models in the recordings")
        models = [name if ":" in name.rpartition("/")[2] else f"{name}:latest" for name in self.recordings.models]
        status = 200
        answer: dict[str, Any]
        if path == "/":
            request.send_body(200, "text/plain; charset=utf-8", b"Ollama is running")
            return True
        if path == "/api/version":
            answer = {"version": "0.0.0"}
        elif path == "/api/show":
            wanted = (body.get("model") or body.get("name")) if isinstance(body, dict) else None
            if wanted in models or wanted in self.recordings.models:
                # Report every capability: the recordings decide which requests are answered.
                capabilities = ["completion", "vision", "tools", "thinking"]
                answer = {"template": "", "details": _DETAILS, "model_info": {}, "capabilities": capabilities}
            else:
                status, answer = 404, {"error": f"model '{wanted}' not found"}
        else:
            stamp = "expires_at" if path == "/api/ps" else "modified_at"
            common: dict[str, Any] = {"size": 0, "digest": "0" * 64, "details": _DETAILS, stamp: "2000-01-01T00:00:00Z"}
            answer = {"models": [{"name": name, "model": name, **common} for name in models]}
        request.send_body(status, JSON, json.dumps(answer, separators=(",", ":")).encode())
        return True


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
