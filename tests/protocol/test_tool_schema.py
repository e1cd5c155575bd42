"""Functions as tools: their schema, and the results of calls."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import sys
import uuid
from pathlib import Path
from traceback import format_exception_only
from types import MappingProxyType
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Literal,
    Mapping,
    NewType,
    Optional,
    Sequence,
    Tuple,
    TypedDict,
    Union,
)

import pytest

from ostream.errors import RequestError
from ostream.protocol.objects import Message
from ostream.protocol.tool_schema import parse_docstring, schema
from ostream.tools.functions import run_tools

if sys.version_info >= (3, 9):
    from typing import Annotated


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass
class Tree:
    left: Optional[Tree]


class Place(TypedDict, total=False):
    name: str


class Description:
    """Has the attribute of a pydantic Field."""

    def __init__(self, description: str) -> None:
        self.description = description


class Model:
    """Has the methods of a pydantic model."""

    @classmethod
    def model_json_schema(cls) -> Dict[str, Any]:
        return {"type": "object", "title": "Model"}


def model(name: str, **definitions: Any) -> Any:
    """Return a class like a pydantic model with a nested model."""
    schema = {"properties": {"at": {"$ref": "#/$defs/Place"}}, "$defs": definitions}
    return type(name, (), {"model_json_schema": classmethod(lambda cls: dict(schema))})


def double(n: int) -> int:
    return 2 * n


async def wait() -> str:
    return "waited"


class Unit(enum.Enum):
    CELSIUS = "c"
    KELVIN = "k"


HINTS: List[Tuple[Any, Dict[str, Any]]] = [
    (str, {"type": "string"}),
    (int, {"type": "integer"}),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (dict, {"type": "object"}),
    (Dict[str, int], {"type": "object"}),
    (Mapping[str, int], {"type": "object"}),
    (list, {"type": "array"}),
    (List[int], {"type": "array", "items": {"type": "integer"}}),
    (Sequence[str], {"type": "array", "items": {"type": "string"}}),
    (Iterable[float], {"type": "array", "items": {"type": "number"}}),
    (Tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
    (Tuple[int, str], {"type": "array", "items": {"type": ["integer", "string"]}}),
    (Optional[int], {"type": "integer"}),
    (Union[int, str], {"type": ["integer", "string"]}),
    (Union[int, List[int]], {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
    (Literal[1, "b"], {"type": ["integer", "string"], "enum": [1, "b"]}),
    (Unit, {"type": "string", "enum": ["c", "k"]}),
    (Any, {}),
    (datetime.date, {"type": "string", "format": "date"}),
    (datetime.datetime, {"type": "string", "format": "date-time"}),
    (uuid.UUID, {"type": "string", "format": "uuid"}),
    (Path, {"type": "string", "format": "path"}),
    (decimal.Decimal, {"type": ["number", "string"]}),
    (Union[int, decimal.Decimal], {"anyOf": [{"type": "integer"}, {"type": ["number", "string"]}]}),
    (NewType("City", str), {"type": "string"}),
    (Point, {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}, "required": ["x"]}),
    (Model, {"type": "object", "title": "Model"}),
]
if sys.version_info >= (3, 9):
    HINTS.append((Place, {"type": "object", "properties": {"name": {"type": "string"}}, "required": []}))
if sys.version_info >= (3, 9):
    HINTS.append((Annotated[int, 1, "of what"], {"type": "integer", "description": "of what"}))
    HINTS.append((Annotated[int, Description("of what")], {"type": "integer", "description": "of what"}))
    HINTS.append((Annotated[Optional[int], 1], {"type": "integer"}))
if sys.version_info >= (3, 10):
    HINTS.append((int | None, {"type": "integer"}))


def taking(hint: Any) -> Callable[..., Any]:
    def function(value: Any) -> None: ...

    function.__annotations__ = {"value": hint}
    return function


@pytest.mark.parametrize(("hint", "described"), HINTS)
def test_a_hint_is_a_schema(hint: Any, described: Dict[str, Any]) -> None:
    parameters = schema(taking(hint))["function"]["parameters"]
    assert parameters["properties"] == {"value": described}
    optional = type(None) in getattr(getattr(hint, "__origin__", hint), "__args__", getattr(hint, "__args__", ()))
    assert parameters["required"] == ([] if optional else ["value"])


@pytest.mark.parametrize("hint", [complex, bytes, object(), "Nowhere", List[bytes], Union[int, bytes], Tree, Callable])
def test_a_hint_without_a_schema_is_a_request_error(hint: Any) -> None:
    with pytest.raises(RequestError, match=r"^tool function: "):
        schema(taking(hint))


def named(first: int, /) -> None: ...


@pytest.mark.parametrize("function", [int, Point, wait, min, named])
def test_what_cannot_be_called_with_named_arguments_is_a_request_error(function: Any) -> None:
    with pytest.raises(RequestError, match=rf"^tool {function.__name__}: "):
        schema(function)


def test_variable_arguments_are_left_out() -> None:
    def function(city: str, *values: int, **options: int) -> None: ...

    assert list(schema(function)["function"]["parameters"]["properties"]) == ["city"]


def test_a_partial_and_a_callable_object_are_tools() -> None:
    class Adder:
        def __call__(self, a: int) -> int:
            return a + 1

    for function, name in ((functools.partial(double), "double"), (Adder(), "Adder")):
        tool = schema(function)["function"]
        assert tool["name"] == name
        assert list(tool["parameters"]["properties"].values()) == [{"type": "integer"}]
        (message,) = run_tools(
            tool_calls_message(call(name, {next(iter(tool["parameters"]["properties"])): 1})), [function]
        )
        assert message["content"] == "2"


class Weather:
    def of(self, city, days: int = 1, *, unit: Unit = Unit.CELSIUS) -> str:  # type: ignore[no-untyped-def]
        """Say the weather.

        As it will be.

        Args:
            city: The city
                meant: by its name.
            days (int): How many days.
            nobody: Not a parameter.

        Returns:
            text: The weather.
        """
        return f"{city} {days} {unit}"


def test_the_docstring_describes_the_function_and_its_parameters() -> None:
    tool = schema(Weather().of)
    assert tool["type"] == "function"
    assert tool["function"]["name"] == "of"
    assert tool["function"]["description"] == "Say the weather. As it will be."
    assert tool["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city meant: by its name."},
            "days": {"type": "integer", "description": "How many days."},
            "unit": {"type": "string", "enum": ["c", "k"]},
        },
        "required": ["city"],
    }


def test_a_docstring_may_be_empty() -> None:
    assert parse_docstring("") == ("", {})
    assert parse_docstring("Args:\n    stray text\n") == ("", {})
    assert schema(taking(int))["function"]["description"] == ""


def tool_calls_message(*calls: Any) -> Dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def call(name: Any, arguments: Any, **more: Any) -> Dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **more}


def fail(n: int) -> None:
    raise OSError(f"no {n}")


RESULTS_OF_CALLS = [
    (call("double", {"n": 2}), "4"),
    (call("double", '{"n": 3}'), "6"),
    (call("say", {"what": "é"}), "é"),
    (call("fail", {"n": 1}), "error: OSError: no 1"),
    (call("double", {"m": 2}), "error: missing a required argument: 'n'"),
    (call("double", {}), "error: missing a required argument: 'n'"),
    (call("double", "not JSON"), "error: the arguments must be an object"),
    (call("int", {}), "0"),
    (call("int", {"n": 1}), "error: TypeError: "),
    (call("Double", {}), "error: there is no tool 'Double'; did you mean double? available: double, fail, int, say"),
    (call(None, {}), "error: there is no tool ''; available: double, fail, int, say"),
    ({"function": None}, "error: there is no tool ''; available: double, fail, int, say"),
]


@pytest.mark.parametrize(("tool_call", "result"), RESULTS_OF_CALLS)
def test_every_call_has_a_result(tool_call: Any, result: str) -> None:
    functions: Dict[str, Callable[..., Any]] = {"double": double, "fail": fail, "int": int, "say": lambda what: what}
    (message,) = run_tools(tool_calls_message(tool_call), functions)
    assert message["role"] == "tool"
    # Python's own text for a wrong call of a builtin differs between versions.
    assert message["content"].startswith(result) if result.endswith(": ") else message["content"] == result


def test_results_keep_the_order_and_the_ids_of_the_calls() -> None:
    message = tool_calls_message(
        call("double", {"n": 1}, id="a"), call("double", {"n": 2}), call("double", {"n": 3}, id="c")
    )
    messages = run_tools(message, {"double": double})
    assert [message["content"] for message in messages] == ["2", "4", "6"]
    assert [message.get("tool_call_id") for message in messages] == ["a", None, "c"]
    assert run_tools({"role": "assistant", "content": "no calls"}, {}) == []


def test_the_functions_may_be_a_list_or_a_mapping() -> None:
    for functions in ([double], (double,), MappingProxyType({"double": double})):
        (message,) = run_tools(tool_calls_message(call("double", {"n": 1})), functions)
        assert (message["content"], message["tool_name"]) == ("2", "double")


def count() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("function", [wait, count, lambda: wait()])
def test_a_function_that_has_no_result_when_it_returns_is_a_request_error(function: Callable[..., Any]) -> None:
    with pytest.raises(RequestError, match=r"^tool f: an async function or a generator cannot be a tool") as caught:
        run_tools(tool_calls_message(call("f", {})), {"f": function})
    assert caught.value.advice in "".join(format_exception_only(RequestError, caught.value))


class DumpedModel:
    def model_dump(self) -> str:
        return "dumped"


RESULTS: List[Tuple[Any, str]] = [
    (Point(1, 2), '{"x": 1, "y": 2}'),
    ({"day": datetime.date(2026, 1, 2), "unit": Unit.KELVIN}, '{"day": "2026-01-02", "unit": "k"}'),
    ([{1}, MappingProxyType({"a": 1}), Message(role="user"), None], '[[1], {"a": 1}, {"role": "user"}, null]'),
    (decimal.Decimal("1.5"), '"1.5"'),
    ([DumpedModel()], '["dumped"]'),
]


@pytest.mark.parametrize(("result", "text"), RESULTS)
def test_a_result_becomes_json(result: Any, text: str) -> None:
    (message,) = run_tools(tool_calls_message(call("f", {})), {"f": lambda: result})
    assert message["content"] == text


def test_run_tools_accepts_a_message_of_the_sdk_and_nothing_else() -> None:
    message = tool_calls_message(call("double", {"n": 1}))

    class SDKMessage:
        def model_dump(self, exclude_none: bool) -> Any:
            return message

    assert run_tools(SDKMessage(), {"double": double}) == run_tools(message, {"double": double})  # type: ignore[arg-type]
    for other in ({"message": message}, [message], None):
        with pytest.raises(RequestError, match=r"^run_tools: must be a message, not (dict|list|NoneType)"):
            run_tools(other, {"double": double})  # type: ignore[arg-type]


def test_references_of_nested_models_resolve() -> None:
    trip, visit = model("Trip", Place={"type": "object"}), model("Visit", Place={"type": "object"})

    def plan(trips: Any, visit: Any) -> None: ...

    plan.__annotations__ = {"trips": List[trip], "visit": visit}
    parameters = schema(plan)["function"]["parameters"]
    at = {"properties": {"at": {"$ref": "#/$defs/Place"}}}
    assert parameters["properties"] == {"trips": {"type": "array", "items": at}, "visit": at}
    assert parameters["$defs"] == {"Place": {"type": "object"}}
    plan.__annotations__["visit"] = model("Visit", Place={"type": "string"})
    with pytest.raises(RequestError, match="parameter visit: another class is also named Place"):
        schema(plan)
