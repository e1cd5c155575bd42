"""Call the Python functions that a model's tool calls name."""

from __future__ import annotations

import inspect
import json
from collections import abc

from ostream.errors import RequestError
from ostream.protocol.accumulator import NO_ARGUMENTS, parse_tool_call, tool_message
from ostream.protocol.chunk import tool_calls
from ostream.tools.names import unknown_tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping, Sequence


def run_tools(
    message: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] | Sequence[Callable[..., Any]]
) -> list[dict[str, Any]]:
    """Call the functions that a message calls, and return the tool messages to send back, in the order of the calls.

    `message`: the assistant's message, `response.message`.
    `functions`: the functions that were offered, in a list or by name.

    A result that is not a string becomes JSON. An exception, an unknown name and wrong arguments become answers for the
    model, beginning with "error:".
    Raises RequestError if `message` is a response, TypeError if a function is async or a generator.
    """
    if "message" in message:
        raise RequestError("run_tools: this is a response", advice="pass its message, response.message")
    named = functions if isinstance(functions, abc.Mapping) else {function.__name__: function for function in functions}
    return [tool_message(call, _answer(call, named)) for call in tool_calls({"message": dict(message)})]


def _answer(call: dict[str, Any], functions: Mapping[str, Callable[..., Any]]) -> str:
    name, arguments = parse_tool_call(call)
    if name not in functions:
        return unknown_tool(name, functions)
    if not isinstance(arguments, dict):
        return NO_ARGUMENTS
    function = functions[name]
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        return f"error: {error}"
    except ValueError:
        pass  # a C function without a readable signature
    try:
        result = function(**arguments)
        if not (inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result)):
            return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
    except Exception as error:
        return f"error: {type(error).__name__}: {error}"
    if inspect.iscoroutine(result):
        result.close()  # or Python warns that it was never awaited
    raise TypeError(f"{name}: an async function or a generator can't be a tool; wrap it in a function that returns")
