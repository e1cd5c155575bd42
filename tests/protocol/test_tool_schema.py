"""Functions as tools: what the model is shown of them, and its calls."""

from __future__ import annotations

import enum
import sys
from types import MappingProxyType
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import pytest

from ostream.errors import RequestError
from ostream.protocol.tool_schema import parse_docstring, schema
from ostream.tools.functions import run_tools

if sys.version_info >= (3, 9):
    from typing import Annotated
from typing import Literal


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
]
if sys.version_info >= (3, 9):
    HINTS.append((Annotated[int, "of what"], {"type": "integer"}))
    HINTS.append((List[Annotated[int, "of what"]], {"type": "array", "items": {"type": "integer"}}))
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
    assert parameters["required"] == ([] if type(None) in getattr(hint, "__args__", ()) else ["value"])


@pytest.mark.parametrize("hint", [complex, bytes, object(), "Nowhere", List[bytes], Union[int, bytes]])
def test_what_has_no_schema_is_a_type_error_that_names_the_function(hint: Any) -> None:
    with pytest.raises(TypeError, match=r"^function: "):
        schema(taking(hint))


@pytest.mark.parametrize("hint", [complex, List[bytes]])
def test_the_parameter_is_named(hint: Any) -> None:
    with pytest.raises(TypeError, match=r"parameter value: .* has no JSON schema"):
        schema(taking(hint))


def test_a_parameter_that_cannot_be_named_in_a_call_is_a_type_error() -> None:
    def rest(*values: int) -> None: ...

    def others(**values: int) -> None: ...

    for function in (rest, others):
        with pytest.raises(TypeError, match="parameter values: a tool is called with named arguments only"):
            schema(function)


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


def test_a_docstring_may_say_nothing() -> None:
    assert parse_docstring("") == ("", {})
    assert parse_docstring("Args:\n    stray text\n") == ("", {})
    assert schema(taking(int))["function"]["description"] == ""


def asking(*calls: Any) -> Dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def call(name: Any, arguments: Any, **more: Any) -> Dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **more}


def double(n: int) -> int:
    return 2 * n


def fail(n: int) -> None:
    raise OSError(f"no {n}")


ANSWERS = [
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


@pytest.mark.parametrize(("asked", "answer"), ANSWERS)
def test_a_call_has_an_answer_whatever_happens(asked: Any, answer: str) -> None:
    functions: Dict[str, Callable[..., Any]] = {"double": double, "fail": fail, "int": int, "say": lambda what: what}
    (message,) = run_tools(asking(asked), functions)
    assert message["role"] == "tool"
    # What Python says of a wrong call of its own functions is not the same in every version.
    assert message["content"].startswith(answer) if answer.endswith(": ") else message["content"] == answer


def test_answers_keep_the_order_and_the_ids_of_the_calls() -> None:
    asked = asking(call("double", {"n": 1}, id="a"), call("double", {"n": 2}), call("double", {"n": 3}, id="c"))
    messages = run_tools(asked, {"double": double})
    assert [message["content"] for message in messages] == ["2", "4", "6"]
    assert [message.get("tool_call_id") for message in messages] == ["a", None, "c"]
    assert run_tools({"role": "assistant", "content": "no calls"}, {}) == []


def test_the_functions_may_be_a_list_as_they_were_offered() -> None:
    for functions in ([double], (double,), MappingProxyType({"double": double})):
        (message,) = run_tools(asking(call("double", {"n": 1})), functions)
        assert (message["content"], message["tool_name"]) == ("2", "double")


async def wait() -> str:
    return "waited"


def count() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("function", [wait, count, lambda: wait()])
def test_a_function_that_has_no_result_when_it_returns_cannot_be_a_tool(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"^f: an async function or a generator can't be a tool; wrap it"):
        run_tools(asking(call("f", {})), {"f": function})
    if function is wait:
        with pytest.raises(TypeError, match=r"^wait: an async function can't be a tool"):
            schema(function)


def test_a_whole_response_is_no_message() -> None:
    with pytest.raises(RequestError, match=r"^run_tools: this is a response$"):
        run_tools({"message": asking(call("double", {"n": 1}))}, {"double": double})
