"""The turns of one run of send: ask, and with tools ask again with what they said, until the model answers."""

from __future__ import annotations

import json

from ostream.cli.relay import Relay
from ostream.errors import OstreamError
from ostream.protocol.accumulator import Accumulator, parse_tool_call
from ostream.protocol.chunk import tool_calls
from ostream.protocol.ndjson import encode_line
from ostream.protocol.request import CHAT, encode_body
from ostream.recording.format import request_line
from ostream.system.polling import is_pipe, pollable_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ostream.client import Client
    from ostream.system.diagnostics import Diagnostics
    from ostream.system.output import Output
    from ostream.tools.directory import ToolDirectory

# A model that asks the same for the third time has not understood the answer.
SAME_CALLS = 3


class ToolLoop:
    """Requests to one server, their answers written as they come. `answer` is the last one, where it was kept."""

    def __init__(
        self, diagnostics: Diagnostics, client: Client, out: Output, stamped: bool, fail_on_length: bool
    ) -> None:
        self._diagnostics = diagnostics
        self._client = client
        self._out = out
        self._stamped = stamped
        self._relay = Relay(out, diagnostics.note, fail_on_length, stamped)
        self.answer = Accumulator()

    def send_once(self, path: str, body: dict[str, Any], is_kept: bool) -> None:
        """One request and its answer. Raises what went wrong, after all that came has been written."""
        data = encode_body(body)
        self._diagnostics.trace(f"POST {self._client.host.url}{path}, {len(data):,} bytes")
        try:
            response = self._client.post(path, data, reader=pollable_or_none(1), note=self._diagnostics.note)
        except OstreamError as error:
            if self._stamped:
                self._out.write_lines(request_line(path, body, getattr(error, "status_code", None)))
            raise
        content_type = response.getheader("Content-Type")
        self._diagnostics.trace(f"{response.status} {content_type or 'without a type'}")
        try:
            if self._stamped:
                self._out.write_lines(request_line(path, body, response.status, content_type))
            # If this fails, the filter behind us has an unfinished line of text on the terminal.
            self._diagnostics.mid_line = is_pipe(1)
            self.answer = Accumulator()
            self._relay.relay(response, body, self.answer if is_kept else None)
        finally:
            response.close()

    def run_tool_loop(self, body: dict[str, Any], tool_directory: ToolDirectory, max_turns: int) -> None:
        """Send until an answer has no tool calls, at most `max_turns` times; add all messages but the last to the body.

        The message of each answer with calls, and those of the tools, are written as message lines. The calls of the
        last turn that is allowed are not made: nobody would see what comes of them.
        """
        made: list[str] = []
        for left in range(max_turns, 0, -1):
            self.send_once(CHAT, body, is_kept=True)
            message = self.answer.message
            calls = tool_calls({"message": message})
            if not calls:
                return
            made += [json.dumps(parse_tool_call(call)) for call in calls]
            for call in calls:
                if made.count(json.dumps(parse_tool_call(call))) >= SAME_CALLS:
                    raise OstreamError(
                        f"the model calls {parse_tool_call(call)[0]} for the third time with the same arguments",
                        advice="the answer it got is not the one it needs",
                    )
            if left == 1:
                break
            body["messages"] = [*body["messages"], message]
            self._out.write_lines(encode_line(message))
            for call in calls:
                self._diagnostics.trace(f"calling {parse_tool_call(call)[0]}")
                body["messages"].append(tool_directory.answer(call))
                self._out.write_lines(encode_line(body["messages"][-1]))
        raise OstreamError(f"no answer after {max_turns} turns, only tool calls", advice="raise --max-turns")
