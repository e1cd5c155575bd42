"""Derive the JSON schema of a tool from a Python function: its signature, type hints and docstring."""

from __future__ import annotations

import enum
import inspect
import re
import typing

if typing.TYPE_CHECKING:
    from typing import Any, Callable

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", dict: "object"}
_ARRAYS = (list, tuple, set, frozenset)
_SECTION = re.compile(r"(args|arguments|parameters|returns?|yields?|raises|examples?|notes?):\s*", re.IGNORECASE)
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)")


def schema(function: Callable[..., Any]) -> dict[str, Any]:
    """The tool that a function is: its name, its docstring, and its parameters by their type hints.

    The docstring is Google style. A parameter without a hint is a string; one with a default, or that may be None, is
    not required. Raises TypeError, naming the parameter, for what JSON schema can't express.
    """
    name = getattr(function, "__name__", type(function).__name__)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{name}: an async function can't be a tool; wrap it in one that calls asyncio.run")
    description, about = parse_docstring(inspect.getdoc(function) or "")
    try:
        hints = typing.get_type_hints(function)
    except Exception as error:
        raise TypeError(f"{name}: its type hints can't be read: {error}") from None
    properties: dict[str, Any] = {}
    required: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"{name}: parameter {parameter.name}: a tool is called with named arguments only")
        hint = hints.get(parameter.name, str)
        try:
            described = _schema_of(hint)
        except TypeError as error:
            raise TypeError(f"{name}: parameter {parameter.name}: {error}") from None
        if parameter.name in about:
            described["description"] = about[parameter.name]
        properties[parameter.name] = described
        if parameter.default is parameter.empty and not _may_be_none(hint):
            required.append(parameter.name)
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": properties, "required": required},
        },
    }


def _schema_of(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is typing.Any or hint is object:
        return {}
    if _is_union(hint):
        return _one_of([_schema_of(argument) for argument in arguments if argument is not type(None)])
    if origin is typing.Literal:
        return _enum(list(arguments))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _enum([member.value for member in hint])
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, typing.Mapping):
        return {"type": "object"}
    if kind in _TYPES:
        return {"type": _TYPES[kind]}
    if kind in _ARRAYS or getattr(kind, "__name__", "") in ("Sequence", "Iterable", "Collection"):
        items = [argument for argument in arguments if argument is not ...]
        return {"type": "array", **({"items": _one_of([_schema_of(item) for item in items])} if items else {})}
    raise TypeError(f"{getattr(hint, '__name__', hint)} has no JSON schema")


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Union or type(hint).__name__ == "UnionType"


def _may_be_none(hint: Any) -> bool:
    return _is_union(hint) and type(None) in typing.get_args(hint)


def _one_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """One schema for any of several: a list of types where that says it all."""
    different = [schema for index, schema in enumerate(schemas) if schema not in schemas[:index]]
    if len(different) == 1:
        return different[0]
    if all(list(schema) == ["type"] for schema in different):
        return {"type": [schema["type"] for schema in different]}
    return {"anyOf": different}


def _enum(values: list[Any]) -> dict[str, Any]:
    types = _one_of([_schema_of(type(value)) for value in values])
    return {**types, "enum": values}


def parse_docstring(text: str) -> tuple[str, dict[str, str]]:
    """What a Google-style docstring says: of the function, and of each parameter."""
    description: list[str] = []
    about: dict[str, list[str]] = {}
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
                about[entry] = [match.group(2)]
            elif entry:
                about[entry].append(bare)
    return " ".join(" ".join(description).split()), {name: " ".join(lines).strip() for name, lines in about.items()}
