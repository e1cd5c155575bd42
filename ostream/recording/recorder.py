"""Record the exchanges of a client with the server, all of them or only those that a recording lacks."""

from __future__ import annotations

from ostream.recording.file import RecordingFile
from ostream.recording.format import RecordedExchange, decode_body, parse
from ostream.recording.matching import Recordings
from ostream.recording.proxy import ExchangeLog, Proxy
from ostream.recording.replayer import Replayer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ostream.net.host import Host
    from ostream.net.tls import TLSConfig
    from ostream.recording.request_handler import RequestHandler


class Recorder:
    """Forwards requests to `host` and records them in `file`; a `respond` function for `http_server.Server`.

    With `recorded`, the exchanges of the file, requests are answered from these where possible. Only what they lack is
    forwarded, and added if it is a complete response that is not a temporary failure; the n-th identical request is
    answered by the n-th recording of it. `report` is called with what is not recorded, `note` with what is not
    forwarded, `trace` with a text for each request.
    """

    def __init__(
        self,
        host: Host,
        file: RecordingFile,
        recorded: list[RecordedExchange] | None = None,
        tls_config: TLSConfig | None = None,
        report: Callable[[str], object] = str,
        note: Callable[[str], object] = str,
        trace: Callable[[str], object] = str,
    ) -> None:
        self.forwarded = 0
        self.recordings = Recordings(recorded or ())
        self._file = file
        self._report = report
        self._trace = trace
        self._replayer = None if recorded is None else Replayer(self.recordings, trace=trace)
        self._proxy = Proxy(host, self._record, note, tls_config)

    def __call__(self, handler: RequestHandler) -> None:
        path = handler.path.partition("?")[0]
        if self._replayer and self._replayer.answer(handler, path, decode_body(handler.body)):
            return
        self._trace(f"{handler.command} {path}{': forwarded' if self._replayer else ''}")
        self._proxy(handler)

    def finish(self) -> None:
        """Disconnect the clients of running requests, and wait until these have been recorded."""
        self._proxy.finish()

    def _record(self, log: ExchangeLog) -> None:
        self.forwarded += 1
        if self._replayer is None:
            self._file.add(log)
            return
        problem = "" if log.omitted else log.temporary_failure
        if problem:
            self._report(f"{log.name}: {problem}; not added to {self._file.name}")
        elif self._file.add(log):
            log.spool.seek(0)
            for exchange in parse(log.spool, self._file.name):
                self.recordings.add(exchange, used=True)
