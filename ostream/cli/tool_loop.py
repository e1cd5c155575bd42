"""Send the request of the command `send` or, with --run-tools, as many requests as the model needs to answer.

With --run-tools, the model calls tools, `send` runs them, and the next request contains the results of the tools.
"""

from __future__ import annotations

import os

from ostream.cli.relay import Relay
from ostream.errors import OstreamError
from ostream.protocol.chunk import tool_calls
from ostream.protocol.ndjson import encode_line
from ostream.protocol.request import CHAT, encode_body
from ostream.system.polling import is_pipe, pollable_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ostream.cli.options import SendOptions
    from ostream.cli.waiting import WaitingLine
    from ostream.net.session import Session
    from ostream.protocol.accumulator import Accumulator
    from ostream.system.diagnostics import Diagnostics
    from ostream.system.output import Output
    from ostream.tools.directory import ToolDirectory

# A model that makes the same call this many times does not understand the result, so the loop ends.
SAME_CALLS = 3


class ToolLoop:
    """Sends requests to one server and writes the responses to `out` as they arrive.

    `options.stamp` adds a request line before each response, and the time to each line of the response. Relay describes
    `fail_on_length` and `fail_on_empty`. The attribute `answer` contains the last response if `is_kept` was true.
    """

    answer: Accumulator

    def __init__(self, diagnostics: Diagnostics, session: Session, out: Output, options: SendOptions) -> None:
        self._diagnostics = diagnostics
        self._session = session
        self._out = out
        self._stamped = options.stamp
        self._relay = Relay(out, diagnostics.note, options.fail_on_length, options.fail_on_empty, options.stamp)

    def send_once(self, path: str, body: dict[str, Any], is_kept: bool) -> None:
        """Send one request and write the response; with `is_kept`, also store the response in `answer`.

        Raises OstreamError if the request or the response fails, after everything that arrived was written.
        """
        data = encode_body(body)
        diagnostics = self._diagnostics
        diagnostics.trace(f"POST {self._session.host.url}{path}, {len(data):,} bytes")
        waiting: WaitingLine | None = None
        if not diagnostics.quiet and os.isatty(2):
            from ostream.cli.waiting import WaitingLine

            waiting = WaitingLine(body["model"])

        def note(text: str) -> None:
            if waiting:
                waiting.erase()
            diagnostics.note(text)

        def arrived() -> None:
            if waiting:
                waiting.stop()

        try:
            self._relay_response(path, body, data, is_kept, note, arrived)
        finally:
            arrived()

    def _relay_response(
        self,
        path: str,
        body: dict[str, Any],
        data: bytes,
        is_kept: bool,
        note: Callable[[str], None],
        arrived: Callable[[], None],
    ) -> None:
        """Send the request and write the response.

        `note` is called with a message before each retry, and `arrived` before the first line is written.
        """
        try:
            response = self._session.post(path, data, reader=pollable_or_none(1), note=note)
        except OstreamError as error:
            if self._stamped:
                arrived()
                self._write_request_line(path, body, getattr(error, "status_code", None))
            raise
        content_type = response.getheader("Content-Type")
        content_type = content_type and response.credentials.mask(content_type)
        try:
            if self._stamped or self._diagnostics.verbose:
                arrived()
            self._diagnostics.trace(f"{response.status} {content_type or 'without a type'}")
            if self._stamped:
                self._write_request_line(path, body, response.status, content_type)
            # If the response fails, the terminal may show an unfinished line of text from the filter downstream.
            self._diagnostics.text_downstream = is_pipe(1)
            self._diagnostics.mid_line = is_pipe(1) and os.isatty(2)
            if is_kept:
                from ostream.protocol.accumulator import Accumulator

                self.answer = Accumulator()
            self._relay.relay(response, body, self.answer if is_kept else None, arrived)
        except OstreamError as error:
            response.credentials.mask_error(error)
            raise
        finally:
            response.close()

    def _write_request_line(
        self, path: str, body: dict[str, Any], status: int | None, content_type: str | None = None
    ) -> None:
        from ostream.recording.format import request_line

        self._out.write_lines(request_line(path, body, status, content_type))

    def run_tool_loop(
        self,
        body: dict[str, Any],
        tool_directory: ToolDirectory,
        max_turns: int,
        save: Callable[[list[dict[str, Any]]], None] = lambda messages: None,
    ) -> None:
        """Send requests until an answer has no tool calls, but at most `max_turns` requests.

        In each round, the answer and the results of its tool calls are written as message lines and added to
        body["messages"]. Then `save` is called with all messages, so that the saved conversation shows which tools
        have run even if a later request fails. The tool calls of the last allowed turn are not run, because no request
        would send their results.

        Raises OstreamError if the model makes the same call SAME_CALLS times, if all answers have tool calls, or if a
        request fails.
        """
        import json

        from ostream.protocol.accumulator import parse_tool_call

        counts: dict[str, int] = {}
        for left in range(max_turns, 0, -1):
            self.send_once(CHAT, body, is_kept=True)
            message = self.answer.message
            calls = tool_calls({"message": message})
            if not calls:
                return
            for call in calls:
                made = json.dumps(parse_tool_call(call))
                counts[made] = counts.get(made, 0) + 1
                if counts[made] == SAME_CALLS:
                    raise _repeated(parse_tool_call(call)[0], tool_directory.names)
            if left > 1:
                self._run_round(body, message, calls, tool_directory, save)
        raise OstreamError(f"no answer after {max_turns} turn(s), only tool calls", advice="raise --max-turns")

    def _run_round(
        self,
        body: dict[str, Any],
        message: dict[str, Any],
        calls: list[dict[str, Any]],
        tool_directory: ToolDirectory,
        save: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        from ostream.protocol.accumulator import parse_tool_call

        body["messages"] = messages = [*body["messages"], message]
        self._out.write_lines(encode_line(message))
        for number, call in enumerate(calls, 1):
            self._diagnostics.trace(f"calling {parse_tool_call(call)[0]}")
            messages.append(tool_directory.answer(call))
            if number == len(calls):
                save(messages)  # save before the last write, which may fail
            self._out.write_lines(encode_line(messages[-1]))


def _repeated(name: str, names: list[str]) -> OstreamError:
    if name in names:
        return OstreamError(
            f"the model called {name} {SAME_CALLS} times with the same arguments",
            advice="the tool's result did not help; change the prompt or the tool's description",
        )
    return OstreamError(
        f"the model called {name[:100]!r} {SAME_CALLS} times, but there is no such tool",
        advice=f"available: {', '.join(names)}",
    )
