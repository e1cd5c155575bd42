"""Answer requests from recordings: select, convert, inject faults, and keep the figures of the final report."""

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

# A recording may contain any elapsed time; no line is delayed for longer than this.
LONGEST_DELAY_S = 24 * 3600.0

# Requests about the server and its models. Clients send them unasked, so they are answered without a recording.
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


class Replayer:
    """Answers each request from `recordings`; a `respond` function for `http_server.Server`.

    `speed` is a factor on the recorded speed, 0 for no delay. `faults` are injected. `report` is called with a text
    for each request that nothing matches, `trace` with one for each request. Both are also called by other threads.
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
        self.loose = 0  # of these, requests that differ from the recorded one
        self.faults = 0  # requests that a fault was injected into
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
        """Answer from a fault or a recording, if one applies; False if neither does."""
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
        """The fault for this request, by its number among the requests that are not about the server."""
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
        """Return what to report at the end: requests without an exact match, and if `strict`, unused recordings."""
        lines = []
        if self.mismatches:
            lines.append(f"{_count(len(self.mismatches), 'request')} matched no recording")
        if self.loose:
            lines.append(f"{_count(self.loose, 'request')} differed from the recording that answered")
        unused = self.recordings.unused if strict else []
        if unused:
            count = f"{len(unused)} of {_count(len(self.recordings.exchanges), 'recording')}"
            lines.append(f"{count} not used; first: {unused[0].where}")
        return lines

    def summary(self) -> str:
        """Return one line with all figures."""
        total, unused = len(self.recordings.exchanges), len(self.recordings.unused)
        return (
            f"{_count(self.answered, 'request')} answered from {total - unused} of {_count(total, 'recording')}, "
            f"{len(self.mismatches)} without a match, {_count(self.faults, 'injected fault')}"
        )

    def _send(self, request: RequestHandler, exchange: RecordedExchange) -> None:
        begin = time.monotonic()
        # Without a wait, the next write notices that the client has left.
        waits = self._speed or exchange.ending == "stall"
        with request.watched() if waits else contextlib.nullcontext() as client:

            def delay(elapsed_ns: int) -> None:
                if self._speed:
                    end = min(begin + elapsed_ns / 1e9 / self._speed, begin + LONGEST_DELAY_S)
                    wait_ready(None, 0, client, lambda: end - time.monotonic())

            if request.command == "HEAD" or exchange.status in (204, 304):
                request.send_body(exchange.status, exchange.content_type, b"")
            elif exchange.ending == COMPLETE and exchange.content_type.startswith("application/json"):
                delay(exchange.elapsed_ns)
                body = b"".join(line for line, _ in exchange.lines)
                is_line = body.endswith(b"\n") and not exchange.is_text
                request.send_body(exchange.status, exchange.content_type, body[:-1] if is_line else body)
            else:
                # Headers are sent with the first line; a server killed before that has sent none.
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
        """Answer a request about the server or its models as a server with the recorded models would."""
        if (request.command, path) not in _INFORMATION:
            return False
        self._trace(f"{request.command} {path}: not recorded; answered from the models")
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
                # Whether a request with tools, images or thinking is answered is up to the recordings.
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
