"""Call the Python functions that a model's tool calls name."""

from __future__ import annotations

import inspect
import json
from collections import abc

from ostream.errors import RequestError
from ostream.protocol.accumulator import NO_ARGUMENTS, NO_SUCH_TOOL, parse_tool_call, tool_message
from ostream.protocol.chunk import tool_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping, Sequence


def run_tools(
    message: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] | Sequence[Callable[..., Any]]
) -> list[dict[str, Any]]:
    """Call what the message asks for, and give the tool messages to send back, in the order of the calls.

    `functions` are those that were offered, by their names or in a list.

    A function that fails, or is not there, or is called with the wrong arguments, is an answer for the model too.
    """
    if "message" in message:
        raise RequestError("run_tools: this is a response", advice="pass its message, response.message")
    named = functions if isinstance(functions, abc.Mapping) else {function.__name__: function for function in functions}
    return [
        tool_message(call, _result(named.get(parse_tool_call(call)[0]), parse_tool_call(call)[1]))
        for call in tool_calls({"message": dict(message)})
    ]


def _result(function: Callable[..., Any] | None, arguments: Any) -> str:
    if function is None:
        return NO_SUCH_TOOL
    if not isinstance(arguments, dict):
        return NO_ARGUMENTS
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        return f"error: {error}"
    except ValueError:
        pass  # a function of C's, which has no signature to be read
    try:
        result = function(**arguments)
        return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
    except Exception as error:
        return f"error: {type(error).__name__}: {error}"
