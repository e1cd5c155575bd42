"""A dict whose items are also attributes. It is the base class of the objects in requests and responses."""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    T = TypeVar("T", bound="AttrDict")
    Base = dict[str, Any]
else:
    Base = dict  # Python 3.8 cannot evaluate dict[str, Any]

_STREAM_ONLY = ("text_stream", "final", "metrics")
_OTHER_TYPES = (str, int, float, bool, list, type(None))  # the types of JSON values that are not objects
REPR_LIMIT = 60  # repr() shows at most this many characters of a value


class AttrDict(Base):
    """A dict whose items are also attributes.

    It has the methods of pydantic models that the official SDK documents. Pydantic models and FastAPI endpoints can use
    the subclasses as types.
    """

    __slots__ = ()
    # `model_dump` returns None for these names if they are missing, because the model of the SDK has these fields.
    _dumped: tuple[str, ...] = ()

    if not TYPE_CHECKING:  # type checkers must know only the declared names

        def __getattr__(self, name):
            # Python calls this only for names that are not properties or methods.
            try:
                return self[name]
            except KeyError:
                advice = "; pass stream=True to get a Stream" if name in _STREAM_ONLY else ""
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{advice}") from None

        def __setattr__(self, name, value):
            self[name] = value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={short(value)}' for key, value in self.items())})"

    def copy(self: T) -> T:
        """Return a shallow copy of the same class."""
        return type(self)(self)

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
        """Return the object as plain dicts and lists, like `model_dump` of the SDK's models.

        Arguments:
            include: names of the top-level items to return (default: all items).
            exclude: names of the top-level items to leave out (default: none).
            exclude_none: leave out items that are None, at every level.
            exclude_unset, exclude_defaults: leave out fields of the SDK that are missing here. By default, the result
                contains None for these fields.

        Other arguments of pydantic's method are accepted and ignored.
        """
        nested = {
            "exclude_none": exclude_none,
            "exclude_unset": exclude_unset,
            "exclude_defaults": exclude_defaults,
        }

        def dump(value: Any) -> Any:
            return value.model_dump(**nested) if isinstance(value, AttrDict) else value

        def dump_all(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return [*map(dump, value)]
            return {key: dump(each) for key, each in value.items()} if type(value) is dict else dump(value)

        missing = () if exclude_unset or exclude_defaults else [name for name in self._dumped if name not in self]
        return {
            key: dump_all(value)
            for key, value in (*self.items(), *((name, None) for name in missing))
            if (include is None or key in include)
            and (exclude is None or key not in exclude)
            and not (exclude_none and value is None)
        }

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """Return the object as JSON text.

        `indent` is the number of spaces per level (default: compact JSON). `options` are arguments of `model_dump`.
        """
        import json

        separators = (",", ":") if indent is None else None
        return json.dumps(self.model_dump(**options), indent=indent, ensure_ascii=False, separators=separators)

    @classmethod
    def model_validate(cls: type[T], value: Any) -> T:
        """Return an object of this class, made from a mapping or an object that has a `model_dump` method."""
        return cls(value if isinstance(value, Mapping) else value.model_dump(exclude_none=True))

    @classmethod
    def model_validate_json(cls: type[T], text: str | bytes) -> T:
        """Return an object of this class, made from a JSON object. Raises ValueError if `text` is not JSON."""
        import json

        return cls.model_validate(json.loads(text))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> dict[str, Any]:
        """Return a pydantic core schema, which is a plain dict.

        With this schema, pydantic checks that a value is a dict and converts it to this class.
        """
        schema = handler.generate_schema(dict)
        return {"type": "function-after", "schema": schema, "function": {"type": "no-info", "function": cls}}


def short(value: Any) -> str:
    """Return the repr of a value, truncated to REPR_LIMIT characters.

    An AttrDict is not truncated, because its own repr truncates its values.
    """
    if isinstance(value, str):
        return repr(value) if len(value) <= REPR_LIMIT else f"{value[:REPR_LIMIT]!r}…"
    text = repr(value)
    return text if len(text) <= REPR_LIMIT or isinstance(value, AttrDict) else f"{text[:REPR_LIMIT]}…"


def fields(*dumped: str) -> Callable[[type[T]], type[T]]:
    """Return a decorator that adds a property to a class for each annotated name that is not an attribute yet.

    The property returns the item, or None if the item is missing. `dumped` are the names for which `model_dump` returns
    None if they are missing.
    """

    def decorate(cls: type[T]) -> type[T]:
        for name in cls.__annotations__:
            if not hasattr(cls, name):
                setattr(cls, name, _field(name))
        cls._dumped = (*cls._dumped, *dumped)
        return cls

    return decorate


def _field(name: str) -> property:
    """Return a property for an item.

    A property takes half the time of __getattr__, and `self[name]` takes half the time of `self.get(name)`.
    """

    def get(self: AttrDict) -> Any:
        try:
            return self[name]
        except KeyError:
            return None

    return property(get)


def item(name: str, make: Callable[[dict[str, Any]], Any], is_required: bool = False) -> Any:
    """Return a property for an item that is an object.

    If a program stored a plain dict in the item, the property converts it with `make` when it is read. If the item is
    missing, or a server sent another type, the property returns None. If `is_required` is True, it returns an empty
    object instead, which it adds if the item is missing.
    """

    def get(self: AttrDict) -> Any:
        value = self.get(name)
        if type(value) is dict or (is_required and value is None):
            value = self[name] = make(value or {})
        elif type(value) in _OTHER_TYPES:
            value = make({}) if is_required else None
        return value

    return property(get)


def items(name: str, make: Callable[[dict[str, Any]], Any]) -> Any:
    """Return a property for an item that is a list of objects.

    If a program stored plain dicts in the list, the property converts them with `make` when it is read. It leaves out
    elements of other types that a server sent, and returns None if the item is missing or not a list.
    """

    def get(self: AttrDict) -> Any:
        value = self.get(name)
        if type(value) is not list:
            return None if type(value) in (dict, *_OTHER_TYPES) else value
        types = {*map(type, value)}
        if dict in types:
            value = self[name] = wrap(value, make)
        return value if types.isdisjoint(_OTHER_TYPES) else [each for each in value if type(each) not in _OTHER_TYPES]

    return property(get)


def wrap(value: Any, make: Callable[[dict[str, Any]], Any]) -> Any:
    """Convert each dict in a list with `make`. Any other value is returned unchanged."""
    return [make(item) if type(item) is dict else item for item in value] if type(value) is list else value
