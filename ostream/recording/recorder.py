"""Record exchanges between a client and the server: every exchange, or only those that a recording does not contain."""

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
    """Forward requests to a server and record them. An instance is a `respond` function for `http_server.Server`.

    Arguments:
        host: the server.
        file: the file to record to.
        recorded: the exchanges that are already in the file, or None to forward and record every request. These
            exchanges answer the requests that they match; the n-th identical request is answered by its n-th recording.
            Other requests are forwarded. A response is added to the file if it is complete and is not a temporary
            failure.
        tls_config: the settings for an https server.
        report: called with a message for each response that is not added to the file.
        note: called with a message, at most once, if credentials are not forwarded.
        trace: called with a message for each request.
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
        """Disconnect the clients of running requests, and wait until these requests have been recorded."""
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
