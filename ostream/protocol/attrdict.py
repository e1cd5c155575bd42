"""A dict whose items are also attributes, the base of the objects in requests and responses."""

from __future__ import annotations

import json
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    T = TypeVar("T", bound="AttrDict")
    Base = dict[str, Any]
else:
    Base = dict  # Python 3.8 cannot subscript it

REPR_LIMIT = 60  # characters of a value


class AttrDict(Base):
    """A dict whose items are also attributes, with those methods of a pydantic model that the official SDK documents.

    A pydantic model or a FastAPI endpoint may use the subclasses as types.
    """

    __slots__ = ()
    # The names that `model_dump` reports as None when they are missing: the fields of the SDK's model.
    _dumped: tuple[str, ...] = ()

    if not TYPE_CHECKING:  # a type checker must see only the declared names

        def __getattr__(self, name):
            # Only names without a property get here.
            try:
                return self[name]
            except KeyError:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

        def __setattr__(self, name, value):
            self[name] = value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={short(value)}' for key, value in self.items())})"

    def model_dump(
        self,
        *,
        include: Any = None,
        exclude: Any = None,
        exclude_none: bool = False,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        **_: Any,
    ) -> Any:
        """Return plain dicts and lists, as the SDK's models do.

        Arguments:
            include, exclude: names of top-level items to keep or to leave out.
            exclude_none: leave out what is None, at every level.
            exclude_unset, exclude_defaults: leave out the fields of the SDK that are missing here (default: None).

        Other arguments of pydantic's method are accepted and ignored.
        """
        nested = {
            "exclude_none": exclude_none,
            "exclude_unset": exclude_unset,
            "exclude_defaults": exclude_defaults,
        }
        missing = () if exclude_unset or exclude_defaults else [name for name in self._dumped if name not in self]
        return {
            key: _dump(value, nested)
            for key, value in (*self.items(), *((name, None) for name in missing))
            if (include is None or key in include)
            and (exclude is None or key not in exclude)
            and not (exclude_none and value is None)
        }

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """Return `model_dump(**options)` as JSON text, compact unless `indent` is a number of spaces."""
        separators = (",", ":") if indent is None else None
        return json.dumps(self.model_dump(**options), indent=indent, ensure_ascii=False, separators=separators)

    @classmethod
    def model_validate(cls: type[T], value: Any) -> T:
        """Return an object of this class from a mapping or from an object with a `model_dump` method."""
        return cls(value if isinstance(value, Mapping) else value.model_dump(exclude_none=True))

    @classmethod
    def model_validate_json(cls: type[T], text: str | bytes) -> T:
        """Return an object of this class from JSON text. Raises ValueError for anything else."""
        return cls.model_validate(json.loads(text))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> dict[str, Any]:
        """Let pydantic validate a mapping and make this class of it; a core schema is a plain dict."""
        schema = handler.generate_schema(dict)
        return {"type": "function-after", "schema": schema, "function": {"type": "no-info", "function": cls}}


def _dump(value: Any, options: dict[str, Any]) -> Any:
    if isinstance(value, AttrDict):
        return value.model_dump(**options)
    return [_dump(item, options) for item in value] if isinstance(value, (list, tuple)) else value


def short(value: Any) -> str:
    """Return the repr of an item, cut to REPR_LIMIT characters; objects shorten their own."""
    if isinstance(value, str):
        return repr(value) if len(value) <= REPR_LIMIT else f"{value[:REPR_LIMIT]!r}…"
    text = repr(value)
    return text if len(text) <= REPR_LIMIT or isinstance(value, AttrDict) else f"{text[:REPR_LIMIT]}…"


def fields(*dumped: str) -> Callable[[type[T]], type[T]]:
    """Give a class a property for each name in its annotations: the item, or None if it is missing.

    `dumped` are the names that `model_dump` reports even if they are missing.
    """

    def decorate(cls: type[T]) -> type[T]:
        for name in cls.__annotations__:
            if not hasattr(cls, name):
                setattr(cls, name, _field(name))
        cls._dumped = (*cls._dumped, *dumped)
        return cls

    return decorate


def _field(name: str) -> property:
    """A property costs half of what __getattr__ does, and `self[name]` half of what `self.get(name)` does."""

    def get(self: AttrDict) -> Any:
        try:
            return self[name]
        except KeyError:
            return None

    return property(get)


def item(name: str, make: Callable[[dict[str, Any]], Any]) -> Any:
    """A property for an item that holds objects; dicts that a program put there get their class when they are read."""

    def get(self: AttrDict) -> Any:
        value = self.get(name)
        if type(value) is dict or (type(value) is list and any(type(item) is dict for item in value)):
            value = self[name] = wrap(value, make)
        return value

    return property(get)


def wrap(value: Any, make: Callable[[dict[str, Any]], Any]) -> Any:
    """Give a dict, or the dicts in a list, their class."""
    if type(value) is dict:
        return make(value)
    return [make(item) if type(item) is dict else item for item in value] if type(value) is list else value
