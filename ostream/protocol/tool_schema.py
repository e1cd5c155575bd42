"""Describe a Python function as a tool: convert its signature, type hints and docstring to a JSON schema."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import inspect
import os
import re
import typing
import uuid

from ostream.errors import RequestError

if typing.TYPE_CHECKING:
    from typing import Any, Callable, Iterator

_SCHEMAS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    dict: {"type": "object"},
    decimal.Decimal: {"type": ["number", "string"]},
    uuid.UUID: {"type": "string", "format": "uuid"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.time: {"type": "string", "format": "time"},
    datetime.timedelta: {"type": "string", "format": "duration"},
}
_ARRAYS = (list, tuple, set, frozenset)
_SECTION = re.compile(r"(args|arguments|parameters|returns?|yields?|raises|examples?|notes?):\s*", re.IGNORECASE)
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)")


def schema(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the declaration of a function as a tool, made from its name, its docstring and its type hints.

    A parameter without a type hint is a string. A parameter is not required if it has a default value or may be None.
    Its description comes from the Google-style docstring, or else from the text in `Annotated[..., text]`. *args and
    **kwargs are left out. Dates, UUIDs and paths are declared as strings; dataclasses and typed dicts are declared as
    objects. The function is called with the JSON values: they are not converted to these types.

    Raises RequestError for a class, an async function and a builtin without a signature. Also raises RequestError, with
    the name of the parameter, for a positional-only parameter and for a type hint that has no JSON schema.
    """
    name = function_name(function)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise RequestError(
            f"tool {name}: an async function cannot be a tool", advice="wrap it in a function that calls asyncio.run"
        )
    if isinstance(function, type):
        raise RequestError(f"tool {name}: a class cannot be a tool; pass a function")
    description, descriptions = parse_docstring(inspect.getdoc(function) or "")
    try:
        hints = _hints(function)
        parameters = inspect.signature(function).parameters.values()
    except Exception as error:
        raise RequestError(f"tool {name}: its signature cannot be read: {error}") from None
    properties: dict[str, Any] = {}
    required: list[str] = []
    definitions: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        where = f"tool {name}: parameter {parameter.name}"
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise RequestError(f"{where}: a tool is called with named arguments only")
        hint = hints.get(parameter.name, str)
        try:
            described = _schema_of(hint)
        except (TypeError, NameError) as error:
            raise RequestError(f"{where}: {error}") from None
        except RecursionError:
            raise RequestError(f"{where}: a type that contains itself has no JSON schema") from None
        for defined, definition in _take_definitions(described):
            if definitions.setdefault(defined, definition) != definition:
                raise RequestError(f"{where}: another class is also named {defined}")
        if parameter.name in descriptions:
            described["description"] = descriptions[parameter.name]
        properties[parameter.name] = described
        if parameter.default is parameter.empty and not _may_be_none(hint):
            required.append(parameter.name)
    parameters_schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    if definitions:
        parameters_schema["$defs"] = definitions
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters_schema},
    }


def _take_definitions(schema: Any) -> Iterator[tuple[str, Any]]:
    """Remove "$defs" from a schema and from the schemas inside it, and yield their items.

    A reference such as "#/$defs/Place" refers to the "$defs" of the outermost schema.
    """
    if isinstance(schema, dict):
        yield from schema.pop("$defs", {}).items()
    for value in list(schema.values()) if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _take_definitions(value)


def function_name(function: Callable[..., Any]) -> str:
    """Return the name of a tool.

    This is the name of a function, of the function in a functools.partial, or of the class of a callable object.
    """
    return str(getattr(getattr(function, "func", function), "__name__", type(function).__name__))


def _hints(owner: Any) -> dict[str, Any]:
    """Return the type hints, with the metadata of Annotated if this Python has Annotated (3.9 or newer)."""
    owner = getattr(owner, "func", owner)
    owner = owner if hasattr(owner, "__name__") else type(owner).__call__
    options: dict[str, Any] = {"include_extras": True} if hasattr(typing, "Annotated") else {}
    return typing.get_type_hints(owner, **options)


