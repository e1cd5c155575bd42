"""The turns of one run of send: ask, and with tools ask again with what they said, until the model answers."""

from __future__ import annotations

import json

from ostream.chunk import tool_calls
from ostream.commands.forward import forward
from ostream.errors import OstreamError
from ostream.message import Accumulator, asked
from ostream.ndjson import encode_line
from ostream.recording import request_line
from ostream.request import CHAT, encode_body
from ostream.wait import is_pipe, watchable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ostream.client import Client
    from ostream.output import Output
    from ostream.stdio import Messages
    from ostream.toolbox import Toolbox

# A model that asks the same for the third time has not understood the answer.
SAME_CALLS = 3


class Turns:
    """Requests to one server, their answers written as they come. `answer` is the last one, where it was kept."""

    def __init__(self, messages: Messages, client: Client, out: Output, stamped: bool, fail_on_length: bool) -> None:
        self._messages = messages
        self._client = client
        self._out = out
        self._stamped = stamped
        self._fail_on_length = fail_on_length
        self.answer = Accumulator()

    def take(self, path: str, body: dict[str, Any], is_kept: bool) -> None:
        """One request and its answer. Raises what went wrong, after all that came has been written."""
        data = encode_body(body)
        self._messages.trace(f"POST {self._client.host.url}{path}, {len(data):,} bytes")
        try:
            response = self._client.post(path, data, watch=watchable(1), note=self._messages.note)
        except OstreamError as error:
            if self._stamped:
                self._out.lines(request_line(path, body, getattr(error, "status_code", None)))
            raise
        content_type = response.getheader("Content-Type")
        self._messages.trace(f"{response.status} {content_type or 'without a type'}")
        try:
            if self._stamped:
                self._out.lines(request_line(path, body, response.status, content_type))
            # If this fails, the filter behind us has an unfinished line of text on the terminal.
            self._messages.mid_line = is_pipe(1)
            self.answer = Accumulator()
            forward(response, self._out, self._fail_on_length, self._stamped, self.answer if is_kept else None)
        finally:
            response.close()

    def take_all(self, body: dict[str, Any], toolbox: Toolbox, most: int) -> None:
        """Turns until an answer has no tool calls, `most` of them. All messages but the last are added to the body.

        The message of each answer with calls, and those of the tools, are written as message lines. The calls of the
        last turn that is allowed are not made: nobody would see what comes of them.
        """
        made: list[str] = []
        for left in range(most, 0, -1):
            self.take(CHAT, body, is_kept=True)
            message = self.answer.message
            calls = tool_calls({"message": message})
            if not calls:
                return
            made += [json.dumps(asked(call)) for call in calls]
            for call in calls:
                if made.count(json.dumps(asked(call))) >= SAME_CALLS:
                    raise OstreamError(
                        f"the model calls {asked(call)[0]} for the third time with the same arguments",
                        advice="the answer it got is not the one it needs",
                    )
            if left == 1:
                break
            body["messages"] = [*body["messages"], message]
            self._out.lines(encode_line(message))
            for call in calls:
                self._messages.trace(f"calling {asked(call)[0]}")
                body["messages"].append(toolbox.answer(call))
                self._out.lines(encode_line(body["messages"][-1]))
        raise OstreamError(f"no answer after {most} turns, only tool calls", advice="raise --max-turns")
