"""Call the Python functions that a model requests in its tool calls."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
from collections import abc

import ostream
from ostream.errors import RequestError
from ostream.protocol.accumulator import NO_ARGUMENTS, parse_tool_call, tool_message
from ostream.protocol.arguments import explained
from ostream.protocol.chunk import tool_calls
from ostream.protocol.tool_schema import function_name
from ostream.tools.names import unknown_tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping


@explained
def run_tools(
    message: ostream.types.MessageParam, functions: ostream.types.FunctionsParam
) -> list[ostream.types.ToolMessage]:
    """Call the functions that an assistant message requests, and return the tool messages to send back.

    Arguments:
        message: the assistant's message: `response.message` or `stream.message`, or a message of the official SDK.
        functions: the functions that were offered to the model: a list of functions, or a dict from names to functions.

    The tool messages are in the order of the calls. A function receives the JSON values of its arguments. A result that
    is not a string is converted to JSON. If the function raises an exception, if its name is unknown, or if the
    arguments are wrong, the tool message contains the error and begins with "error:".

    Raises RequestError if `message` is not a message, for example a response, or if a function is async or a generator.
    """
    fields: Any = message
    if hasattr(fields, "model_dump") and not isinstance(fields, abc.Mapping):
        fields = fields.model_dump(exclude_none=True)
    if not isinstance(fields, abc.Mapping) or "message" in fields:
        raise RequestError(
            f"run_tools: must be a message, not {type(message).__name__}",
            advice="pass response.message or stream.message",
        )
    named = functions if isinstance(functions, abc.Mapping) else {function_name(each): each for each in functions}
    return [tool_message(call, _result(call, named)) for call in tool_calls({"message": dict(fields)})]


def _result(call: dict[str, Any], functions: Mapping[str, Callable[..., Any]]) -> str:
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
            return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=_plain)
    except Exception as error:
        return f"error: {type(error).__name__}: {error}"
    if inspect.iscoroutine(result):
        result.close()  # otherwise Python warns that it was never awaited
    raise RequestError(
        f"tool {name}: an async function or a generator cannot be a tool", advice="wrap it in a function that returns"
    )


def _plain(value: Any) -> Any:
    """Convert a value that JSON can't represent: a model, dataclass, enum, mapping or set. Other values become text."""
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, abc.Mapping):
        return dict(value)
    return list(value) if isinstance(value, abc.Set) else str(value)