def _schema_of(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of a type hint, as a new dict. Raises TypeError if the hint has no schema."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is typing.Any or hint is object:
        return {}
    if hasattr(hint, "__metadata__"):
        texts = [text for text in map(_description, hint.__metadata__) if text]
        return {**_schema_of(hint.__origin__), **({"description": texts[0]} if texts else {})}
    if hasattr(hint, "__supertype__"):  # NewType
        return _schema_of(hint.__supertype__)
    if _is_union(hint):
        return _one_of([_schema_of(argument) for argument in arguments if argument is not type(None)])
    if origin is typing.Literal:
        return _enum(list(arguments))
    kind = origin or hint
    if isinstance(kind, type):
        return _schema_of_class(kind, arguments)
    raise TypeError(f"{hint} has no JSON schema")


def _schema_of_class(cls: type, arguments: tuple[Any, ...]) -> dict[str, Any]:
    if issubclass(cls, enum.Enum):
        return _enum([member.value for member in cls])
    if hasattr(cls, "model_json_schema"):
        return dict(cls.model_json_schema())
    if dataclasses.is_dataclass(cls):
        missing = dataclasses.MISSING
        required = [
            field.name
            for field in dataclasses.fields(cls)
            if field.default is missing and field.default_factory is missing
        ]
        return _object(cls, required)
    if hasattr(cls, "__total__"):  # TypedDict
        return _object(cls, sorted(getattr(cls, "__required_keys__", ())))
    if issubclass(cls, typing.Mapping):
        return {"type": "object"}
    if issubclass(cls, os.PathLike):
        return {"type": "string", "format": "path"}
    if cls in _SCHEMAS:
        return dict(_SCHEMAS[cls])
    if cls in _ARRAYS or cls.__name__ in ("Sequence", "Iterable", "Collection"):
        items = [argument for argument in arguments if argument is not ...]
        return {"type": "array", **({"items": _one_of([_schema_of(item) for item in items])} if items else {})}
    raise TypeError(f"{cls.__name__} has no JSON schema")


def _object(cls: type, required: list[str]) -> dict[str, Any]:
    properties = {name: _schema_of(hint) for name, hint in _hints(cls).items()}
    return {"type": "object", "properties": properties, "required": required}


def _description(metadata: Any) -> str:
    """Return the text of a string, a Doc or a pydantic Field in Annotated; "" for any other metadata."""
    text = getattr(metadata, "documentation", None) or getattr(metadata, "description", None) or metadata
    return text if isinstance(text, str) else ""


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Union or type(hint).__name__ == "UnionType"


def _may_be_none(hint: Any) -> bool:
    hint = getattr(hint, "__origin__", hint) if hasattr(hint, "__metadata__") else hint
    return _is_union(hint) and type(None) in typing.get_args(hint)


def _one_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a schema that matches any of several schemas.

    If each of the schemas is only a type, the result contains a list of the types.
    """
    different = [schema for index, schema in enumerate(schemas) if schema not in schemas[:index]]
    if len(different) == 1:
        return different[0]
    if all(list(schema) == ["type"] and isinstance(schema["type"], str) for schema in different):
        return {"type": [schema["type"] for schema in different]}
    return {"anyOf": different}


def _enum(values: list[Any]) -> dict[str, Any]:
    types = _one_of([_schema_of(type(value)) for value in values])
    return {**types, "enum": values}


def parse_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return the description in a Google-style docstring, and a dict from parameter names to descriptions."""
    description: list[str] = []
    descriptions: dict[str, list[str]] = {}
    section, entry, indent = "", "", 0
    for line in text.splitlines():
        bare = line.strip()
        heading = _SECTION.fullmatch(bare)
        if heading and line[:1].strip():
            section = heading.group(1).lower()
        elif not section:
            description.append(bare)
        elif section in ("args", "arguments", "parameters") and bare:
            deep = len(line) - len(line.lstrip())
            match = _ENTRY.fullmatch(bare)
            if match and (not entry or deep <= indent):
                entry, indent = match.group(1), deep
                descriptions[entry] = [match.group(2)]
            elif entry:
                descriptions[entry].append(bare)
    return " ".join(" ".join(description).split()), {
        name: " ".join(lines).strip() for name, lines in descriptions.items()
    }
